"""One answer from some server before a deadline: connections, retries, failover.

In: a method, a path, a body made for the time left. Out: the first answer that is not retryable, or
None when time or tries run out. It understands the bodies of failures only; `protocol` the others.
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
# How often a caller that waits for a server is told so.
SAY_EVERY_S = 5.0


@dataclass(frozen=True)
class Options:
    """What a transport needs to know; `AsyncRemoteRewardClient` says what the fields mean."""

    urls: Sequence[str]
    api_key: str | None
    timeout_s: float
    connect_timeout_s: float
    retry: RetryPolicy
    ca_file: str | os.PathLike[str] | None
    max_answer_bytes: int


@dataclass(frozen=True)
class Exchange:
    """What is to be asked. `body` is given the seconds that the answer may take.

    `tries_500`: after so many 500s in a row, such an answer is returned. Another failure may pass,
    but a server that fails at what it is sent will do so again.
    """

    method: str
    path: str
    body: Callable[[float], bytes] | None = None
    tries_500: int | None = None


class HttpAnswer(NamedTuple):
    """An answer, read to its end."""

    status: int
    content: bytes
    url: str
    retry_after: str | None = None


class Transport:
    """Connections to all servers and how these fare, for use in one event loop."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.retry = options.retry
        self._servers = [ServerHealth(url) for url in options.urls]
        self._closed = False
        self._said_at_s = time.monotonic()
        # Unpacked, an answer could be a thousand times the size at which it is stopped.
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
        """Return the first answer that is not retryable, or None when time or tries ran out.

        Raises:
            ClientClosed: the transport was closed meanwhile.
            MalformedAnswer: the answer is larger than the client takes.
            UnknownHost, UntrustedCertificate: no server can be reached, and waiting mends nothing.
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
        """One request to one server; a failure is one that another try may mend."""
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
        if len(self._servers) > 1:  # one that is slow to fail must not hold some call all the time
            rest_s = max(rest_s, failed_at_s - sent_at_s)
        server.failed(outcome, failed_at_s, rest_s + self.retry.delay_s(attempt))
        self._give_up_for_good()
        self._say_what_is_waited_for(failed_at_s, gives_up_at_s)
        return outcome

    def _give_up_for_good(self) -> None:
        """Raise if every server's last failure is one that no retry mends. A server that has
        answered before may be renamed or restarted for a while: that is an outage."""
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
        """The next server to send to, waiting while all rest.

        Where there is a choice, one that failed is tried by one caller at a time: a dead host must
        not hold them all.
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
        """Send the request and read the answer, as far as the client takes it."""
        most, size = self._options.max_answer_bytes, 0
        parts: list[bytes] = []
        async with self._http.stream(
            exchange.method, url + exchange.path, content=content
        ) as answer:
            async for part in answer.aiter_bytes():
                size += len(part)
                if size > most:
                    raise MalformedAnswer(
                        f"{url} answers with more than {most} bytes; send fewer samples a request "
                        "(batch_size), or raise max_answer_bytes"
                    )
                parts.append(part)
            retry_after = answer.headers.get("retry-after")
            return HttpAnswer(
                answer.status_code, b"".join(parts), str(answer.request.url), retry_after
            )

    async def is_ready(self, url: str) -> bool:
        """Does the server at `url` say that it can score? One that does not answer does not."""
        outcome = await self._send(Exchange("GET", "/ready"), url, self._options.connect_timeout_s)
        return isinstance(outcome, HttpAnswer) and 200 <= outcome.status < 300

    def failures(self) -> str:
        """The last failure of each server, for a message."""
        if self._closed:
            return CLOSED
        return "; ".join(f"{each.url}: {each.failure or 'too slow'}" for each in self._servers)

    async def aclose(self) -> None:
        self._closed = True
        await self._http.aclose()


def trusting(ca_file: str | os.PathLike[str]) -> ssl.SSLContext:
    """Return a context that trusts the certificates in this file.

    Raises:
        UntrustedCertificate: it cannot be read; the message names its path.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise UntrustedCertificate(
            f"ca_file (or REWARD_CA_FILE): cannot read certificates from {os.fspath(ca_file)}: "
            f"{error.strerror or error}"
        ) from error


def _failure_of(error: BaseException, ca_file: str | os.PathLike[str] | None) -> Failure:
    """Say why a request failed, and whether that lasts."""
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
            said = "it does not speak TLS: is the URL to begin with http://?"
            return Failure(said, lasting=UntrustedCertificate)
        if isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN:
            return Failure(f"its name cannot be resolved: {cause}", lasting=UnknownHost)
        cause = cause.__cause__ or cause.__context__
    return Failure(why)


def body_of(answer: HttpAnswer) -> bytes:
    """The body of a 200.

    Raises:
        RequestRefused: the status is another.
    """
    if answer.status != 200:
        raise protocol.refusal(answer.status, answer.content, answer.url)
    return answer.content
