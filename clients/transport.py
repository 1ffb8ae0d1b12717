"""Send one request to the first server that answers it: connections, retries, failover.

It returns the first response that is not retryable, or None when time or tries run out. `protocol`
reads the bodies.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import httpx2

from touchstone_rewards.clients import protocol
from touchstone_rewards.clients.errors import (
    ClientClosed,
    MalformedAnswer,
    UnknownHost,
    UntrustedCertificate,
)
from touchstone_rewards.reward_server.remote.policy import (
    Failure,
    RetryPolicy,
    ServerHealth,
    is_retried,
    next_server,
)

logger = logging.getLogger(__name__)

CLOSED = "the client was closed while it waited for an answer"
# The interval between warnings while a call waits for a server.
SAY_EVERY_S = 5.0


@dataclass(frozen=True)
class Options:
    """The options of a transport, as `AsyncRemoteRewardClient` describes them."""

    urls: Sequence[str]
    api_key: str | None
    timeout_s: float
    connect_timeout_s: float
    retry: RetryPolicy
    ca_file: str | os.PathLike[str] | None
    max_answer_bytes: int


@dataclass(frozen=True)
class Exchange:
    """A request. `body` makes its content from the seconds left for the answer.

    `tries_500`: the number of consecutive 500s after which the 500 is returned, because the request
    itself may be the cause. Other failures are retried.
    """

    method: str
    path: str
    body: Callable[[float], bytes] | None = None
    tries_500: int | None = None


class HttpAnswer(NamedTuple):
    """A complete answer."""

    status: int
    content: bytes
    url: str
    retry_after: str | None = None


class Transport:
    """The connections to all servers, and their health, for one event loop."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.retry = options.retry
        self._servers = [ServerHealth(url) for url in options.urls]
        self._closed = False
        self._said_at_s = time.monotonic()
        # No compression: a small compressed answer could unpack to far more than the limit.
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if options.api_key:
            headers["Authorization"] = f"Bearer {options.api_key.strip()}"
        self._http = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(None, connect=options.connect_timeout_s),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
            trust_env=False,
            verify=trusting(options.ca_file) if options.ca_file else True,
        )

    async def answer(self, exchange: Exchange, gives_up_at_s: float) -> HttpAnswer | None:
        """Return the first answer that is not retryable, or None when time or tries run out.

        Raises:
            ClientClosed: the transport was closed during the call.
            MalformedAnswer: the answer is larger than `max_answer_bytes`.
            UnknownHost, UntrustedCertificate: no server can be reached, and a retry would not help.
        """
        refused = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(gives_up_at_s - time.monotonic()):
                for attempt in range(self.retry.max_tries):
                    outcome = await self._try(exchange, gives_up_at_s, attempt)
                    if isinstance(outcome, HttpAnswer):
                        return outcome
                    refused = refused + 1 if outcome.status == 500 else 0
                    if refused == exchange.tries_500:
                        return HttpAnswer(500, outcome.why.encode(), "")
        return None

    async def _try(
        self, exchange: Exchange, gives_up_at_s: float, attempt: int
    ) -> HttpAnswer | Failure:
        """Send the request to one server. Return its answer, or a failure to retry after."""
        server = await self._rested_server()
        sent_at_s = time.monotonic()
        # A server that hangs must leave time for another one.
        time_left_s = (gives_up_at_s - sent_at_s) / min(2, len(self._servers))
        outcome = await self._send(exchange, server.url, time_left_s)
        if isinstance(outcome, HttpAnswer):
            server.succeeded(sent_at_s)
            return outcome
        failed_at_s = time.monotonic()
        rest_s = min(outcome.rest_s, self._options.timeout_s)
        if len(self._servers) > 1:  # do not always have one call waiting on a slow failing server
            rest_s = max(rest_s, failed_at_s - sent_at_s)
        server.failed(outcome, failed_at_s, rest_s + self.retry.delay_s(attempt))
        self._give_up_for_good()
        self._say_what_is_waited_for(failed_at_s, gives_up_at_s)
        return outcome

    def _give_up_for_good(self) -> None:
        """Raise if no server has ever answered and every server's last failure is permanent. If one
        has answered before, this is taken for an outage."""
        kinds = [server.lasting for server in self._servers]
        if all(kinds) and not any(server.answered for server in self._servers):
            kind = next(kind for kind in kinds if kind is not None)
            raise kind(self.failures())

    def _say_what_is_waited_for(self, now_s: float, gives_up_at_s: float) -> None:
        if now_s - self._said_at_s >= SAY_EVERY_S:
            self._said_at_s = now_s
            left_s = max(0.0, gives_up_at_s - now_s)
            logger.warning(
                "waiting for a reward server, %.0f s are left: %s", left_s, self.failures()
            )

    async def _rested_server(self) -> ServerHealth:
        """Return the next server to use, after a wait if all back off.

        With several servers, only one call at a time tries a server that failed, so that a dead
        host does not delay them all.
        """
        while True:
            now_s = time.monotonic()
            server = next_server(self._servers, now_s)
            if server.free_at_s <= now_s:
                if server.failure and len(self._servers) > 1:
                    server.tried_until_s = now_s + self.retry.trial_s
                return server
            await asyncio.sleep(server.free_at_s - now_s)

    async def _send(self, exchange: Exchange, url: str, time_left_s: float) -> HttpAnswer | Failure:
        content = exchange.body(time_left_s) if exchange.body else None
        try:
            async with asyncio.timeout(time_left_s):
                answer = await self._read(exchange, url, content)
        except (httpx2.RequestError, TimeoutError, RuntimeError) as error:
            if self._closed:
                raise ClientClosed(CLOSED) from error
            if isinstance(error, RuntimeError):
                raise
            return _failure_of(error, self._options.ca_file)
        if not is_retried(answer.status):
            return answer
        return protocol.failure(
            answer.status, answer.content, answer.retry_after, now_s=time.time()
        )

    async def _read(self, exchange: Exchange, url: str, content: bytes | None) -> HttpAnswer:
        """Send the request and read the answer, up to `max_answer_bytes`."""
        most, size = self._options.max_answer_bytes, 0
        parts: list[bytes] = []
        async with self._http.stream(
            exchange.method, url + exchange.path, content=content
        ) as answer:
            async for part in answer.aiter_bytes():
                size += len(part)
                if size > most:
                    raise MalformedAnswer(
                        f"{url} answered with more than {most} bytes; send fewer samples per "
                        "request (batch_size), or raise max_answer_bytes"
                    )
                parts.append(part)
            retry_after = answer.headers.get("retry-after")
            return HttpAnswer(
                answer.status_code, b"".join(parts), str(answer.request.url), retry_after
            )

    async def is_ready(self, url: str) -> bool:
        """Return whether the server at `url` answers that it is ready."""
        outcome = await self._send(Exchange("GET", "/ready"), url, self._options.connect_timeout_s)
        return isinstance(outcome, HttpAnswer) and 200 <= outcome.status < 300

    def failures(self) -> str:
        """Return the last failure of each server, for a message."""
        if self._closed:
            return CLOSED
        return "; ".join(f"{each.url}: {each.failure or 'too slow'}" for each in self._servers)

    async def aclose(self) -> None:
        self._closed = True
        await self._http.aclose()


def trusting(ca_file: str | os.PathLike[str]) -> ssl.SSLContext:
    """Return a TLS context that trusts the certificates in a file.

    Raises:
        UntrustedCertificate: the file cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise UntrustedCertificate(
            f"ca_file (or REWARD_CA_FILE): cannot read certificates from {os.fspath(ca_file)}: "
            f"{error.strerror or error}"
        ) from error


def _failure_of(error: BaseException, ca_file: str | os.PathLike[str] | None) -> Failure:
    """Return why a request failed, and whether the failure is permanent."""
    why = f"{type(error).__name__} {error}".strip()
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            trusted = (
                f"{os.fspath(ca_file)}, which ca_file names" if ca_file else "the system's CAs"
            )
            return Failure(
                f"its certificate is refused: {cause.verify_message} (trusted are {trusted})",
                lasting=UntrustedCertificate,
            )
        if isinstance(cause, ssl.SSLError) and "WRONG_VERSION_NUMBER" in str(cause):
            said = "it does not use TLS; should the URL start with http://?"
            return Failure(said, lasting=UntrustedCertificate)
        if isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN:
            return Failure(f"its name cannot be resolved: {cause}", lasting=UnknownHost)
        cause = cause.__cause__ or cause.__context__
    return Failure(why)


def body_of(answer: HttpAnswer) -> bytes:
    """Return the body of an answer with status 200.

    Raises:
        RequestRefused: the answer has another status.
    """
    if answer.status != 200:
        raise protocol.refusal(answer.status, answer.content, answer.url)
    return answer.content
