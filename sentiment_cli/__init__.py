"""Train, evaluate and use recurrent text-sentiment models from YAML experiments."""

import os

__version__ = "0.1.0"

# onnxruntime from 1.29 on sends events to its publisher and keeps an identifier in the home directory. It reads this
# switch once, when it is loaded; whatever loads it here imports this package first, and worker processes inherit it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
