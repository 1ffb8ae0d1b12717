"""One answer from some server before a deadline: connections, retries, failover, the cap in flight.

In: a method, a path, a body made for the time left. Out: the first answer that another try would
not mend, or None. It reads no bodies but those of failures; what they mean is `protocol`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import httpx2

from clients import protocol
from clients.protocol import Failure, Server


@dataclass(frozen=True)
class Exchange:
    """What is to be asked. `body` is given the seconds that the answer may take."""

    method: str
    path: str
    body: Callable[[float], bytes] | None = None


@dataclass
class _Session:
    """What belongs to one event loop: connections, places in flight, how the servers fare."""

    http: httpx2.AsyncClient
    places: asyncio.Semaphore
    servers: list[Server]


class Transport:
    """Connections to `urls`, a set for each event loop that it is used in."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        api_key: str | None,
        connect_timeout_s: float,
        longest_rest_s: float,
        max_in_flight: int,
        max_tries: int,
    ) -> None:
        self.urls = urls
        self.connect_timeout_s = connect_timeout_s
        self.longest_rest_s = longest_rest_s
        self.max_in_flight = max_in_flight
        self.max_tries = max_tries
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key.strip()}"
        self._sessions: dict[asyncio.AbstractEventLoop, _Session] = {}

    async def answer(self, exchange: Exchange, gives_up_at_s: float) -> httpx2.Response | None:
        """The first answer that another try would not mend; None when time or tries ran out."""
        with suppress(TimeoutError):
            async with asyncio.timeout(gives_up_at_s - time.monotonic()):
                for attempt in range(self.max_tries):
                    answer = await self._try(exchange, gives_up_at_s, attempt)
                    if answer is not None:
                        return answer
        return None

    async def _try(
        self, exchange: Exchange, gives_up_at_s: float, attempt: int
    ) -> httpx2.Response | None:
        """One request to one server; None after a failure that another try may mend."""
        session = self._session()
        async with session.places:
            server = await _rested(session.servers)
            sent_at_s = time.monotonic()
            # A server that hangs must leave time for another one.
            time_left_s = (gives_up_at_s - sent_at_s) / min(2, len(session.servers))
            outcome = await _send(session.http, exchange, server.url, time_left_s)
            if isinstance(outcome, httpx2.Response):
                server.succeeded(sent_at_s)
                return outcome
            rest_s = min(outcome.rest_s, self.longest_rest_s) + protocol.full_jitter_s(attempt)
            server.failed(outcome.why, time.monotonic(), rest_s)
        return None

    async def is_ready(self, url: str) -> bool:
        """Does the server at `url` say that it can score? One that does not answer does not."""
        outcome = await _send(
            self._session().http, Exchange("GET", "/ready"), url, self.connect_timeout_s
        )
        return isinstance(outcome, httpx2.Response) and outcome.is_success

    def failures(self) -> str:
        """The last failure of each server, for a message."""
        servers = self._session().servers
        return "; ".join(f"{server.url}: {server.failure or 'too slow'}" for server in servers)

    async def aclose(self) -> None:
        """Close the connections of every event loop that still runs."""
        here = asyncio.get_running_loop()
        while self._sessions:
            loop, session = self._sessions.popitem()
            if loop is here:
                await session.http.aclose()
            elif loop.is_running():
                asyncio.run_coroutine_threadsafe(session.http.aclose(), loop)

    def _session(self) -> _Session:
        """This event loop's connections: those of another loop cannot be used in it."""
        loop = asyncio.get_running_loop()
        if loop not in self._sessions:
            for closed in [each for each in list(self._sessions) if each.is_closed()]:
                self._sessions.pop(closed, None)
            self._sessions[loop] = self._new_session()
        return self._sessions[loop]

    def _new_session(self) -> _Session:
        http = httpx2.AsyncClient(
            headers=self._headers,
            timeout=httpx2.Timeout(None, connect=self.connect_timeout_s),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
            trust_env=False,
        )
        servers = [Server(url) for url in self.urls]
        return _Session(http, asyncio.Semaphore(self.max_in_flight), servers)


async def _send(
    http: httpx2.AsyncClient, exchange: Exchange, url: str, time_left_s: float
) -> httpx2.Response | Failure:
    content = exchange.body(time_left_s) if exchange.body else None
    try:
        async with asyncio.timeout(time_left_s):
            answer = await http.request(exchange.method, url + exchange.path, content=content)
    except (httpx2.RequestError, TimeoutError) as error:
        return Failure(f"{type(error).__name__} {error}".strip())
    if not protocol.is_retried(answer.status_code):
        return answer
    retry_after = answer.headers.get("retry-after")
    return protocol.failure(answer.status_code, answer.content, retry_after, now_s=time.time())


async def _rested(servers: list[Server]) -> Server:
    """The next server to send to, waiting while all rest.

    Where there is a choice, one that failed is tried by one caller at a time: a dead host must not
    hold them all.
    """
    while True:
        now_s = time.monotonic()
        server = protocol.next_server(servers, now_s)
        if server.rests_until_s <= now_s:
            if server.failure and len(servers) > 1:
                server.rests_until_s = now_s + protocol.TRIAL_S
            return server
        await asyncio.sleep(server.rests_until_s - now_s)
