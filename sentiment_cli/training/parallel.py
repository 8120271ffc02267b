"""Several processes that train one model: each reads its slices of every batch, and they add up what they find.

    torchrun --nproc-per-node 2 -m sentiment_cli train --set train.slices=2

Gradients and loss travel as one flat sum per step over gloo (CPU) or NCCL (CUDA). DistributedDataParallel would divide
by the number of processes and needs every process to have rows; a plain sum is exact for two and asks for neither.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from sentiment_cli import console
from sentiment_cli.config.schema import Experiment
from sentiment_cli.errors import Change, MachineError, SentimentError, UsageError


class Group:
    """The processes of one training; alone, every method leaves things as they are."""

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | None = None) -> None:
        self.rank, self.size, self.device = rank, size, device or torch.device("cpu")
        # Stop flags and names travel on the CPU, so that a step never waits for the GPU.
        self._talk = dist.new_group(backend="gloo") if size > 1 and self.device.type == "cuda" else None

    @property
    def is_writer(self) -> bool:
        return self.rank == 0

    def own(self, slices: int) -> range:
        """Return this process's slices of a batch."""
        return range(self.rank * slices // self.size, (self.rank + 1) * slices // self.size)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors]).to(self.device)
        _reached(lambda: dist.all_reduce(flat))
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, total in zip(tensors, parts, strict=True):
            tensor.copy_(total.view_as(tensor))

    def largest(self, number: int) -> int:
        """Return the largest number that a process brings."""
        if self.size == 1:
            return number
        shared = torch.tensor(number)
        _reached(lambda: dist.all_reduce(shared, dist.ReduceOp.MAX, group=self._talk))
        return int(shared)

    def told(self, text: str) -> str:
        """Return the first process's text."""
        if self.size == 1:
            return text
        data = text.encode()
        buffer = torch.zeros(self.largest(len(data) if self.is_writer else 0), dtype=torch.uint8)
        if self.is_writer:
            buffer.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        _reached(lambda: dist.broadcast(buffer, 0, group=self._talk))
        return bytes(buffer.tolist()).decode()

    def wait(self) -> None:
        """Wait until every process is here."""
        self.largest(0)


ALONE = Group()


def _reached(collective: Callable[[], object]) -> None:
    try:
        collective()
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise MachineError(f"another process of this training was lost: {reason}") from error


@contextlib.contextmanager
def joined(experiment: Experiment, device: torch.device) -> Iterator[Group]:
    """Yield the group that torchrun's variables name; without them, this process alone.

    Processes after the first say nothing; an error that the first one tells too ends them silently.
    """
    size = n_launched()
    if size == 1:
        yield ALONE
        return
    check_shared(size, experiment)
    _reached(lambda: _join("nccl" if device.type == "cuda" else "gloo"))
    group = Group(dist.get_rank(), size, device)
    if not group.is_writer:
        console.mute()
    try:
        yield group
    except SentimentError as error:
        if group.is_writer or isinstance(error, MachineError):
            raise
        raise SystemExit(error.exit_code) from None
    finally:
        dist.destroy_process_group()


def _join(backend: str) -> None:
    # torchrun keeps one store over all restarts; under the same keys gloo would find the addresses of dead processes.
    store, rank, size = next(rendezvous("env://"))
    store = dist.PrefixStore(f"restart-{_n_restarts()}", store)  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)


def n_launched() -> int:
    """Return how many processes torchrun started, this one among them; 1 without it."""
    size = os.environ.get("WORLD_SIZE", "1")
    if not size.isdecimal() or int(size) < 1 or (int(size) > 1 and "RANK" not in os.environ):
        raise UsageError(
            f"WORLD_SIZE is {size!r} but RANK is not set; start with torchrun or unset WORLD_SIZE",
            "unset WORLD_SIZE",
        )
    return int(size)


def check_shared(n_processes: int, experiment: Experiment, alone: str | None = None) -> None:
    """Raise UsageError where so many processes cannot train an experiment; `alone` is how one process does."""
    name, slices = experiment.name, experiment.train.slices
    if n_processes > 1 and experiment.model.kind == "linear":
        raise UsageError(
            f"{name}: model.kind is linear, which one process trains", alone or Change(without=["--nproc"])
        )
    if slices % n_processes:
        raise UsageError(
            f"{name}: {n_processes} processes do not divide train.slices, which is {slices}",
            alone or Change("--set", f"train.slices={n_processes}"),
        )


def own_device(device: torch.device) -> torch.device:
    """Return the GPU of this process where several share a machine."""
    if device.type != "cuda" or device.index is not None or "LOCAL_RANK" not in os.environ:
        return device
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device


def launch_id() -> str | None:
    """Return what torchrun calls this launch, the same after it restarted its processes."""
    return os.environ.get("TORCHELASTIC_RUN_ID")


def is_restarted() -> bool:
    """Say whether torchrun started these processes in place of others that died."""
    return _n_restarts() > 0


def _n_restarts() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def launch(n_processes: int, arguments: Sequence[str]) -> int:
    """Run the command line in processes of its own on this machine; return the exit code of the first that failed."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # our own processes say what went wrong
    torchrun = ["--standalone", f"--nproc-per-node={n_processes}", "-m", "sentiment_cli", *arguments]
    try:
        run(parse_args(torchrun))  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0
