"""Figures of a run to a tracker that its user has installed: MLflow, Weights & Biases, or TensorBoard.

Only run files are read, and only settings that are numbers or names of choices, figures by step, and scores are given
on: no texts, labels or paths, and nothing about the machine.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from sentiment_cli import console
from sentiment_cli.config.loader import flat_values, load_experiment
from sentiment_cli.errors import DataError, MachineError
from sentiment_cli.runs.files import EXPERIMENT, METRICS_LOG, scores_paths
from sentiment_cli.runs.metric_table import METRICS, TOKEN_METRICS
from sentiment_cli.runs.records import read_metrics, read_scores, read_summary
from sentiment_cli.storage import store

Tracker = Literal["mlflow", "wandb", "tensorboard"]
PROJECT = "sentiment"
# Their settings are numbers and choices; a path among them is left out.
_SECTIONS = ("model", "train", "text", "vocabulary", "seed", "task")
_PATHS = ("vocabulary.vectors",)
_SECONDS_BETWEEN_LOOKS = 2.0


class Sink(Protocol):
    """What takes the figures of one run."""

    def row(self, step: int, figures: Mapping[str, float]) -> None: ...

    def summary(self, scores: Mapping[str, float]) -> None: ...


def send_run(run: Path, to: Tracker, *, follow: bool = False) -> int:
    """Give the figures of a run to a tracker, with `follow` until the run has ended; return the number of rows.

    Raises DataError for a run without figures, and MachineError for what the tracker refuses. The run is only read.
    """
    settings = settings_of(run)
    if not follow and not store.is_there(run / METRICS_LOG):
        raise DataError(f"{run} has no {METRICS_LOG}: nothing has been validated yet", "sentiment runs list")
    n = 0
    with _refusals(to), _SINKS[to](run, settings) as sink:
        while True:
            is_over = not follow or bool(read_summary(run).get("status"))  # before the rows are read: none is missed
            rows = read_metrics(run / METRICS_LOG) if store.is_there(run / METRICS_LOG) else []
            for row in rows[n:]:
                sink.row(int(row["step"]), figures_of(row))
            n = max(n, len(rows))
            if is_over:
                sink.summary(scores_of(run))
                return n
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def settings_of(run: Path) -> dict[str, str | int | float | bool]:
    """Return the settings of a run that say nothing of its data, machine or user."""
    found: dict[str, str | int | float | bool] = {}
    for key, value in flat_values(load_experiment(run / EXPERIMENT)).items():
        if key.split(".")[0] in _SECTIONS and key not in _PATHS and isinstance(value, str | int | float | bool):
            found[key] = value
    return found


def figures_of(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of a row of metrics.jsonl."""
    return {
        key: float(value)
        for key, value in row.items()
        if key not in ("step", "best") and isinstance(value, int | float) and not isinstance(value, bool)
    }


def scores_of(run: Path) -> dict[str, float]:
    """Return the scores of a run on validation and on the splits and files that it was evaluated on."""
    named = {"valid": read_summary(run).get("valid") or {}}
    named |= {path.stem: read_scores(path) for path in scores_paths(run) if path.stem in ("test", "valid", "train")}
    return {
        f"{split}_{key}": float(scores[key])
        for split, scores in named.items()
        for key in {**METRICS, **TOKEN_METRICS}
        if isinstance(scores.get(key), int | float)
    }


@contextlib.contextmanager
def _refusals(to: Tracker) -> Iterator[None]:
    """Raise MachineError for a tracker that is not installed, or whose server does not answer."""
    try:
        yield
    except ImportError as error:
        raise MachineError(f"{to} is not installed: {error}", f"pip install {_PACKAGES[to]}") from error
    except (DataError, MachineError, OSError):
        raise
    except Exception as error:  # each tracker raises its own
        raise MachineError(f"{to} does not take the run: {error!r:.300}", "sentiment track --help") from error


class _Mlflow:
    def __init__(self, run: Path, settings: Mapping[str, Any]) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._metric, self._client = Metric, MlflowClient()
        known = self._client.get_experiment_by_name(PROJECT)
        experiment = known.experiment_id if known is not None else self._client.create_experiment(PROJECT)
        # The client's own call: `mlflow.start_run` would add the user, the host's paths and the source.
        self._run = self._client.create_run(experiment, run_name=run.resolve().name).info.run_id
        params = [Param(key, str(value)) for key, value in settings.items()]
        for i in range(0, len(params), 100):  # the most that a server takes at once
            self._client.log_batch(self._run, params=params[i : i + 100])

    def row(self, step: int, figures: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        self._client.log_batch(
            self._run, metrics=[self._metric(key, value, now, step) for key, value in figures.items()]
        )

    def summary(self, scores: Mapping[str, float]) -> None:
        self.row(0, scores)

    def close(self, status: str) -> None:
        self._client.set_terminated(self._run, status)


@contextlib.contextmanager
def _to_mlflow(run: Path, settings: Mapping[str, Any]) -> Iterator[Sink]:
    sink = _Mlflow(run, settings)
    status = "FAILED"
    try:
        yield sink
        status = "FINISHED"
    finally:
        with contextlib.suppress(Exception):  # of a server that has gone, which is the error that is reported
            sink.close(status)


class _Wandb:
    def __init__(self, run: Any) -> None:
        self._run = run

    def row(self, step: int, figures: Mapping[str, float]) -> None:
        self._run.log(dict(figures), step=step)

    def summary(self, scores: Mapping[str, float]) -> None:
        self._run.summary.update(dict(scores))


@contextlib.contextmanager
def _to_wandb(run: Path, settings: Mapping[str, Any]) -> Iterator[Sink]:
    import wandb

    quiet = wandb.Settings(
        console="off",
        disable_code=True,
        disable_git=True,
        host=PROJECT,  # instead of this machine's name
        save_code=False,
        silent=True,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )
    try:
        with wandb.init(project=PROJECT, name=run.resolve().name, config=dict(settings), settings=quiet) as one:
            yield _Wandb(one)
    finally:
        wandb.teardown()  # waits until its other process has written everything


class _TensorBoard:
    def __init__(self, run: Path) -> None:
        self._run = run

    def row(self, step: int, figures: Mapping[str, float]) -> None:
        from sentiment_cli.training.tensorboard import write_events

        write_events(self._run, step, figures)

    def summary(self, scores: Mapping[str, float]) -> None:
        pass  # events are figures by step


@contextlib.contextmanager
def _to_tensorboard(run: Path, settings: Mapping[str, Any]) -> Iterator[Sink]:
    import tensorboardX  # noqa: F401 - missing, it is said before anything is written

    yield _TensorBoard(run)
    console.say(f"tensorboard --logdir {run}")


_SINKS: dict[Tracker, Callable[[Path, Mapping[str, Any]], contextlib.AbstractContextManager[Sink]]] = {
    "mlflow": _to_mlflow,
    "wandb": _to_wandb,
    "tensorboard": _to_tensorboard,
}
_PACKAGES: dict[Tracker, str] = {
    "mlflow": "mlflow-skinny",
    "wandb": "wandb",
    "tensorboard": "'sentiment-cli[tensorboard]'",
}
