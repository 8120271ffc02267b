"""Finished models: what they are on disk, and what they answer."""
