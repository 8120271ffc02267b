"""Train your own text classifiers and predict with them: `load` and `train` in Python, `sentiment` in a shell."""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentiment_cli.api import Model, Run, load, score, train

__all__ = ["Model", "Run", "__version__", "load", "score", "train"]
__version__ = "0.2.0"

# onnxruntime from 1.29 on sends events to its publisher and keeps an identifier in the home directory. It reads this
# switch once, when it is loaded; whatever loads it here imports this package first, and worker processes inherit it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# OpenMP threads that spin at barriers make an LSTM 94 times slower beside another torch job. Read when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("sentiment_cli.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
