"""Middleware of every request: request id, access log, metrics, security headers."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request

from pocketcxr.serving.api.problems import ProblemError, problem_response
from pocketcxr.serving.auth import check_origin
from pocketcxr.serving.worker import place_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from pocketcxr.serving.metrics import Metrics

HEALTH = "/health/"
REQUEST_ID = "X-Request-ID"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_DRAIN_S = 2.0
_ERRORS_FROM = 400
_LOGGER = logging.getLogger(__name__)


class RequestMiddleware:
    """Outermost layer of the application (ASGI)."""

    def __init__(self, app: ASGIApp, metrics: Metrics, *, token: str) -> None:
        """Wrap the application."""
        self._app, self._metrics, self._token = app, metrics, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        try:
            if not scope["path"].startswith(HEALTH):
                check_origin(Headers(scope=scope), self._token, scheme=scope["scheme"])
            await self._app(scope, exchange.receive, exchange.send)
        except ProblemError as problem:  # of the check above; the application answers its own
            problem.members["request"], exchange.fields["code"] = exchange.id, problem.code
            await problem_response(problem)(scope, exchange.receive, exchange.send)
        except Exception as error:  # noqa: BLE001  # the answer has been given (500); here is what the log may know
            exchange.fields["place"] = place_of(error)
        finally:
            self._note(exchange)

    def _note(self, exchange: _Exchange) -> None:
        seconds = time.perf_counter() - exchange.started
        route = getattr(exchange.scope.get("route"), "path", "other")
        method = exchange.scope["method"] if exchange.scope["method"] in _METHODS else "other"
        self._metrics.requests.labels(route, method, str(exchange.status)).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        if route.startswith(HEALTH) and exchange.status < _ERRORS_FROM:
            return  # probes come every few seconds and would bury the rest
        fields = {
            "request": exchange.id,
            "method": method,
            "route": route,
            "status": exchange.status,
            "seconds": round(seconds, 4),
            **exchange.fields,
        }
        _LOGGER.info("request", extra={"fields": fields})


class _Exchange:
    """State of one request and its answer; `status` 0 means that the client left before an answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.started = time.perf_counter()
        self.id = uuid.uuid4().hex
        self.status = 0
        self.fields: dict[str, Any] = scope.setdefault("state", {}).setdefault("log", {})
        scope["state"]["request_id"] = self.id
        self._receive, self._send = receive, send
        self._body_is_here = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._body_is_here = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            headers[REQUEST_ID] = self.id
            await self._take_the_rest()
        await self._send(message)

    async def _take_the_rest(self) -> None:
        """Receive what a refused client is still sending, where the connection closes after the answer.

        Otherwise the connection would be reset under the client, which then never sees why it was refused.
        """
        headers = Request(self.scope).headers
        closes = headers.get("connection", "").lower() == "close"
        if self._body_is_here or self.status < _ERRORS_FROM or not closes or "expect" in headers:
            return
        try:
            async with asyncio.timeout(_DRAIN_S):
                while not self._body_is_here:
                    await self.receive()
        except TimeoutError:
            pass
