"""The shards of a file on Ray: tasks that score parts as `predict --shard` does, on this machine or on a cluster.

The workers read the source, the plan and the model on a disk that they share with this process, and write parts to it.
The model is packed into the folder of the parts for that time; a worker opens it once and compares its hash.
"""

import contextlib
import functools
import io
import logging
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sentiment_cli import __version__, console, extras
from sentiment_cli.errors import Change, MachineError
from sentiment_cli.inference.batch.parts import Parts, planned_source
from sentiment_cli.inference.batch.pool import ONE_THREAD, TRIES, answer_here, error_of
from sentiment_cli.inference.batch.sources import Files
from sentiment_cli.inference.batch.worker import reply_of
from sentiment_cli.inference.predictor import Predictor
from sentiment_cli.onnx.runtime import n_cores
from sentiment_cli.runs.ensemble_model import SavedModel, open_model, pack_model
from sentiment_cli.storage import failpoints, store

LOCAL, AUTO = "ray", "ray://auto"
_SHARDS_A_CORE = 4  # the last ones to finish keep the other cores waiting for a quarter of the work at most
_OBJECTS_BYTES = 80_000_000  # for messages of Ray, which are small here; it takes no less
_CONNECT_S = 5.0
_HERE = Change(without=["--on"])


class _Job(NamedTuple):
    """What each task is given: no texts, since a task reads its own."""

    version: str
    packed: Path
    packed_sha256: str
    directory: Path
    model: str
    files: Files
    options: Any
    n_shards: int


def check_ray(on: str) -> None:
    """Raise MachineError where Ray is not installed, and where nothing answers at the address."""
    extras.require("ray", f"--on {on}")
    if on in (LOCAL, AUTO):
        return
    host, _, port = on.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise MachineError(f"--on {on}: nothing answers there: {error}", Change("--on", LOCAL)) from error


def score_on_ray(on: str, model: SavedModel, parts: Parts, files: Files, options: Any) -> None:
    """Score the parts that are missing. Raises MachineError where Ray refuses or loses a shard three times."""
    if not parts.missing():
        return
    directory = parts.directory.absolute()
    packed = directory / f"model-{parts.model[:16]}.model"
    with contextlib.ExitStack() as stack:
        store.remove_file(packed)  # of a command that was killed
        stack.callback(store.remove_file, packed)
        pack_model(model, packed)
        cores = stack.enter_context(_connected(on))
        job = _Job(
            __version__,
            packed,
            open_model(packed).files.sha256,
            directory,
            parts.model,
            Files([path.absolute() for path in files.paths], files.stamps),
            options,
            min(len(parts.ranges), cores * _SHARDS_A_CORE),
        )
        _run(job, parts)


def _run(job: _Job, parts: Parts) -> None:
    import ray

    task = ray.remote(num_cpus=1, max_retries=TRIES - 1)(_score)
    sent = ray.put(job)
    shard_of = {task.remote(sent, k): k for k in range(1, job.n_shards + 1)}
    waiting = list(shard_of)
    with console.progress("predicting", job.n_shards) as shown:
        while waiting:
            (done,), waiting = ray.wait(waiting)
            try:
                reply = ray.get(done)
            except ray.exceptions.RayError as error:
                k = shard_of[done]
                first = parts.shard(k, job.n_shards)[0]
                raise MachineError(
                    f"{TRIES} tries of shard {k}/{job.n_shards} ({parts.beginning(first)}) ended on Ray: "
                    f"{str(error).strip().splitlines()[-1]:.200}",
                    _HERE,
                ) from error
            if "error" in reply:
                raise error_of(reply)
            n = job.n_shards - len(waiting)
            shown.update(n, f"{n:,} of {job.n_shards:,} shards")


def _score(job: _Job, k: int) -> dict[str, Any]:
    """Score a shard in a process of Ray; return nothing, or what is wrong."""
    os.environ.update(ONE_THREAD)
    console.mute()
    try:
        where = f"the worker on {socket.gethostname()}"
        if job.version != __version__:
            raise MachineError(f"{where} has sentiment {__version__}, not {job.version}", _HERE)
        if not store.is_there(job.packed):
            raise MachineError(f"{where} does not see {job.directory}: --on needs a disk that all share", _HERE)
        failpoints.reach("worker")
        predictor = _open(job.packed, job.packed_sha256)
        source = planned_source(job.directory, job.files, *job.options)
        parts = Parts(job.directory, source, job.model, job.options, predictor.labels)
        parts.score(answer_here(predictor, reads_ahead=False), k, job.n_shards)
    except Exception as error:
        return reply_of(error)
    return {}


@functools.lru_cache(1)
def _open(packed: Path, sha256: str) -> Predictor:
    model = open_model(packed)
    if model.files.sha256 != sha256:
        raise store.IntegrityError(f"{packed} is another model than the one that was sent")
    return Predictor(model, n_threads=1)


@contextlib.contextmanager
def _connected(on: str) -> Iterator[int]:
    """Connect to a cluster, or start Ray for this process; yield the number of its cores."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if on == LOCAL:
        # As Ray does it on macOS: all its servers listen at 127.0.0.1 alone.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # the default, which Ray warns of unless it is said
        os.environ.setdefault("RAY_task_oom_retries", str(TRIES - 1))
    before = signal.getsignal(signal.SIGTERM)
    with contextlib.redirect_stdout(_Said()):
        import ray

        logging.getLogger("ray").setLevel(logging.ERROR)
        own: dict[str, Any] = {"num_cpus": n_cores(), "object_store_memory": _OBJECTS_BYTES, "include_dashboard": False}
        address, given = ("local", own) if on == LOCAL else (on.removeprefix("ray://"), {})
        for left in reversed(range(TRIES if on == LOCAL else 1)):
            try:
                ray.init(address, configure_logging=False, log_to_driver=False, **given)
                break
            except Exception as error:  # Ray raises many kinds; its start fails by itself after 30 s on a busy machine
                ray.shutdown()
                said = (str(error).strip() or repr(error)).splitlines()[0][:300]
                if not left:
                    hint = _HERE if on == LOCAL else Change("--on", LOCAL)
                    raise MachineError(f"--on {on}: Ray refuses: {said}", hint) from error
                console.warn(f"Ray is started again: {said}")
        signal.signal(signal.SIGTERM, before)  # Ray's own handler would end the command with another code
        try:
            yield max(1, int(ray.cluster_resources().get("CPU", 1)))
        finally:
            ray.shutdown()


class _Said(io.StringIO):
    """What Ray prints on stdout, where answers may go; of it the user hears of a lost worker."""

    def write(self, text: str) -> int:
        if "will be retried" in text:
            console.warn("a process of Ray ended; its shard is scored again")
        return len(text)
