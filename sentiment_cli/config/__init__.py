"""Experiments: what can be set, and how a file becomes a validated, frozen value."""
