"""Worker processes that answer chunks of texts, several at a time; the answers come in the order of the chunks."""

import contextlib
import os
import queue
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from sentiment_cli import console
from sentiment_cli.errors import Change, DataError, MachineError, SentimentError, UsageError
from sentiment_cli.inference.batch.answers import unpacked
from sentiment_cli.inference.batch.chunks import Chunk
from sentiment_cli.inference.batch.worker import receive, send
from sentiment_cli.storage.store import IntegrityError

if TYPE_CHECKING:
    from sentiment_cli.inference.predictor import Prediction, Predictor

TRIES = 3
_Item = TypeVar("_Item")
# A chunk, and its answers where they are known already.
AskedChunk = tuple[Chunk, "list[Prediction] | None"]
AnsweredChunk = tuple[Chunk, "list[Prediction]"]
Answering = Callable[[Generator[AskedChunk, None, None]], Generator[AnsweredChunk, None, None]]
# One thread each: the processes share the cores. What OpenMP and the tokenizer's library read at their start.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


class Answers(Protocol):
    """What the columns of an answer depend on: of a predictor, or of a model that is not loaded."""

    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def target(self) -> str: ...


def answer_here(predictor: "Predictor", *, reads_ahead: bool = True) -> Answering:
    """Return the function that answers chunks in this process; a thread reads and tokenizes the next one meanwhile."""

    def answer(asked: Generator[AskedChunk, None, None]) -> Generator[AnsweredChunk, None, None]:
        encoded: Generator[tuple[Chunk, Any, Any], None, None] = (
            (chunk, known, None if known is not None else predictor.encode(chunk.texts)) for chunk, known in asked
        )
        with contextlib.closing(_ahead(encoded) if reads_ahead else encoded) as items:
            for chunk, known, rows_ids in items:
                yield chunk, known if known is not None else predictor.judge(chunk.texts, rows_ids)

    return answer


@contextlib.contextmanager
def workers(run: Path, n: int, sha256: str, labels: Sequence[str]) -> Iterator[Answering]:
    """Start `n` processes that answer with the model at `run`, and yield the function that answers chunks by them.

    A chunk whose worker dies goes to a new one, and after three times ends the work with MachineError. `sha256` is the
    identity of the model, which each worker compares.
    """
    pool = _Pool([sys.executable, "-m", "sentiment_cli.inference.batch.worker", str(run)], n, sha256)
    try:
        yield lambda asked: _in_order(pool, asked, n, labels)
    finally:
        pool.end()


def _in_order(
    pool: "_Pool", asked: Generator[AskedChunk, None, None], n: int, labels: Sequence[str]
) -> Generator[AnsweredChunk, None, None]:
    from concurrent.futures import Future, ThreadPoolExecutor

    # One chunk more than there are workers is read, so that each has the next one at once.
    waiting: deque[tuple[Chunk, list[Prediction] | None, Future[_Reply] | None]] = deque()
    with ThreadPoolExecutor(n) as threads, contextlib.closing(asked):

        def first() -> AnsweredChunk:
            chunk, known, future = waiting.popleft()
            if known is not None or future is None:
                return chunk, known or []
            reply = future.result()
            for said in reply.said:
                console.warn(said)
            return chunk, unpacked(reply.answers, chunk.texts, labels)

        try:
            for chunk, known in asked:
                waiting.append((chunk, known, None if known is not None else threads.submit(pool.ask, chunk)))
                while len(waiting) > n + 1 or (waiting and waiting[0][1] is not None):
                    yield first()
            while waiting:
                yield first()
        except BaseException:
            pool.end()  # else the threads would wait for their workers
            threads.shutdown(wait=False, cancel_futures=True)
            raise


class _Reply(NamedTuple):
    answers: list[list[Any]]
    said: list[str]


class _Lost(Exception):  # noqa: N818 - a process that ended, not an error of the user's
    pass


class _Pool:
    """Processes that wait for a chunk; each is started when it is first asked."""

    def __init__(self, command: Sequence[str], n: int, sha256: str) -> None:
        self._workers = [_Worker(command, sha256) for _ in range(n)]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for one in self._workers:
            self._idle.put(one)

    def ask(self, chunk: Chunk) -> _Reply:
        """Return the answers of a chunk by the next worker that is idle."""
        said: list[str] = []
        rows = f"rows {chunk.numbers[0]:,} to {chunk.numbers[-1]:,}" if chunk.numbers else "no rows"
        for _ in range(TRIES):
            worker = self._idle.get()
            try:
                return _Reply(worker.ask(chunk.texts), said)
            except _Lost as lost:
                said.append(f"a worker process {lost}; {rows} are scored again")
            finally:
                self._idle.put(worker)
        raise MachineError(
            f"{TRIES} worker processes ended while they scored {rows}: {said[-1].split(';')[0]}",
            Change(without=["--workers"]),
        )

    def end(self) -> None:
        for one in self._workers:
            one.end()


class _Worker:
    """One process, started anew where it has died."""

    def __init__(self, command: Sequence[str], sha256: str) -> None:
        self._command, self._sha256 = command, sha256
        self._process: subprocess.Popen[bytes] | None = None
        self._is_over = False

    def ask(self, texts: list[str]) -> list[list[Any]]:
        """Return the answers of texts. Raises _Lost where the process ends, and what the process says is wrong."""
        if self._process is None:
            self._start()
        answers: list[list[Any]] = self._exchange({"texts": texts})["answers"]
        if len(answers) != len(texts):
            raise IntegrityError(f"a worker process gave {len(answers):,} answers to {len(texts):,} texts")
        return answers

    def end(self) -> None:
        self._is_over = True
        self._reap()

    def _start(self) -> None:
        if self._is_over:
            raise _Lost("was ended")
        # A process group of its own: Ctrl-C at a terminal reaches this process, which then ends the workers.
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | ONE_THREAD,
            process_group=0,
        )
        if (found := self._exchange(None)["model"]) != self._sha256:
            raise IntegrityError(f"the model has changed since the work began: {found[:12]}, not {self._sha256[:12]}")

    def _exchange(self, message: Any) -> Any:
        process = self._process
        if process is None or self._is_over:
            raise _Lost("was ended")
        to, of = process.stdin, process.stdout
        assert to is not None
        assert of is not None
        try:
            reply = _asked(to, of, message)
        except (EOFError, OSError, ValueError):
            code = self._reap()
            raise _Lost(f"was ended by signal {-code}" if code < 0 else f"ended with code {code}") from None
        if "error" in reply:
            self._reap()
            raise error_of(reply)
        return reply

    def _reap(self) -> int:
        """End the process; return its exit code, or a signal's number below zero."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with contextlib.suppress(subprocess.TimeoutExpired):
            if not self._is_over:
                process.wait(1)  # its pipe has ended, and so does it: its own code says how
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return code


def _asked(to: IO[bytes], of: IO[bytes], message: Any) -> Any:
    if message is not None:
        send(to, message)
    return receive(of)


def error_of(reply: dict[str, Any]) -> Exception:
    """Return what a worker raised, as an error of the same kind."""
    kinds = {kind.exit_code: kind for kind in (UsageError, DataError, MachineError)}
    kind = kinds.get(reply["code"])
    if kind is None:
        return RuntimeError(f"in a worker process:\n{reply['error']}")
    error: SentimentError = kind(reply["error"], reply["hint"])
    return error


def _ahead(items: Generator[_Item, None, None]) -> Generator[_Item, None, None]:
    """Yield the items, each of which another thread makes while the one before is worked on."""
    from concurrent.futures import ThreadPoolExecutor  # 10 ms that a single text does without

    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = maker.submit(next, items, None)
            yield item
