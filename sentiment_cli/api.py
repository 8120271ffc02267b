"""The Python interface: load a model and predict, train an experiment and evaluate the run, without a command line.

    import sentiment_cli as sentiment

    model = sentiment.load("imdb-lstm")          # a run, its directory, or a packed model
    model.predict(["I just really loved the movie"])
    model.explain("I just really loved the movie")
    run = sentiment.train("linear", data="my.csv", set={"seed": 1})
    run.evaluate().accuracy

Errors that a user can cause are `sentiment_cli.errors.SentimentError`. Importing this module loads neither torch nor
numpy.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from sentiment_cli.evaluation.evaluate import Evaluation
    from sentiment_cli.evaluation.metrics import Scores
    from sentiment_cli.inference.explain.attribution import AttributionMethod, Explanation
    from sentiment_cli.inference.predictor import Prediction, Predictor


class Model:
    """A model that classifies texts. `load` returns one."""

    def __init__(self, path: Path) -> None:
        from sentiment_cli.inference.predictor import open_predictor

        self.path = path
        self._predictor: Predictor = open_predictor(path)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that the model tells apart."""
        return tuple(self._predictor.labels)

    def predict(self, texts: Sequence[str]) -> "list[Prediction]":
        """Return a label, its probability and the probabilities of all labels for each text, in order."""
        if isinstance(texts, str):
            raise TypeError("predict takes a list of texts; for one text pass [text]")
        return self._predictor.predict(texts)

    def explain(self, text: str, method: "AttributionMethod | None" = None) -> "Explanation":
        """Return how much each word of a text adds to the answer, by the method that suits the model unless named."""
        from sentiment_cli.inference.explain.attribution import Explainer

        return Explainer(self._predictor, method).explain(text)


@dataclass(frozen=True)
class Run:
    """A finished run: its directory, and its scores on validation."""

    directory: Path
    valid: "Scores"

    def model(self) -> Model:
        """Return the run's model."""
        return Model(self.directory)

    def predict(self, texts: Sequence[str]) -> "list[Prediction]":
        """Return the answers of the run's model; `model()` is quicker for more than one call."""
        return self.model().predict(texts)

    def evaluate(self, split: Literal["test", "valid", "train"] = "test") -> "Scores":
        """Return the scores on a split. An evaluation on test is counted in the run's ledger."""
        return self.evaluation(split).scores

    def evaluation(self, split: Literal["test", "valid", "train"] = "test") -> "Evaluation":
        """Return the scores on a split with calibration, reliability and slices."""
        from sentiment_cli.evaluation.evaluate import evaluate

        return evaluate(self.directory, split)


def load(run: str | os.PathLike[str] | None = None) -> Model:
    """Return the model of a run (its name or directory) or of a packed file; without one, of the newest finished run.

    Raises UsageError where there is no such run. Torch is not loaded for models that have an inference graph.
    """
    from sentiment_cli.runs.directory import find_run

    return Model(find_run(None if run is None else os.fspath(run)))


def train(
    experiment: str | os.PathLike[str] = "default",
    *,
    data: str | os.PathLike[str] | None = None,
    set: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Run:
    """Train an experiment, a built-in one by name or a YAML file, and return its run.

    `data` is the file or folder to train on, `set` holds settings by their full keys, as `{"train.lr": 1e-3}`, and
    `name` is the run's name instead of the experiment's. Progress goes to stderr. Raises UsageError for a setting that
    is wrong, before torch is loaded, and DataError for data that cannot be trained on.
    """
    from sentiment_cli.config.loader import load_experiment

    settings = {**({} if data is None else {"data.source": os.fspath(data)}), **(set or {})}
    overrides = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in settings.items()]
    loaded = load_experiment(Path(experiment) if isinstance(experiment, os.PathLike) else experiment, overrides)
    from sentiment_cli.workflows.dependencies import resolve_dependencies
    from sentiment_cli.workflows.train import fit

    finished = fit(resolve_dependencies(loaded, name), name)
    return Run(finished.directory, finished.scores)  # type: ignore[arg-type]  # of a task that classifies
