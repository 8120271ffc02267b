"""What was tried on the user's data: the scores of each candidate, what was kept, and the table of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sentiment_cli import console
from sentiment_cli.evaluation.metrics import Scores

COMBINED = "ensemble"


class Tried(NamedTuple):
    """A candidate: its validation scores, calibrated, the seconds that it took, and its weight in the ensemble."""

    name: str
    scores: Scores
    seconds: float
    weight: float | None = None

    @property
    def loss(self) -> float:
        assert self.scores.loss is not None  # None of star ratings alone
        return self.scores.loss


class AutoRun(NamedTuple):
    """The run that was kept, what it is, its validation scores, and all that was tried."""

    directory: Path
    kept: str
    scores: Scores | None
    tried: tuple[Tried, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return all of it, scores as `eval` gives them."""
        return {
            "run": str(self.directory),
            "kept": self.kept,
            "valid": None if self.scores is None else self.scores.to_json(),
            "seconds": {**{one.name: one.seconds for one in self.tried if one.name != COMBINED}, "all": self.seconds},
            "tokens_per_second": None,
            "tried": [{**one._asdict(), "scores": one.scores.to_json()} for one in self.tried],
        }


def print_tried(rows: Sequence[Tried]) -> None:
    """Print a line of scores for each candidate."""
    width = max(len("tried"), *(len(one.name) for one in rows))
    n = rows[0].scores.n
    where = f"on {n:,} validation rows"
    if (folds := rows[0].scores.folds) is not None:
        where = f"on {n:,} rows, cross-validated in {folds} folds; standard error of the accuracy"
    console.say(f"{'tried':<{width}}  accuracy  macro F1  log loss  seconds  weight   {where}")
    for one in rows:
        weight = "" if one.weight is None else f"{one.weight:>6.3f}"
        figures = f"{one.scores.accuracy:>8.2%}  {one.scores.f1:>8.2%}  {one.loss:>8.4f}  {one.seconds:>7.1f}"
        error = "" if one.scores.accuracy_se is None else f"{'':<9}± {one.scores.accuracy_se:.2%}"
        console.say(f"{one.name:<{width}}  {figures}  {weight}{error}".rstrip())
