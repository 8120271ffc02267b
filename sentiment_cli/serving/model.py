"""The model that a server answers with: opened without torch, tried on fixed texts, and replaced while it serves."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentiment_cli import __version__
from sentiment_cli.errors import DataError, SentimentError, UsageError
from sentiment_cli.inference.explain.attribution import Explainer, Explanation, best_method
from sentiment_cli.inference.explain.trace import Trace, trace_text
from sentiment_cli.inference.predictor import Prediction, Predictor
from sentiment_cli.runs.ensemble_model import open_model

# An empty text, short ones, markup, other scripts, a long word and a long text: what a model must have an answer to.
CANARY = (
    "",
    "I just really loved the movie",
    "Not good, not bad.<br /><br />Dull!",
    "Ce film m'a plu \u2014 \u8fd9\u90e8\u7535\u5f71 \u0444\u0438\u043b\u044c\u043c \U0001f600",
    "a" * 2_000,
    "a plot that goes on and on, " * 400,
)
_SAME = 1e-4  # in probability, and in stars: an answer does not depend on the other texts of its batch


@dataclass(frozen=True)
class Served:
    """A model in memory, with all that it needs: nothing of it is read again from the disk."""

    path: Path
    name: str
    sha256: str
    predictor: Predictor
    explainer: Explainer

    @property
    def labels(self) -> tuple[str, ...]:
        return self.predictor.labels

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        return self.predictor.predict(texts, is_urgent=True)

    def explain(self, text: str) -> list[Explanation]:
        """Return an explanation of the answer or, where it gives several labels, one of each."""
        (answer,) = self.predictor.predict([text])
        return self.explainer.explain_answer(answer)

    def trace(self, text: str) -> Trace:
        return trace_text(self.predictor, text)

    def card(self) -> dict[str, Any]:
        """Return what there is to know of the model: its name, its hash, what it answers, and how it reads."""
        settings, text = self.predictor.settings, self.predictor.settings["text"]
        model = settings["model"]
        recurrent = {key: model["encoder"][key] for key in ("cell", "width", "layers", "bidirectional")}
        return {
            "run": self.name,
            "model": self.sha256,
            "sentiment": __version__,
            "labels": list(self.labels),
            "target": self.predictor.target,
            "kind": "ensemble" if len(self.predictor.members) > 1 else model["kind"],
            "encoder": recurrent if model["kind"] == "recurrent" and len(self.predictor.members) == 1 else None,
            "members": len(self.predictor.members),
            "tokenizer": text["tokenizer"],
            "max_tokens": text["max_tokens"],
            "vocabulary": len(self.predictor.members[0].vocabulary.entries),
            "temperature": self.predictor.temperature,
            "explained_by": self.explainer.method,
        }


def open_served(path: Path) -> Served:
    """Open a model and have it answer the canary texts.

    Raises UsageError for a model without a graph, which only torch could run, IntegrityError for damage, and DataError
    for one that fails on the canary texts.
    """
    model = open_model(path)
    for network in model.models:
        if network.no_graph is not None:
            raise UsageError(
                f"{path} has no inference graph ({network.no_graph}), and a server runs nothing else",
                f'sentiment predict --run {shlex.quote(str(path))} "I just really loved the movie"',
            )
    predictor = Predictor(model)
    # Gradients would load torch; what else explains a model without it is kept in memory from here on.
    explainer = Explainer(predictor, "weights" if best_method(predictor) == "weights" else "occlusion")
    name = path.resolve().name
    served = Served(path, name, model.files.sha256, predictor, explainer)
    check_canary(served)
    return served


def check_canary(served: Served) -> None:
    """Raise DataError for a model whose answers to the canary texts are not answers, or depend on each other."""
    together = served.predict(CANARY)
    for text, answer in zip(CANARY, together, strict=True):
        (alone,) = served.predict([text])
        figures = list(answer.probabilities.values()) if answer.probabilities is not None else [answer.stars]
        others = list(alone.probabilities.values()) if alone.probabilities is not None else [alone.stars]
        is_whole = answer.probabilities is None or _are_probabilities(
            list(answer.probabilities.values()), answer.labels
        )
        is_same = all(
            math.isclose(one, other, rel_tol=0, abs_tol=_SAME)  # type: ignore[arg-type]
            for one, other in zip(figures, others, strict=True)
        )
        if answer.label not in served.labels or not is_whole or not is_same:
            raise DataError(
                f"{served.path} fails on the canary text {text[:40]!r}: {figures} in a batch, {others} alone",
                f"sentiment predict --run {shlex.quote(str(served.path))} {shlex.quote(text[:40] or 'a film')}",
            )


def _are_probabilities(figures: list[float], given: tuple[str, ...] | None) -> bool:
    """Say whether these are probabilities, which add up to 1 unless a text is `given` several labels or none."""
    if given is not None:
        return all(0 <= figure <= 1 for figure in figures)
    return abs(math.fsum(figures) - 1) < _SAME


class Holder:
    """The model that serves now. `reload` puts another one in its place, or leaves it and raises."""

    def __init__(self, served: Served) -> None:
        self.served = served

    def reload(self) -> Served:
        """Open the same path anew; it must hold a model of the same labels that passes the canary texts."""
        before = self.served
        try:
            after = open_served(before.path)
        except MemoryError as error:
            raise DataError(f"there is not enough memory for {before.path} beside the present model") from error
        except SentimentError:
            raise
        except Exception as error:  # a file that changes while it is read can fail in ways of its own
            raise DataError(f"{before.path} cannot be opened: {type(error).__name__}") from error
        if (after.labels, after.predictor.target) != (before.labels, before.predictor.target):
            raise UsageError(
                f"{before.path} now has the labels {', '.join(after.labels)}, and clients know "
                f"{', '.join(before.labels)}: other labels need a server of their own",
                f"sentiment serve {shlex.quote(str(before.path))} --port 8001",
            )
        self.served = after
        return after
