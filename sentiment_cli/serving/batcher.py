"""What waits for the model: one thread runs it, and a batch is all that has come while it was busy.

Nothing waits for a batch to fill. Of a request whose client has gone, nothing is computed that has not begun.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sentiment_cli.errors import SentimentError
from sentiment_cli.inference.predictor import Prediction
from sentiment_cli.serving.model import Served

Work = Callable[[Served, str], Any]


class Failed(Exception):  # noqa: N818 - an outcome of one text among others
    """A text that the model could not answer; the message is for the client and holds nothing of the text."""


class Job:
    """Texts that one request waits for. With `work`, which is done on the only text, it is no part of a batch.

    `done` gives, for each text in its order, its Prediction (or what `work` returned) or Failed.
    """

    def __init__(self, texts: Sequence[str], work: Work | None, loop: asyncio.AbstractEventLoop) -> None:
        self.texts, self.work = texts, work
        self.done: asyncio.Future[tuple[Served, list[Any]]] = loop.create_future()


class Batcher:
    """Runs jobs in the order they come in, those that predict together, up to `most_texts` texts at a time."""

    def __init__(self, model: Callable[[], Served], *, most_waiting: int, most_texts: int) -> None:
        self._model, self.most_waiting, self.most_texts = model, most_waiting, most_texts
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._is_due = False
        self._thread = ThreadPoolExecutor(1, "model")
        self.on_batch: Callable[[int], object] = lambda n_texts: None

    @property
    def n_waiting(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= self.most_waiting

    @property
    def is_idle(self) -> bool:
        return not self._waiting and not self._running

    def submit(self, texts: Sequence[str], work: Work | None = None) -> Job:
        """Queue texts; the model begins as soon as it is free."""
        job = Job(texts, work, asyncio.get_running_loop())
        self._waiting.append(job)
        self._wake()
        return job

    def cancel(self, job: Job) -> None:
        """Forget a job whose client has gone, and give its place in the queue to another."""
        if not job.done.done():
            job.done.cancel()
        if job in self._waiting:
            self._waiting.remove(job)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _wake(self) -> None:
        if self._waiting and not self._running and not self._is_due:
            self._is_due = True
            # After this round of the loop, so that requests that arrived together are read together.
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        self._is_due = False
        jobs = self._next_batch()
        if not jobs:
            return
        self._running = jobs
        self.on_batch(sum(len(job.texts) for job in jobs))
        loop = asyncio.get_running_loop()
        loop.run_in_executor(self._thread, _run, self._model(), jobs).add_done_callback(self._finish)

    def _next_batch(self) -> list[Job]:
        """Take the first job and, where it predicts, the others that do and fit beside it."""
        if not self._waiting:
            return []
        first = self._waiting.popleft()
        if first.work is not None:
            return [first]
        jobs, n_texts = [first], len(first.texts)
        left: deque[Job] = deque()
        while self._waiting:
            job = self._waiting.popleft()
            if job.work is None and n_texts + len(job.texts) <= self.most_texts:
                jobs.append(job)
                n_texts += len(job.texts)
            else:
                left.append(job)
        self._waiting = left
        return jobs

    def _finish(self, ran: "asyncio.Future[tuple[Served, list[list[Any]]]]") -> None:
        jobs, self._running = self._running, []
        served, found = ran.result()
        for job, answers in zip(jobs, found, strict=True):
            if not job.done.done():
                job.done.set_result((served, answers))
        self._wake()


def _run(served: Served, jobs: Sequence[Job]) -> tuple[Served, list[list[Any]]]:
    """Answer jobs in the model's thread; where a batch fails, each text by itself, so that one harms no other."""
    if jobs[0].work is not None:
        (job,) = jobs
        return served, [[_alone(served, text, job.work) for text in job.texts]]
    texts = [text for job in jobs for text in job.texts]
    answers: list[Prediction | Failed]
    try:
        answers = list(served.predict(texts))
    except Exception:
        answers = [_alone(served, text, _predict) for text in texts]
    found, start = [], 0
    for job in jobs:
        found.append(answers[start : start + len(job.texts)])
        start += len(job.texts)
    return served, found


def _predict(served: Served, text: str) -> Prediction:
    (answer,) = served.predict([text])
    return answer


def _alone(served: Served, text: str, work: Work | None) -> Any:
    assert work is not None
    try:
        return work(served, text)
    except (SentimentError, MemoryError):
        return Failed("the model cannot answer this text")
    except Exception as error:  # whatever it is, the other texts have their answers
        return Failed(f"the model cannot answer this text ({type(error).__name__})")
