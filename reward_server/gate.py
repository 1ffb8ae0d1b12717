"""What every request passes on its way in and out: request id, key, body limit, metrics, errors.

Pure ASGI, because one `BaseHTTPMiddleware` costs two thirds of the single-sample rate. A failure
leaves as the wire's error body; a traceback goes to the log, never to the caller.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Iterable

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reward_server.auth import KeyRing
from reward_server.errors import (
    InternalError,
    RequestError,
    RequestTooLarge,
    Unauthorized,
)
from reward_server.metrics import Metrics
from reward_server.schemas import ErrorBody, ErrorDetail

logger = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/", "/health", "/ready", "/docs", "/openapi.json"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.:-]{1,128}")


class ClientGone(Exception):
    """The caller hung up: there is no one to answer."""


class Gate:
    """ASGI middleware around the whole app."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: KeyRing,
        max_body_bytes: int,
        metrics: Metrics,
        routes: Iterable[str],
    ) -> None:
        self.app = app
        self.keys = keys
        self.max_body_bytes = max_body_bytes
        self.metrics = metrics
        self.routes = frozenset(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        exchange = _Exchange(scope, receive, send, self.max_body_bytes)
        try:
            self._check(scope)
            await self.app(scope, exchange.receive, exchange.send)
        except ClientGone:
            return
        except RequestError as error:
            await exchange.fail(error)
        except Exception:  # the request boundary: our bug, and the server goes on
            logger.exception("request %s %s failed", exchange.request_id, scope["path"])
            message = "this is a bug of the server; its log has the details under the request_id"
            await exchange.fail(InternalError(message))
        route = scope["path"] if scope["path"] in self.routes else "other"
        self.metrics.observe_request(route, exchange.status, time.perf_counter() - started)

    def _check(self, scope: Scope) -> None:
        headers = scope["headers"]
        if scope["path"] not in OPEN_PATHS and not self.keys.opens(headers):
            raise Unauthorized(
                "no key or a wrong key came; send 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"
            )
        announced = next((value for name, value in headers if name == b"content-length"), b"0")
        if announced.isdigit() and int(announced) > self.max_body_bytes:
            raise _too_large(f"a body of {int(announced)} bytes", self.max_body_bytes)


class _Exchange:
    """One request and its answer, watched: bytes in, status out, the request's id on the answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_body_bytes: int) -> None:
        offered = next((v for name, v in scope["headers"] if name == b"x-request-id"), b"")
        self.request_id = offered.decode() if _REQUEST_ID.fullmatch(offered) else uuid.uuid4().hex
        self.status = 0
        self._receive = receive
        self._send = send
        self._bytes_left = max_body_bytes
        self._max_body_bytes = max_body_bytes

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._bytes_left -= len(message.get("body", b""))
            if self._bytes_left < 0:
                raise _too_large("a larger body", self._max_body_bytes)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            request_id = (b"x-request-id", self.request_id.encode())
            message = {**message, "headers": [*message["headers"], request_id]}
        await self._send(message)

    async def fail(self, error: RequestError) -> None:
        # The connection stays open: the server discards what is left of a body that is too large,
        # where a close would reset it under a client that still sends and never sees the answer.
        if self.status:  # the answer has begun: closing the connection is all that is left
            return
        body = error_body(error, self.request_id)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        if error.retry_after_s is not None:
            headers.append((b"retry-after", f"{max(1, round(error.retry_after_s))}".encode()))
        await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def error_body(error: RequestError, request_id: str) -> bytes:
    """The wire's error body; text that UTF-8 cannot carry is replaced."""
    message = str(error).encode("utf-8", "replace").decode()
    return msgspec.json.encode(ErrorBody(ErrorDetail(error.code, message, request_id)))


def _too_large(what: str, limit: int) -> RequestTooLarge:
    return RequestTooLarge(f"{what} came, at most {limit} bytes a request; send fewer samples")
