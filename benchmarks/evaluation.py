"""Time of `sentiment eval` relative to the bare forward passes.

One evaluation of a run, in a copy of it, is taken apart: the data stage (reading what is prepared), loading the model,
the model's forward passes, and all else: batches, scores, slices, calibration, predictions on disk. The last two are
what an evaluation adds, and are also given for 25,000 reviews. The cache is read once before.

    python benchmarks/evaluation.py [RUN] [--split valid]
"""

import argparse
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch

from sentiment_cli.evaluation import evaluate as evaluation
from sentiment_cli.evaluation import scoring
from sentiment_cli.models.classifier import AnyClassifier
from sentiment_cli.runs.directory import find_run
from sentiment_cli.runs.saved_model import Artefact

_ROWS = 25_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?")
    parser.add_argument("--split", default="valid", choices=["train", "valid", "test"])
    arguments = parser.parse_args()
    spent: dict[str, float] = defaultdict(float)

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            began = time.perf_counter()
            found = work(*args)
            spent[name] += time.perf_counter() - began
            return found

        return run

    def load(artefact: Artefact) -> AnyClassifier:
        model = real_load(artefact)
        model.forward = timed("forward passes", _waiting(model.forward))  # type: ignore[method-assign]
        return model

    real_load = scoring.load_model
    scoring.load_model = timed("model", load)
    scoring.prepare = timed("data stage", scoring.prepare)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(shutil.copytree(find_run(arguments.run), Path(folder) / "run"))
        for _ in range(2):
            spent.clear()
            began = time.perf_counter()
            found = evaluation.evaluate(run, arguments.split)
            spent["in all"] = time.perf_counter() - began
    n = found.scores.n
    added = 2 * spent["in all"] - sum(spent.values())
    print(f"{n:,} reviews of {arguments.split}, {torch.get_num_threads()} threads")
    for name, seconds in (*spent.items(), ("added", added), (f"added per {_ROWS:,}", added * _ROWS / n)):
        print(f"{name:>16} {seconds:>8.2f} s")


def _waiting(forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Let a forward pass on a GPU end before its time is taken."""

    def run(*args: torch.Tensor) -> torch.Tensor:
        found = forward(*args)
        if found.is_cuda:
            torch.cuda.synchronize()
        return found

    return run


if __name__ == "__main__":
    main()
