"""One answer from some server before a deadline: connections, retries, failover.

In: a method, a path, a body made for the time left. Out: the first answer that is not retryable, or
None when time or tries run out. It understands the bodies of failures only; `protocol` the others.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import httpx2

from touchstone_rewards.clients import protocol
from touchstone_rewards.clients.errors import ClientClosed, MalformedAnswer
from touchstone_rewards.clients.retry import (
    Failure,
    RetryPolicy,
    Server,
    is_retried,
    next_server,
)

logger = logging.getLogger(__name__)

CLOSED = "the client was closed while it waited for an answer"
# What passes sooner is not worth a line.
TELL_AFTER_S, TELL_EVERY_S = 1.0, 10.0


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


class Answer(NamedTuple):
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
        self._servers = [Server(url) for url in options.urls]
        self._closed = False
        self._told_at_s = -math.inf
        self._failing_since_s: float | None = None
        # Unpacked, an answer could be a thousand times the size at which it is stopped.
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if options.api_key:
            headers["Authorization"] = f"Bearer {options.api_key.strip()}"
        self._http = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(None, connect=options.connect_timeout_s),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
            trust_env=False,
            verify=ssl.create_default_context(cafile=options.ca_file) if options.ca_file else True,
        )

    async def answer(self, exchange: Exchange, gives_up_at_s: float) -> Answer | None:
        """Return the first answer that is not retryable, or None when time or tries ran out.

        Raises:
            ClientClosed: the transport was closed meanwhile.
            MalformedAnswer: the answer is larger than the client takes.
        """
        refused = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(gives_up_at_s - time.monotonic()):
                for attempt in range(self.retry.max_tries):
                    outcome = await self._try(exchange, gives_up_at_s, attempt)
                    if isinstance(outcome, Answer):
                        return outcome
                    refused = refused + 1 if outcome.status == 500 else 0
                    if refused == exchange.tries_500:
                        return Answer(500, outcome.why.encode(), "")
        return None

    async def _try(
        self, exchange: Exchange, gives_up_at_s: float, attempt: int
    ) -> Answer | Failure:
        """One request to one server; a failure is one that another try may mend."""
        server = await self._rested_server()
        sent_at_s = time.monotonic()
        # A server that hangs must leave time for another one.
        time_left_s = (gives_up_at_s - sent_at_s) / min(2, len(self._servers))
        outcome = await self._send(exchange, server.url, time_left_s)
        if isinstance(outcome, Answer):
            server.succeeded(sent_at_s)
            self._failing_since_s = None
            return outcome
        failed_at_s = time.monotonic()
        rest_s = min(outcome.rest_s, self._options.timeout_s)
        if len(self._servers) > 1:  # one that is slow to fail must not hold some call all the time
            rest_s = max(rest_s, failed_at_s - sent_at_s)
        server.failed(outcome.why, failed_at_s, rest_s + self.retry.delay_s(attempt))
        self._tell(server.url, outcome.why, attempt, gives_up_at_s - failed_at_s)
        return outcome

    def _tell(self, url: str, why: str, attempt: int, left_s: float) -> None:
        """Log a failure that is going to be tried again, one in a while for all calls."""
        now_s = time.monotonic()
        self._failing_since_s = self._failing_since_s or now_s
        if (
            now_s >= self._failing_since_s + TELL_AFTER_S
            and now_s >= self._told_at_s + TELL_EVERY_S
        ):
            self._told_at_s = now_s
            logger.warning(
                "%s: %s; try %d failed, going on for up to %.0f s", url, why, attempt + 1, left_s
            )

    async def _rested_server(self) -> Server:
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

    async def _send(self, exchange: Exchange, url: str, time_left_s: float) -> Answer | Failure:
        content = exchange.body(time_left_s) if exchange.body else None
        try:
            async with asyncio.timeout(time_left_s):
                answer = await self._read(exchange, url, content)
        except (httpx2.RequestError, TimeoutError, RuntimeError) as error:
            if self._closed:
                raise ClientClosed(CLOSED) from error
            if isinstance(error, RuntimeError):
                raise
            return Failure(f"{type(error).__name__} {error}".strip())
        if not is_retried(answer.status):
            return answer
        return protocol.failure(
            answer.status, answer.content, answer.retry_after, now_s=time.time()
        )

    async def _read(self, exchange: Exchange, url: str, content: bytes | None) -> Answer:
        """Send the request and read the answer, as far as the client takes it."""
        most, parts, size = self._options.max_answer_bytes, [], 0
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
            return Answer(answer.status_code, b"".join(parts), str(answer.request.url), retry_after)

    async def is_ready(self, url: str) -> bool:
        """Does the server at `url` say that it can score? One that does not answer does not."""
        outcome = await self._send(Exchange("GET", "/ready"), url, self._options.connect_timeout_s)
        return isinstance(outcome, Answer) and 200 <= outcome.status < 300

    def failures(self) -> str:
        """The last failure of each server, for a message."""
        if self._closed:
            return CLOSED
        return "; ".join(f"{each.url}: {each.failure or 'too slow'}" for each in self._servers)

    async def aclose(self) -> None:
        self._closed = True
        await self._http.aclose()


def body_of(answer: Answer) -> bytes:
    """The body of a 200.

    Raises:
        RequestRefused: the status is another.
    """
    if answer.status != 200:
        raise protocol.refusal(answer.status, answer.content, answer.url)
    return answer.content
