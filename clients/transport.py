"""One answer from some server before a deadline: connections, retries, failover.

In: a method, a path, a body made for the time left. Out: the first answer that is not retryable, or
None when time or tries run out. It reads the bodies of failures only; `protocol` reads the others.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import httpx2

from touchstone_rewards.clients import protocol
from touchstone_rewards.clients.retry import (
    Failure,
    RetryPolicy,
    Server,
    is_retried,
    next_server,
)

CLOSED = "the client was closed"


@dataclass(frozen=True)
class Options:
    """What a transport needs to know; `AsyncRemoteRewardClient` says what the fields mean."""

    urls: Sequence[str]
    api_key: str | None
    timeout_s: float
    connect_timeout_s: float
    retry: RetryPolicy
    ca_file: str | os.PathLike[str] | None


@dataclass(frozen=True)
class Exchange:
    """What is to be asked. `body` is given the seconds that the answer may take."""

    method: str
    path: str
    body: Callable[[float], bytes] | None = None


class Transport:
    """Connections to all servers and how these fare, for use in one event loop."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.retry = options.retry
        self._servers = [Server(url) for url in options.urls]
        self._limits: set[asyncio.Timeout] = set()
        self._closed = False
        headers = {"Content-Type": "application/json"}
        if options.api_key:
            headers["Authorization"] = f"Bearer {options.api_key.strip()}"
        self._http = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(None, connect=options.connect_timeout_s),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
            trust_env=False,
            verify=ssl.create_default_context(cafile=options.ca_file) if options.ca_file else True,
        )

    async def answer(self, exchange: Exchange, gives_up_at_s: float) -> httpx2.Response | None:
        """Return the first response that is not retryable, or None when time or tries ran out, or
        the transport was closed."""
        limit = asyncio.timeout(gives_up_at_s - time.monotonic())
        with suppress(TimeoutError):
            async with limit:
                self._limits.add(limit)
                try:
                    for attempt in range(self.retry.max_tries):
                        answer = await self._try(exchange, gives_up_at_s, attempt)
                        if answer is not None:
                            return answer
                finally:
                    self._limits.discard(limit)
        return None

    async def _try(
        self, exchange: Exchange, gives_up_at_s: float, attempt: int
    ) -> httpx2.Response | None:
        """One request to one server; None after a failure that another try may mend."""
        server = await self._rested_server()
        sent_at_s = time.monotonic()
        # A server that hangs must leave time for another one.
        time_left_s = (gives_up_at_s - sent_at_s) / min(2, len(self._servers))
        outcome = await self._send(exchange, server.url, time_left_s)
        if isinstance(outcome, httpx2.Response):
            server.succeeded(sent_at_s)
            return outcome
        failed_at_s = time.monotonic()
        rest_s = min(outcome.rest_s, self._options.timeout_s)
        if len(self._servers) > 1:  # one that is slow to fail must not hold some call all the time
            rest_s = max(rest_s, failed_at_s - sent_at_s)
        server.failed(outcome.why, failed_at_s, rest_s + self.retry.delay_s(attempt))
        return None

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

    async def _send(
        self, exchange: Exchange, url: str, time_left_s: float
    ) -> httpx2.Response | Failure:
        content = exchange.body(time_left_s) if exchange.body else None
        try:
            async with asyncio.timeout(time_left_s):
                answer = await self._http.request(
                    exchange.method, url + exchange.path, content=content
                )
        except (httpx2.RequestError, TimeoutError) as error:
            return Failure(f"{type(error).__name__} {error}".strip())
        if not is_retried(answer.status_code):
            return answer
        retry_after = answer.headers.get("retry-after")
        return protocol.failure(answer.status_code, answer.content, retry_after, now_s=time.time())

    async def is_ready(self, url: str) -> bool:
        """Does the server at `url` say that it can score? One that does not answer does not."""
        outcome = await self._send(Exchange("GET", "/ready"), url, self._options.connect_timeout_s)
        return isinstance(outcome, httpx2.Response) and outcome.is_success

    def failures(self) -> str:
        """The last failure of each server, for a message."""
        if self._closed:
            return CLOSED
        return "; ".join(f"{each.url}: {each.failure or 'too slow'}" for each in self._servers)

    async def aclose(self) -> None:
        """Close the connections; what is being asked gets no answer."""
        self._closed = True
        for limit in self._limits:
            limit.reschedule(asyncio.get_running_loop().time())
        await self._http.aclose()


def body_of(answer: httpx2.Response) -> bytes:
    """The body of a 200.

    Raises:
        RequestRefused: the status is another.
    """
    if answer.status_code != 200:
        raise protocol.refusal(answer.status_code, answer.content, str(answer.request.url))
    return answer.content
