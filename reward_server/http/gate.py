"""The gate that every request passes: request id, key, body, metrics, log, errors.

It is pure ASGI, because one `BaseHTTPMiddleware` costs two thirds of the single-sample rate. A
failure is answered with the error body of the wire; tracebacks go to the log, never to the caller.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from touchstone_rewards.reward_server.caller import Served, begin
from touchstone_rewards.reward_server.errors import (
    CLIENT_GONE,
    InternalError,
    RequestError,
    Unauthorized,
)
from touchstone_rewards.reward_server.http.auth import KeyRing
from touchstone_rewards.reward_server.http.browser import BrowserGuard
from touchstone_rewards.reward_server.http.heads import Header, KnownHeads
from touchstone_rewards.reward_server.http.inflate import SLICE_BYTES, Inflater, inflater
from touchstone_rewards.reward_server.limits import BodyLimits
from touchstone_rewards.reward_server.schemas import ErrorBody, ErrorDetail
from touchstone_rewards.reward_server.settings import Settings
from touchstone_rewards.reward_server.structure import Structure
from touchstone_rewards.reward_server.telemetry.logs import log_request
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/", "/label", "/health", "/ready", "/docs", "/openapi.json"}) | {
    *("/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js"),
}
# A body up to this size is decoded without counting its elements first.
SMALL_BYTES = 2**21
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.:-]{1,128}")


# Status, headers other than content-length and x-request-id, body.
AnswerParts = tuple[int, Sequence[Header], bytes]


class ClientGone(Exception):
    """The caller hung up, so no answer can be sent."""


class Gate:
    """ASGI middleware around the whole app.

    It calls the endpoints of `routes` directly: the app's own middleware and routing cost more than
    scoring a sample. Everything else, wrong methods included, goes to the app.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: KeyRing,
        settings: Settings,
        metrics: Metrics,
        routes: Iterable[Route],
    ) -> None:
        self.app = app
        self.keys, self.keyed = keys, bool(keys)
        self.metrics = metrics
        self.endpoints: dict[tuple[str, str], ASGIApp] = {
            (method, route.path): route.app for route in routes for method in route.methods or ()
        }
        self.paths = {path for _, path in self.endpoints}
        self.heads = KnownHeads()
        # The endpoints that can answer a complete body without ASGI, by path.
        self.whole: dict[bytes, Any] = {
            path.encode(): endpoint
            for (method, path), endpoint in self.endpoints.items()
            if method == "POST" and hasattr(endpoint, "begin")
        }
        self.browsers = BrowserGuard(
            keyless=not keys,
            hosts=[settings.host, *settings.allowed_hosts],
            addresses=settings.insecure,
        )
        self.log_samples = settings.log_samples
        self.bodies = BodyLimits(
            settings.max_body_bytes, settings.max_pending_bytes, settings.max_body_elements
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began_s = time.perf_counter()
        headers = dict(scope["headers"])
        exchange = _Exchange(headers, receive, send, self.bodies)
        served = begin(None, exchange.request_id, keeps_samples=self.log_samples)
        try:
            length = headers.get(b"content-length", b"")
            announced_bytes = int(length) if length.isdigit() else 0
            self.check(scope["path"], headers, scope["headers"], served, announced_bytes)
            if (encoding := headers.get(b"content-encoding")) is not None:
                exchange.inflater = inflater(encoding)
            await self._app_for(scope)(scope, exchange.receive, exchange.send)
        except ClientGone:
            exchange.status = exchange.status or CLIENT_GONE
        except Exception as error:  # noqa: BLE001, the request boundary: the server goes on
            await exchange.fail(error)
        finally:
            self.bodies.pending_bytes -= exchange.counted_bytes
        self.note(scope["path"], exchange.status, served, time.perf_counter() - began_s)

    def _app_for(self, scope: Scope) -> ASGIApp:
        endpoint = self.endpoints.get((scope["method"], scope["path"]))
        return self.app if endpoint is None else endpoint

    def check(
        self,
        path: str,
        headers: dict[bytes, bytes],
        pairs: Sequence[Header],
        served: Served,
        announced_bytes: int,
    ) -> None:
        """Check whether a request to `path` is allowed; `pairs`: its headers in order.
        `announced_bytes`: the size of its body by content-length, 0 if unknown.

        Raises:
            Forbidden, Unauthorized, RequestTooLarge: it is not.
        """
        self.browsers.check(headers)
        if self.keyed:
            served.caller = self.keys.owner(pairs)
            if served.caller is None and path not in OPEN_PATHS:
                raise Unauthorized(
                    "the key is missing or wrong; send 'Authorization: Bearer KEY' or "
                    "'X-API-Key: KEY'"
                )
        if announced_bytes > self.bodies.max_body_bytes:
            self.bodies.check_one(announced_bytes, f"a body of {announced_bytes} bytes")

    def note(self, path: str, status: int, served: Served, seconds: float) -> None:
        """Count and log the answer, then drop its samples."""
        route = path if path in self.paths else "other"
        try:
            self.metrics.observe_request(route, status, seconds)
            if served.caller is not None:
                self.metrics.observe_key(served.caller.name, status, served.samples)
            log_request(served, route, status, seconds, samples=self.log_samples)
        except Exception:  # the answer is already sent: only log a failure to count it
            logger.exception("request %s is not counted", served.request_id)
        if served.keeps_samples:  # the task stays alive for a while and would keep them in memory
            served.forget()


class _Exchange:
    """One request and its answer: counts the bytes in, records the status, adds the request id.

    `body_bytes`: size of the body so far, uncompressed. `counted_bytes`: that and the answer's
    size, until both are done.
    """

    __slots__ = (
        "_bodies",
        "_packed_bytes",
        "_receive",
        "_send",
        "_structure",
        "_uncounted",
        "body_bytes",
        "counted_bytes",
        "inflater",
        "request_id",
        "status",
    )

    def __init__(
        self, headers: dict[bytes, bytes], receive: Receive, send: Send, bodies: BodyLimits
    ) -> None:
        self.request_id = request_id_of(headers.get(b"x-request-id"))
        self.status = 0
        self.body_bytes = self.counted_bytes = 0
        self.inflater: Inflater | None = None
        self._packed_bytes = 0
        self._uncounted: list[bytes] = []
        self._structure: Structure | None = None
        self._receive = receive
        self._send = send
        self._bodies = bodies

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            body, more = message.get("body", b""), message.get("more_body", False)
            if self.inflater is None:
                self._count(body, more)
            else:
                body = await self._unpacked(self.inflater, body, more)
                return {"type": "http.request", "body": body, "more_body": more}
        return message

    async def _unpacked(self, inflater: Inflater, packed: bytes, more: bool) -> bytes:
        self._packed_bytes += len(packed)
        self._bodies.check_one(self._packed_bytes)
        slices = [inflater.feed(packed)]
        self._count(slices[0], more=True)
        while len(slices[-1]) == SLICE_BYTES:
            await asyncio.sleep(0)
            slices.append(inflater.feed(b""))
            self._count(slices[-1], more=True)
        if not more:
            inflater.end()
        return b"".join(slices)

    def _count(self, part: bytes, more: bool) -> None:
        bodies = self._bodies
        size = len(part)
        self.body_bytes += size
        self.counted_bytes += size
        bodies.pending_bytes += size
        if bodies.pending_bytes > bodies.unchecked_bytes:
            bodies.check_one(self.body_bytes)
            bodies.check_all(self.counted_bytes)
        if self.body_bytes > SMALL_BYTES:
            self._count_structure(part)
        elif more:
            self._uncounted.append(part)
        elif self._uncounted:  # the body is freed as soon as it is decoded
            self._uncounted.clear()

    def _count_structure(self, part: bytes) -> None:
        self._uncounted.append(part)
        structure = self._structure = self._structure or Structure()
        for each in self._uncounted:
            structure.feed(each)
            self._bodies.check_structure(structure)
        self._uncounted.clear()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message["headers"], (b"x-request-id", self.request_id.encode())]
            for name, value in headers:
                if name == b"content-length":
                    self.counted_bytes += int(value)
                    self._bodies.pending_bytes += int(value)
            message = {**message, "headers": headers}
        await self._send(message)

    async def fail(self, error: Exception) -> None:
        # The connection stays open and the rest of a too large body is discarded: closing it would
        # send a reset, and a client that is still sending would not see the answer.
        status, headers, body = failure(error, self.request_id)
        if self.status:  # the answer has begun: all that remains is closing the connection
            return
        length = (b"content-length", str(len(body)).encode())
        headers = [*headers, length]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def failure(error: Exception, request_id: str) -> AnswerParts:
    """Return the answer to a request that failed; log our own bugs."""
    if not isinstance(error, RequestError):
        logger.error("request %s failed", request_id, exc_info=error)
        message = "this is a bug in the server; its log has the details under the request_id"
        error = InternalError(message)
    headers = [(b"content-type", b"application/json")]
    headers += [(name.encode(), value.encode()) for name, value in error.headers.items()]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after_s))).encode()))
    return error.status, headers, error_body(error, request_id)


def request_id_of(offered: bytes | None) -> str:
    """Return the caller's request id, or a random one; it is no secret, so no system call."""
    if offered is not None and _REQUEST_ID.fullmatch(offered):
        return offered.decode()
    return f"{random.getrandbits(128):032x}"


def error_body(error: RequestError, request_id: str) -> bytes:
    """Return the error body of the wire; characters that UTF-8 cannot encode are replaced."""
    message = str(error).encode("utf-8", "replace").decode()
    return msgspec.json.encode(ErrorBody(ErrorDetail(error.code, message, request_id)))
