"""Train, evaluate and use recurrent text-sentiment models from YAML experiments."""

__version__ = "0.1.0"
