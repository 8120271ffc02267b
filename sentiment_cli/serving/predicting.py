"""POST /predict: texts in, answers out, as one JSON object or line by line."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from sentiment_cli.inference.explain.attribution import explanations_json
from sentiment_cli.inference.predictor import Prediction
from sentiment_cli.serving.batcher import Batcher, Failed, Job, Work
from sentiment_cli.serving.bodies import Refusal, parse_json, read_line, read_request, read_switches
from sentiment_cli.serving.gate import header
from sentiment_cli.serving.guard import STREAMED, GuardedProtocol
from sentiment_cli.serving.metrics import Metrics
from sentiment_cli.serving.model import Served
from sentiment_cli.serving.settings import Settings

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Answered = tuple[Prediction | Failed, dict[str, Any]]
_LINES_AT_ONCE = 32


class ClientGone(Exception):  # noqa: N818 - its wish
    """The client has closed its connection; nobody waits for an answer."""


class Predicting:
    """Answers requests with the model, each in its turn."""

    def __init__(self, settings: Settings, batcher: Batcher, metrics: Metrics) -> None:
        self._settings, self._batcher, self._metrics = settings, batcher, metrics
        self._n_reading = 0  # bytes of bodies that are held, or that were announced
        self._n_streams = 0

    async def one_object(self, scope: Scope, receive: Receive) -> dict[str, Any]:
        """Return the answer to a body of JSON."""
        wishes = read_switches(scope["query_string"], ("explain", "trace"))
        self._refuse_if_full()
        body = await self.read_body(scope, receive)
        texts, is_one = read_request(parse_json(body), self._settings)
        self._refuse_if_full()
        answered = [fields_of(one) for one in await self.answer(scope, texts, **wishes)]
        if not is_one:
            return {"predictions": answered}
        if "error" in answered[0]:
            raise Refusal(422, answered[0]["error"], "model")
        return answered[0]

    async def lines(self, scope: Scope, receive: Receive, send: Send, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Answer JSON Lines with JSON Lines, some at a time, while they come."""
        wishes = read_switches(scope["query_string"], ("explain", "trace"))
        if self._n_streams >= self._settings.streams:
            raise Refusal(503, f"{self._n_streams} streams are being answered; come again", "streams", _LATER)
        self._refuse_if_full()
        self._n_streams += 1
        try:
            is_started = False
            async for lines in self._lines(receive):
                answered = await self.answer(scope, [read_line(line, self._settings) for line in lines], **wishes)
                if not is_started:
                    await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
                    is_started = True
                said = "".join(f"{json.dumps(fields_of(one))}\n" for one in answered)
                await send({"type": "http.response.body", "body": said.encode(), "more_body": True})
            if not is_started:
                await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._n_streams -= 1

    async def answer(
        self, scope: Scope, texts: Sequence[str | Failed], *, explain: bool = False, trace: bool = False
    ) -> list[Answered]:
        """Return for each text its prediction and what else was wished for, or why it has none."""
        good = [text for text in texts if isinstance(text, str)]
        found = iter((await self._ask(scope, good))[1] if good else [])
        answered: list[Answered] = [(next(found) if isinstance(text, str) else text, {}) for text in texts]
        works: dict[str, Work] = {}
        if explain:
            works["explanation"] = Served.explain
        if trace:
            works["trace"] = Served.trace
        for i, (answer, more) in enumerate(answered):
            for name, work in works.items():
                if isinstance(answer, Prediction):
                    (more[name],) = (await self._ask(scope, [answer.text], work))[1]
                    if isinstance(more[name], Failed):
                        answered[i] = (more[name], {})
                        break
        n_bad = sum(isinstance(answer, Failed) for answer, _ in answered)
        self._metrics.counts["texts"] += len(answered) - n_bad
        self._metrics.counts["text_errors"] += n_bad
        return answered

    async def read_body(self, scope: Scope, receive: Receive) -> bytes:
        """Read a body of at most `most_bytes`, and no more than all requests together may hold."""
        most = self._settings.most_bytes
        announced = header(scope, b"content-length")
        if announced is not None and int(announced) > most:
            raise Refusal(413, f"a body may have at most {most:,} bytes", "size")
        held = most if announced is None else int(announced)
        if self._n_reading + held > most * max(1, self._settings.queue):
            raise Refusal(503, "too many bodies are being read; come again", "queue", _LATER)
        self._n_reading += held
        try:
            parts, n_bytes = [], 0
            async for part in _parts(receive):
                n_bytes += len(part)
                if n_bytes > most:
                    raise Refusal(413, f"a body may have at most {most:,} bytes", "size")
                parts.append(part)
            return b"".join(parts)
        finally:
            self._n_reading -= held

    async def _ask(self, scope: Scope, texts: Sequence[str], work: Work | None = None) -> tuple[Served, list[Any]]:
        job = self._batcher.submit(texts, work)
        connection: GuardedProtocol = scope["state"]["connection"]
        connection.on_gone = lambda: self._gone(job)
        if connection.transport.is_closing():
            self._gone(job)
        try:
            async with asyncio.timeout(self._settings.answer_s):
                return await job.done
        except TimeoutError:
            raise Refusal(503, "the model did not come to this request in time; come again", "late", _LATER) from None
        except asyncio.CancelledError:
            if connection.transport.is_closing():
                raise ClientGone from None
            raise
        finally:
            connection.on_gone = None
            self._batcher.cancel(job)

    def _gone(self, job: Job) -> None:
        self._metrics.counts["dropped"] += not job.done.done()
        self._batcher.cancel(job)

    def _refuse_if_full(self) -> None:
        if self._batcher.is_full:
            raise Refusal(503, f"{self._batcher.n_waiting} requests wait for the model; come again", "queue", _LATER)

    async def _lines(self, receive: Receive) -> AsyncIterator[list[bytes]]:
        """Yield the lines that have come, some at a time; one that is too long ends the stream."""
        rest, longest = b"", self._settings.text_bytes * 6 + 1024  # a character may be written as \\uXXXX
        async for part in _parts(receive):
            *lines, rest = (rest + part).split(b"\n")
            if len(rest) > longest:
                raise Refusal(413, f"a line may have at most {longest:,} bytes", "size")
            for start in range(0, len(lines), _LINES_AT_ONCE):
                yield [line.removesuffix(b"\r") for line in lines[start : start + _LINES_AT_ONCE]]
        if rest:
            yield [rest]


_LATER = {"retry-after": "1"}


def is_streamed(scope: Scope) -> bool:
    """Say whether the body is JSON Lines; refuse one that is neither that nor JSON."""
    kind, _, parameters = (header(scope, b"content-type") or b"").lower().partition(b";")
    is_utf8 = parameters.replace(b'"', b"").strip() in (b"", b"charset=utf-8")
    if kind.strip() not in (b"application/json", STREAMED) or not is_utf8:
        raise Refusal(415, "the Content-Type must be application/json or application/x-ndjson", "type")
    return kind.strip() == STREAMED


async def _parts(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        more = message.get("more_body", False)
        if message["body"]:
            yield message["body"]


def fields_of(answered: Answered) -> dict[str, Any]:
    """Return an answer as `predict --json` has it, without the text; of a text without one, the error."""
    answer, more = answered
    if isinstance(answer, Failed):
        return {"error": str(answer)}
    fields = answer.to_json()
    del fields["text"]
    if "explanation" in more:
        fields |= explanations_json(answer, more["explanation"])
    return fields | ({"trace": more["trace"].to_json()} if "trace" in more else {})
