"""The trainings of trials: children of our own program, watched by their run files."""

import collections
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentiment_cli.config.loader import flat_values, inline_yaml, load_experiment
from sentiment_cli.runs.files import EXPERIMENT, METRICS_LOG, SUMMARY
from sentiment_cli.storage import failpoints, locks, store
from sentiment_cli.training.processes.launching import COORDINATOR
from sentiment_cli.workflows.tuning.trials import Trial

PROGRAM = (sys.executable, "-m", "sentiment_cli")
_LINES_KEPT = 40
_SECONDS_BETWEEN_LOOKS = 0.2


class Child:
    """The process that trains one trial, in a new run or in the run that it began."""

    def __init__(self, run: Path, trial: Trial, base: Path, settings: Sequence[str], program: Sequence[str]) -> None:
        self.run, self.trial = run, trial
        self.asked_to_stop = False
        self._began = time.monotonic()
        words = ["train", "--resume", run.name] if is_begun(run) else ["train", str(base.absolute())]
        if not is_begun(run):
            pairs = [*settings, *(f"{key}={inline_yaml(value)}" for key, value in trial.values.items())]
            words += ["--name", run.name, *(word for pair in pairs for word in ("--set", pair))]
        failpoints.reach("child", run)
        self._process = subprocess.Popen(
            [*program, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ | {"SENTIMENT_RUNS": str(run.parent.absolute()), COORDINATOR: str(os.getpid())},
            process_group=0,  # Ctrl-C at a terminal reaches the coordinator, which stops its children
        )
        self._said: collections.deque[str] = collections.deque(maxlen=_LINES_KEPT)
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def code(self) -> int | None:
        """Return the exit code, 128 and its number for a signal; None while it runs."""
        code = self._process.poll()
        if code is not None:
            self._listening.join()
        return 128 - code if code is not None and code < 0 else code

    def said(self) -> str:
        """Return the last lines of its messages, from the error on."""
        lines = list(self._said)
        first = next((i for i, line in enumerate(lines) if line.startswith("error: ")), max(0, len(lines) - 5))
        return "\n".join(lines[first:]).removeprefix("error: ")

    def stop(self) -> None:
        """Ask it to save a checkpoint and end."""
        self.asked_to_stop = True
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        self._process.wait()
        self._listening.join()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for line in stream:
                self._said.append(line.decode("utf-8", "replace").rstrip("\n"))


def is_begun(run: Path) -> bool:
    """Say whether a run can be resumed: its experiment is there."""
    return store.is_there(run / EXPERIMENT)


def wait_until_free(run: Path, say: Any) -> None:
    """Wait for a child of an earlier coordinator, which saves a checkpoint after that one has died."""
    is_said = False
    while True:
        try:
            with locks.held(run, say):
                return
        except BlockingIOError:
            if not is_said:
                say(f"waiting for the training of {run.name}, which an earlier command began")
            is_said = True
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        except FileNotFoundError:
            return


def values_of(run: Path, keys: Sequence[str]) -> dict[str, Any]:
    """Return the values of a run that was begun."""
    flat = flat_values(load_experiment(run / EXPERIMENT))
    return {key: flat[key] for key in keys}


def epochs_of(run: Path, monitor: str) -> list[float]:
    """Return the monitored figure after each epoch so far."""
    path = run / METRICS_LOG
    if not store.is_there(path):
        return []
    data = store.read_file(path)
    found = []
    with store.damage(path):
        for line in data[: data.rfind(b"\n") + 1].splitlines():
            value = json.loads(line).get(f"valid_{monitor}")
            if isinstance(value, float | int):
                found.append(float(value))
    return found


def score_of(run: Path, monitor: str) -> float | None:
    """Return the monitored figure of a finished run; None of one that is not finished."""
    path = run / SUMMARY
    if not store.is_there(path):
        return None
    summary = store.read_json(path)
    with store.damage(path):
        if summary["status"] != "finished":
            return None
        return float(summary["valid"][monitor])
