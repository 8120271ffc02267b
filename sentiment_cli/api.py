"""The Python interface: load a model and predict, train an experiment and evaluate the run, without a command line.

    import sentiment_cli as sentiment

    model = sentiment.load("imdb-lstm")          # a run, its directory, or a packed model
    model.predict(["I just really loved the movie"])
    model.explain("I just really loved the movie")
    sentiment.score(batches, "pocket")           # Arrow record batches with their answers
    run = sentiment.train("linear", data="my.csv", set={"seed": 1})
    run.evaluate().accuracy

Errors that a user can cause are `sentiment_cli.errors.SentimentError`. Importing this module loads neither torch nor
numpy.
"""

import json
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sentiment_cli import console, extras
from sentiment_cli.errors import UsageError

if TYPE_CHECKING:
    import pyarrow

    from sentiment_cli.evaluation.evaluate import Evaluation
    from sentiment_cli.evaluation.metrics import Scores
    from sentiment_cli.inference.explain.attribution import AttributionMethod, Explanation
    from sentiment_cli.inference.predictor import Prediction, Predictor


class Model:
    """A model that classifies texts. `load` returns one."""

    def __init__(self, path: Path) -> None:
        from sentiment_cli.inference.predictor import open_predictor

        self.path = path
        with extras.explained(f"the model {path}"):
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

    def explain(
        self, text: str, method: "AttributionMethod | None" = None, *, label: str | None = None
    ) -> "Explanation":
        """Return how much each word of a text adds to the answer, by the method that suits the model unless named.

        A model of several labels a row explains the likeliest, or the one that `label` names, which others do not take.
        """
        from sentiment_cli.inference.explain.attribution import Explainer

        place = None if label is None else self._place_of(label)
        with extras.explained("this explanation"):
            return Explainer(self._predictor, method).explain(text, place)

    def _place_of(self, label: str) -> int:
        from sentiment_cli.config.nearest import nearest

        hint = f'sentiment predict --run {shlex.quote(str(self.path))} --explain "I just really loved the movie"'
        if self._predictor.target != "multilabel":
            raise UsageError(f"label is {label!r}, and this model gives a text one label, which is explained", hint)
        if label not in self.labels:
            near = nearest(label, self.labels, 0.0) or self.labels[0]
            raise UsageError(f"label is {label!r}, which the model does not know. Did you mean {near!r}?", hint)
        return self.labels.index(label)


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
    """Return the model of a run (its name or directory), of a packed file, or `pocket`, which comes with the package.

    Without a name it is that of the newest finished run, or else `pocket`. Raises UsageError where there is no such
    run, and MachineError where a model without an inference graph needs torch, which is not installed; models with one
    do not load it.
    """
    from sentiment_cli.runs.directory import find_run

    return Model(find_run(None if run is None else os.fspath(run), or_bundled=True))


def score(
    records: "Iterable[pyarrow.RecordBatch]",
    model: Model | str | os.PathLike[str] = "pocket",
    text_column: str = "text",
) -> "Iterator[pyarrow.RecordBatch]":
    """Yield each record batch with the columns of its answers behind its own; rows keep their order and number.

    For engines that hand out Arrow record batches, as Spark's mapInArrow does. A row whose text is null has null
    answers. A model that is named, as for `load`, is opened once in a process. Needs pyarrow, and no torch for models
    with an inference graph.
    """
    from sentiment_cli.inference.batch.records import score_records

    return score_records(records, model._predictor if isinstance(model, Model) else model, text_column)


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

    console.set_manner()
    settings = {**({} if data is None else {"data.source": os.fspath(data)}), **(set or {})}
    overrides = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in settings.items()]
    loaded = load_experiment(Path(experiment) if isinstance(experiment, os.PathLike) else experiment, overrides)
    extras.require("train", "training")
    from sentiment_cli.workflows.dependencies import resolve_dependencies
    from sentiment_cli.workflows.train import fit

    finished = fit(resolve_dependencies(loaded, name), name)
    return Run(finished.directory, finished.scores)  # type: ignore[arg-type]  # of a task that classifies
