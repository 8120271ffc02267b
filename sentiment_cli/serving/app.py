"""The routes of the server, and what every request passes: the gate, the clock, the log."""

import json
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route, Router

from sentiment_cli import __version__, console
from sentiment_cli.serving.batcher import Batcher
from sentiment_cli.serving.bodies import Refusal
from sentiment_cli.serving.gate import check_head, check_token, origin_allowed
from sentiment_cli.serving.log import Log
from sentiment_cli.serving.metrics import Metrics
from sentiment_cli.serving.model import Holder
from sentiment_cli.serving.page import CONTENT_POLICY, read_form, render_page
from sentiment_cli.serving.predicting import ClientGone, Predicting, Receive, Scope, Send, is_streamed
from sentiment_cli.serving.settings import Settings

_PATHS = ("/", "/predict", "/health", "/ready", "/metrics", "/model")
_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_GONE = 499  # in the log: the client did not wait


class App:
    """The ASGI application."""

    def __init__(self, settings: Settings, holder: Holder, batcher: Batcher, metrics: Metrics, log: Log) -> None:
        self._settings, self._holder, self._batcher, self._metrics, self._log = settings, holder, batcher, metrics, log
        self._predicting = Predicting(settings, batcher, metrics)
        self.is_draining = False
        routes = [
            Route("/health", self._health, methods=["GET"]),
            Route("/ready", self._ready, methods=["GET"]),
            Route("/metrics", self._show_metrics, methods=["GET"]),
            Route("/model", self._model, methods=["GET"]),
            Route("/predict", self._predict, methods=["POST"]),
        ]
        if settings.has_page:
            routes.append(Route("/", self._page, methods=["GET", "POST"]))
        self._router = Router(routes, redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; whatever happens, by a short body of JSON with nothing in it that the client sent."""
        began, status = time.perf_counter(), 0

        async def note(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if allowed is not None:
                    message["headers"] = [*message["headers"], *_cors(allowed)]
            await send(message)

        allowed: str | None = None
        try:
            check_head(scope, self._settings)
            allowed = origin_allowed(scope, self._settings)
            if allowed is not None and scope["method"] == "OPTIONS":
                await _json(None, 204)(scope, receive, note)
                return
            check_token(scope, self._settings)
            if (scope["method"], scope["path"]) == ("POST", "/predict") and is_streamed(scope):
                await self._predicting.lines(scope, receive, note, _raw({"content-type": "application/x-ndjson"}))
            else:
                scope["app"] = self  # so that the router raises for what it does not know
                await self._router(scope, receive, note)
        except Refusal as refusal:
            self._metrics.refused[refusal.reason] += 1
            if status:  # of a stream that has begun: its end is missing, which says that it was cut off
                scope["state"]["connection"].transport.abort()
            else:
                await _json({"error": refusal.message}, refusal.status, refusal.headers)(scope, receive, note)
        except HTTPException as error:
            body = {"error": "there is nothing here" if error.status_code == 404 else "this method does not go here"}
            await _json(body, error.status_code, error.headers or {})(scope, receive, note)
        except ClientGone:
            status = _GONE
        except Exception as error:
            self._report(error)
            if status:
                scope["state"]["connection"].transport.abort()
            else:
                await _json({"error": "the server failed at this request"}, 500)(scope, receive, note)
        finally:
            self._note(scope, status, time.perf_counter() - began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        path = scope["path"] if scope["path"] in _PATHS else "other"
        self._metrics.requests[path, status] += 1
        self._metrics.seconds.observe(seconds)
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "OPTIONS") else "other"
        self._log.event("request", method=method, path=path, status=status, ms=round(1000 * seconds, 2))

    def _report(self, error: Exception) -> None:
        """Say where a fault of ours is; its message might hold a text, so only its kind is said."""
        self._metrics.counts["faults"] += 1
        place = traceback.extract_tb(error.__traceback__)[-1]
        console.warn(f"a request failed: {type(error).__name__} at {place.filename}:{place.lineno}")

    async def _health(self, request: Request) -> Response:
        return _json({"status": "ok"})

    async def _ready(self, request: Request) -> Response:
        """Say whether requests are taken: the model has passed its canary before there is a server at all."""
        why = "stopping" if self.is_draining else "full" if self._batcher.is_full else "ready"
        return _json({"status": why}, 200 if why == "ready" else 503)

    async def _show_metrics(self, request: Request) -> Response:
        return Response(self._metrics.text(), headers=_HEADERS, media_type="text/plain; version=0.0.4")

    async def _model(self, request: Request) -> Response:
        return _json(self._holder.served.card())

    async def _predict(self, request: Request) -> Response:
        return _json(await self._predicting.one_object(_scope(request), request.receive))

    async def _page(self, request: Request) -> Response:
        """Return the page; with a text that its form sent, and the answer to it."""
        scope, text, answered, problem, status = _scope(request), "", None, None, 200
        if request.method == "POST":
            try:
                text = read_form(scope, await self._predicting.read_body(scope, request.receive), self._settings)
                (answered,) = await self._predicting.answer(scope, [text], explain=True, trace=True)
            except Refusal as refusal:
                self._metrics.refused[refusal.reason] += 1
                problem, status = refusal.message, refusal.status
        html = render_page(self._holder.served, self._settings, text, answered, problem)
        headers = _HEADERS | {"content-security-policy": CONTENT_POLICY, "x-frame-options": "DENY"}
        return HTMLResponse(html, status, headers=headers)


def info_of(holder: Holder) -> Callable[[], dict[str, str]]:
    """Return what says which model serves."""

    def info() -> dict[str, str]:
        return {"run": holder.served.name, "sha256": holder.served.sha256, "version": __version__}

    return info


def _scope(request: Request) -> Scope:
    return dict(request.scope)


def _json(value: Any, status: int = 200, headers: Any = None) -> Response:
    body = b"" if value is None else json.dumps(value, allow_nan=False).encode()
    kind = None if value is None else "application/json"
    return Response(body, status, headers=_HEADERS | dict(headers or {}), media_type=kind)


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in (_HEADERS | headers).items()]


def _cors(origin: str) -> Sequence[tuple[bytes, bytes]]:
    """Return what lets the page of an allowed origin read the answer."""
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-headers", b"content-type, authorization"),
        (b"access-control-allow-methods", b"GET, POST"),
        (b"vary", b"origin"),
    ]
