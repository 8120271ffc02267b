"""A model as a page that answers in a browser."""
