"""From reviews as they are published to packed token ids that a model reads."""
