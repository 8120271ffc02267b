"""A finished model behind HTTP, without torch."""
