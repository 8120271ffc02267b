"""Launches and waits of a step of each recipe, as docs/gpu.md lists them.

PYTHONPATH=tests/support:benchmarks python -m pretended_cuda -m pretended_cuda.budgets    # writes them there
"""

import re
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
from made_up import corpus_for, made_small

from pretended_cuda.counting import Counting
from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.recipes import recipe_names
from sentiment_cli.workflows.profile import begin_training, endless_steps

PAGE = Path(__file__).parents[3] / "docs" / "gpu.md"
TABLE = r"(?s)<!-- budgets -->\n.*?<!-- end of budgets -->"
_SHORT, _LONG = 64, 256


class Cost(NamedTuple):
    """Of one step in bf16: launches at length 64, launches for each further token of length, and waits of the host."""

    launches: int
    per_token: float
    waits: int


BEFORE = {  # of commit 3812c3c
    "bag": (181, 0.0, 9),
    "best-labels": (240, 0.0, 9),
    "lstm-bi": (164, 0.0, 1),
    "elman": (136, 0.0, 1),
    "elman-bi": (158, 0.0, 1),
    "goru": (2049, 28.0, 5),
    "gru": (158, 0.0, 1),
    "gru-attention": (172, 0.0, 1),
    "imdb-autoencoder": (706, 0.5, 5),
    "imdb-best": (217, 0.0, 1),
    "imdb-best-cpu": (240, 0.0, 9),
    "imdb-best-lm": (218, 0.0, 8),
    "imdb-lm": (406, 0.25, 9),
    "imdb-lm-backward": (406, 0.25, 9),
    "imdb-student": (240, 0.0, 9),
    "imdb-vectors": (149, 0.0, 9),
    "keras-lstm": (1471, 21.0, 1),
    "lstm": (139, 0.0, 1),
    "lstm-1997": (2479, 36.0, 1),
    "lstm-2d": (2682, 3.05, 3),
    "lstm-grid": (2739, 40.0, 1),
    "lstm-stacked": (203, 0.0, 1),
    "mingru": (623, 0.5, 1),
    "own": (158, 0.0, 1),
    "sample": (164, 0.0, 1),
    "transformer": (307, 0.0, 1),
    "tutorial-rnn": (99, 0.0, 1),
}


def measure(name: str) -> Cost:
    """Count the third step of a recipe with small layers: launches do not depend on widths."""
    found = []
    for length in (_SHORT, _LONG):
        experiment = made_small(name, length, ["train.device=cuda", "train.precision=bf16"])
        with tempfile.TemporaryDirectory() as folder:
            begun = begin_training(experiment, corpus_for(experiment), torch.device("cuda"), Path(folder))
            steps = endless_steps(*begun)
            next(steps), next(steps)
            with Counting() as counted:
                next(steps)
        found.append(counted)
    per_token = (found[1].n_launches - found[0].n_launches) / (_LONG - _SHORT)
    return Cost(found[0].n_launches, round(per_token, 2), found[1].n_waits)


def table_of(page: str) -> dict[str, Cost]:
    """Return the costs that a page lists, by recipe."""
    found = re.search(TABLE, page)
    assert found is not None
    rows = (line.strip("| ").split(" | ") for line in found[0].splitlines() if line.startswith("| `"))
    return {row[0].strip("`"): Cost(int(row[-3]), float(row[-2]), int(row[-1])) for row in rows}


def main() -> None:
    lines = [
        "<!-- budgets -->",
        "| recipe | launches before | a token before | waits before | launches | a token | waits |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name in recipe_names():
        if load_experiment(name).model.kind != "linear":
            cells = [*BEFORE.get(name, ("", "", "")), *measure(name)]
            lines.append(" | ".join([f"| `{name}`", *map(str, cells)]) + " |")
    page = PAGE.read_text("utf-8")
    PAGE.write_text(re.sub(TABLE, lambda _: "\n".join([*lines, "<!-- end of budgets -->"]), page), "utf-8")


if __name__ == "__main__":
    main()
