"""Trainings in forked processes that kill themselves, or are signalled, at a chosen place.

The fork server imports torch once; each case is a fork of it with one thread.
"""

import csv
import dataclasses
import importlib
import json
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from forking import context

from sentiment_cli.data.sources import sample

SETTINGS = (
    "train.device=cpu",
    "train.threads=1",
    "train.precision=fp32",
    "model.encoder.width=4",
    "model.embedding.width=4",
    "train.batch_tokens=3072",
    "train.epochs=2",
    "train.checkpoint_steps=2",
    "train.keep_finished=true",
    "train.slices=2",
    "train.ema=0.9",
)
PLACES = {
    "step start": ("sentiment_cli.training.gradients", "slice_seed"),
    "after backward": ("sentiment_cli.training.loop", "get_total_norm"),
    "after the update": ("sentiment_cli.training.epochs", "check_finite"),
    "validation": ("sentiment_cli.training.tasks.classification", "score_rows"),
    "log": ("sentiment_cli.storage.store", "append_line"),
    "disk": ("sentiment_cli.storage.disk", "flush"),
    "publication": ("sentiment_cli.storage.disk", "rename"),
    "purge": ("sentiment_cli.storage.disk", "remove"),
    "model": ("sentiment_cli.workflows.finish", "save_artefact"),
}

_PATIENCE_S = 300  # it only keeps a training that hangs from hanging the tests


def write_reviews(root: Path) -> None:
    """Write the reviews that `train` reads, for four steps an epoch: hashing the sample's files would take longer."""
    reviews = [review for split, review in sample.generate_reviews() if split == "train"]
    (root / "data").mkdir()
    with (root / "data" / "reviews.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *((review.text, review.label) for review in reviews[::5])])


def train(
    root: Path,
    name: str,
    *,
    resumed: bool = False,
    place: str | None = None,
    at: int = 1,
    send: tuple[int, ...] = (signal.SIGKILL,),
    fail: str | None = None,
    settings: tuple[str, ...] = (),
    allowed: tuple[str, ...] = (),
    megabytes: int | None = None,
) -> tuple[int, str]:
    """Train in a process of its own that gets the signals at the `at`-th passage of `place`; return code and stderr.

    `fail` is a failpoint of the store. With `megabytes` the system gives it no more than that beyond what it has.
    """
    log = root / "stderr"
    arguments = (root, name, resumed, place, at, send, fail, settings, allowed, megabytes, log)
    process = context.Process(target=_train, args=arguments)
    process.start()
    process.join(_PATIENCE_S)
    assert process.exitcode is not None, "the training hangs"
    return process.exitcode, log.read_text()


def train_together(
    root: Path,
    name: str,
    *,
    n: int = 2,
    fail: str | None = None,
    settings: tuple[str, ...] = (),
    others: tuple[str, ...] = (),
    differs: str | None = None,
) -> list[tuple[int, str]]:
    """Train in processes that share the work, as the launcher starts them; return exit code and stderr of each.

    `fail` is a failpoint of all, or with @RANK of one. The last process has the settings `others`, too, and other
    code or rows where `differs` says so.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        together = []
        for rank in range(n):
            environment = {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(n),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(listening.getsockname()[1]),
                "SENTIMENT_LAUNCHER": str(os.getpid()),
            }
            is_last = rank == n - 1
            own = (*settings, *others) if is_last else settings
            shared, difference = listening if rank == 0 else None, differs if is_last else None
            log = root / f"stderr-{rank}"
            arguments = (root, name, fail, own, difference, environment, shared, log)
            together.append(context.Process(target=_train_together, args=arguments))
            together[-1].start()
    found = []
    for rank, process in enumerate(together):
        process.join(_PATIENCE_S)
        if process.exitcode is None:
            for one in together:
                one.kill()
            raise AssertionError(f"process {rank} hangs: {(root / f'stderr-{rank}').read_text()}")
        found.append((process.exitcode, (root / f"stderr-{rank}").read_text()))
    return found


def _train_together(root: Path, name: str, fail, settings, differs, environment, listening, log: Path) -> None:
    os.environ.update(environment)
    if listening is not None:
        os.environ["SENTIMENT_LAUNCHER_SOCKET"] = str(listening.detach())
    from sentiment_cli.workflows import setup, train

    if differs == "code":
        setup.code_sha256 = lambda: "another version"
    if differs == "rows":
        prepare = train.prepare_for
        train.prepare_for = lambda *args: dataclasses.replace(prepare(*args), key="other rows")
    _train(root, name, False, None, 1, (), fail, settings, (), None, log)


def _train(
    root: Path,
    name: str,
    resumed: bool,
    place: str | None,
    at: int,
    send,
    fail,
    settings,
    allowed,
    megabytes,
    log: Path,
) -> None:
    sys.stderr = log.open("w", buffering=1)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup has ignored where the tests run under it
    os.environ["SENTIMENT_DATA"], os.environ["SENTIMENT_RUNS"] = str(root / "data"), str(root / "runs")
    from sentiment_cli.config.loader import load_experiment
    from sentiment_cli.errors import SentimentError
    from sentiment_cli.storage import failpoints
    from sentiment_cli.workflows.train import fit, resume

    if megabytes is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    failpoints.arm(fail)
    if place is not None:
        arm(place, at, send)
    code = 0
    try:
        if resumed:
            run = root / "runs" / name
            resume(run, load_experiment(run / "experiment.yaml", settings), allowed)
        else:
            source = f"data.source={root / 'data' / 'reviews.csv'}"
            fit(load_experiment("sample", [*SETTINGS, source, *settings]), name)
    except SentimentError as error:
        print(f"error: {error}\n  try: {error.hint}", file=sys.stderr)
        code = error.exit_code
    except SystemExit as error:  # of a process that says nothing
        code = error.code
    sys.stderr.flush()
    os._exit(code)


def arm(place: str, at: int, send: tuple[int, ...]) -> None:
    module, name = PLACES[place]
    owner = importlib.import_module(module)
    original = getattr(owner, name)
    passages = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal passages
        passages += 1
        if passages == at:
            for number in send:
                os.kill(os.getpid(), number)
        return original(*args, **kwargs)

    setattr(owner, name, counted)


def outcome(run: Path) -> tuple[str, list[dict[str, Any]], str]:
    """Return what must not depend on where a run was stopped: weights, metrics without times, state."""
    import hashlib

    weights = hashlib.sha256((run / "model" / "weights.safetensors").read_bytes()).hexdigest()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["tokens_per_second"], row["seconds"]
    return weights, rows, json.loads((run / "summary.json").read_text())["status"]


def leftovers(root: Path) -> list[Path]:
    return [path for path in (root / "runs").rglob("*") if path.name.endswith(".tmp")]
