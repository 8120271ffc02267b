"""Data-parallel training: each process reads its micro-batches of every batch, and the gradients are all-reduced.

    torchrun --nproc-per-node 2 -m sentiment_cli train --set train.slices=2

Gradients and loss are summed as one flat tensor per step over gloo (CPU) or NCCL (CUDA); of a sparse gradient the rows
are gathered. DistributedDataParallel would divide by the number of processes and needs rows in every process; a plain
sum is exact for two and needs neither.
"""

import contextlib
import datetime
import functools
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from sentiment_cli import console
from sentiment_cli.config.schema import Experiment
from sentiment_cli.errors import Change, MachineError, SentimentError, UsageError
from sentiment_cli.storage import failpoints
from sentiment_cli.training.processes.launching import LAUNCHER, LISTENING, check_shared, n_launched, n_restarts
from sentiment_cli.training.processes.signals import Stop

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

_JOINED_WITHIN = datetime.timedelta(minutes=5)  # otherwise a process would wait for ever for others that never start
_NOTE = "left"
_joins = itertools.count()


class LostProcessError(MachineError):
    """Another process of this training has ended; `note` holds its exit code and the message of its error."""

    def __init__(self, reason: str, note: tuple[int, str] | None) -> None:
        super().__init__(f"another process of this training was lost: {note[1] if note else reason}")
        self.note = note
        self.exit_code = note[0] if note else MachineError.exit_code

    @property
    def signal_number(self) -> int:
        """The signal that ended the other process; 0 where it ended for another reason."""
        return max(self.exit_code - 128, 0)


class Group:
    """The process group of a training; in a group of one, every method returns its input unchanged."""

    def __init__(
        self, rank: int = 0, size: int = 1, device: torch.device | None = None, store: "Store | None" = None
    ) -> None:
        self.rank, self.size, self.device = rank, size, device or torch.device("cpu")
        self._store = store
        # Stop flags and texts are exchanged on the CPU, so that a step never waits for the GPU.
        self._talk = dist.new_group(backend="gloo") if size > 1 and self.device.type == "cuda" else None

    @property
    def is_writer(self) -> bool:
        return self.rank == 0

    def slice_range(self, slices: int) -> range:
        """Return the numbers of this process's micro-batches."""
        return range(self.rank * slices // self.size, (self.rank + 1) * slices // self.size)

    def all_reduce_sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in place."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors]).to(self.device)
        self._reach(lambda: dist.all_reduce(flat))
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, total in zip(tensors, parts, strict=True):
            tensor.copy_(total.view_as(tensor))

    def gather_sparse(self, grads: Sequence[Tensor]) -> list[Tensor]:
        """Return each sparse gradient with the entries of all processes, by rank; only rows that were read are sent."""
        if self.size == 1 or not grads:
            return list(grads)
        n_entries_KN = torch.zeros(self.size, len(grads), dtype=torch.long)
        n_entries_KN[self.rank] = torch.tensor([grad._nnz() for grad in grads])
        self._reach(lambda: dist.all_reduce(n_entries_KN, group=self._talk))
        found = []
        for grad, n_entries in zip(grads, n_entries_KN.t().tolist(), strict=True):
            own = (grad._indices()[0], grad._values())
            rows, values = (self._gather_ragged(tensor, n_entries) for tensor in own)
            found.append(torch.sparse_coo_tensor(rows[None], values, grad.shape, check_invariants=False))
        return found

    def _gather_ragged(self, tensor: Tensor, lengths: list[int]) -> Tensor:
        """Concatenate the tensors of all processes, of these lengths; they travel padded to the longest."""
        padded = tensor.new_zeros(max(lengths), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        parts = [torch.empty_like(padded) for _ in lengths]
        self._reach(lambda: dist.all_gather(parts, padded))
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    def all_reduce_max(self, *numbers: int) -> tuple[int, ...]:
        """Return the maximum of each number over all processes."""
        if self.size == 1:
            return numbers
        shared = torch.tensor(numbers)
        self._reach(lambda: dist.all_reduce(shared, dist.ReduceOp.MAX, group=self._talk))
        return tuple(shared.tolist())

    def broadcast_text(self, text: str) -> str:
        """Return the first process's text."""
        if self.size == 1:
            return text
        data = text.encode()
        (length,) = self.all_reduce_max(len(data) if self.is_writer else 0)
        buffer = torch.zeros(length, dtype=torch.uint8)
        if self.is_writer:
            buffer.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        self._reach(lambda: dist.broadcast(buffer, 0, group=self._talk))
        return bytes(buffer.tolist()).decode()

    def gather_texts(self, text: str) -> list[str]:
        """Return the texts of all processes, by rank."""
        data = text.encode()
        (length,) = self.all_reduce_max(len(data))
        buffers = torch.zeros(self.size, length + 8, dtype=torch.uint8)
        buffers[self.rank] = torch.frombuffer(bytearray(len(data).to_bytes(8) + data.ljust(length)), dtype=torch.uint8)
        if self.size > 1:
            self._reach(lambda: dist.all_reduce(buffers, group=self._talk))
        found = (bytes(buffer.tolist()) for buffer in buffers)
        return [one[8 : 8 + int.from_bytes(one[:8])].decode() for one in found]

    def check_same(self, error: type[SentimentError], what: str, facts: Mapping[str, object], hint: str) -> None:
        """Raise an error in every process where one has other facts than the first; the error names the differences."""
        if self.size == 1:
            return
        first, *others = (json.loads(text) for text in self.gather_texts(json.dumps(facts)))
        for rank, theirs in enumerate(others, 1):
            keys = dict.fromkeys([*first, *theirs])
            found = [
                f"{key} is {theirs.get(key)}, there {first.get(key)}"
                for key in keys
                if theirs.get(key) != first.get(key)
            ]
            if found:
                raise error(f"process {rank} of this training has {what} than process 0: {'; '.join(found)}", hint)

    def barrier(self) -> None:
        """Wait for all processes."""
        self.all_reduce_max(0)

    def leave_note(self, error: SentimentError) -> None:
        """Leave a note for the first process, which loses this one and reports its error."""
        if self._store is not None and not self.is_writer and not isinstance(error, LostProcessError):
            with contextlib.suppress(RuntimeError):  # the first process has ended, too
                self._store.set(_NOTE, json.dumps([error.exit_code, f"process {self.rank}: {error}"]))

    def _reach(self, collective: Callable[[], object]) -> None:
        failpoints.reach("collective")
        try:
            collective()
        except RuntimeError as error:
            if "CUDA error" in str(error) and "NCCL" not in str(error):  # of this process: a kernel's assertion, say
                raise
            raise LostProcessError(str(error).partition("\n")[0], self._find_note()) from error
        failpoints.reach("after collective")

    def _find_note(self) -> tuple[int, str] | None:
        if self._store is None or not self.is_writer:  # the process that holds the notes may have ended
            return None
        with contextlib.suppress(RuntimeError):
            if self._store.check([_NOTE]):
                code, message = json.loads(self._store.get(_NOTE))
                return code, message
        return None


ALONE = Group()


@contextlib.contextmanager
def joined(experiment: Experiment, device: torch.device, stop: Stop) -> Iterator[Group]:
    """Yield the process group of torchrun's variables; without them, a group of one.

    Processes after the first are silent: the first process or the launcher reports their errors. A signal while they
    wait for each other ends the process, since nothing has begun.
    """
    size = n_launched()
    if size == 1:
        yield ALONE
        return
    check_shared(size, experiment)
    with stop.ending():
        failpoints.reach("join")
        store = _join("nccl" if device.type == "cuda" else "gloo")
    group = Group(dist.get_rank(), size, device, store)
    if not group.is_writer:
        console.mute()
    try:
        yield group
    except SentimentError as error:
        group.leave_note(error)
        is_unheard = isinstance(error, LostProcessError) and LAUNCHER not in os.environ
        if group.is_writer or is_unheard:
            raise
        raise SystemExit(error.exit_code) from None
    finally:
        dist.destroy_process_group()


def _join(backend: str) -> "Store":
    """Join the other processes; return the store that they leave notes in."""
    # One store serves all trainings of a process, and torchrun's serves all restarts: under the same keys gloo would
    # find the addresses of processes that have ended.
    try:
        store, rank, size = _meet()
        store = dist.PrefixStore(f"restart-{n_restarts()}-{next(_joins)}", store)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise MachineError(f"the processes of this training did not find each other: {reason}") from error
    return store


@functools.cache
def _meet() -> "tuple[Store, int, int]":
    """Return the rendezvous store, the rank of this process and the number of processes."""
    if LISTENING in os.environ:  # a socket of our own launcher, for the first process
        port, size = int(os.environ["MASTER_PORT"]), n_launched()
        store = dist.TCPStore(  # type: ignore[attr-defined]
            os.environ["MASTER_ADDR"],
            port,
            size,
            is_master=True,
            timeout=_JOINED_WITHIN,
            wait_for_workers=False,
            master_listen_fd=int(os.environ[LISTENING]),
        )
        return store, 0, size
    met: tuple[Store, int, int] = next(rendezvous("env://", timeout=_JOINED_WITHIN))
    return met


def own_device(device: torch.device, slices: int) -> torch.device:
    """Return the GPU of this process, by its local rank, where several share a machine.

    Raises UsageError, in the first of them alone, where there is not one GPU for each.
    """
    n_local = int(os.environ.get("LOCAL_WORLD_SIZE", n_launched()))
    if device.type != "cuda" or n_local == 1 or "LOCAL_RANK" not in os.environ:
        return device
    n_gpus, rank = torch.cuda.device_count(), int(os.environ["LOCAL_RANK"])
    reason = None
    if device.index is not None:
        reason = f"train.device is {device}, and {n_local} processes on this machine need a GPU each"
    elif n_local > n_gpus:
        reason = f"{n_local} processes on this machine need a GPU each, and it has {n_gpus}"
    if reason is not None:
        if rank:
            raise SystemExit(UsageError.exit_code)
        most = max(n for n in range(1, max(n_gpus, 1) + 1) if slices % n == 0)
        if device.index is not None and n_local <= n_gpus:
            raise UsageError(reason, Change("--nproc", str(n_local), "--set", "train.device=cuda"))
        raise UsageError(reason, Change("--nproc", str(most), "--set", "train.device=cuda"))
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)
    return device
