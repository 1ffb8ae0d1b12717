"""Get a JSON answer from one of several endpoints before a deadline.

Handles connections, retries, failover and rate limits; raises `UpstreamFailed` with the reason. The
key is sent in a header and appears nowhere else, neither in messages nor in logs.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx2
from msgspec import DecodeError, json

from touchstone_rewards.reward_server.remote.admission import REFUSED_S, Admission, Proof
from touchstone_rewards.reward_server.remote.failed import (
    AnswerTooLarge,
    BodyRefused,
    UpstreamFailed,
)
from touchstone_rewards.reward_server.remote.http1 import BrokenAnswer, Http1Client
from touchstone_rewards.reward_server.remote.policy import (
    Breaker,
    Failure,
    RateLimit,
    RetryPolicy,
    ServerHealth,
    is_retried,
    next_server,
    retry_after_s,
)
from touchstone_rewards.reward_server.scorers.returned import text_of

logger = logging.getLogger(__name__)

# A character escaped by JSON, even twice: `\/` or `\u002f` for a slash.
_ESCAPED = re.compile(r"\\{1,4}(?:u([0-9a-fA-F]{4})|([^\\]))")
# Length of the excerpt of an answer in messages, and size limit for an answer.
SHOWN_CHARS = 200
MAX_ANSWER_BYTES = 8 * 2**20
# Statuses caused by the body: another body may be accepted.
REFUSED_BODY = frozenset({400, 413, 422})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
GZIP = b"\x1f\x8b"
# Give up slightly before the call's deadline, so that the reason is reported instead of a
# cancellation.
MARGIN_S = 0.05
NO_TIME = "the deadline leaves no time for another try"


@dataclass(frozen=True)
class Endpoints:
    """Addresses and settings of the endpoints.

    `urls`: complete addresses. `key`: sent as a bearer token. `timeout_s`: limit per try.
    `requests_per_s`: None means no limit.
    """

    urls: Sequence[str]
    key: str | None = field(default=None, repr=False)
    timeout_s: float = 60.0
    requests_per_s: float | None = None
    retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(max_tries=5))
    breaker: Breaker = field(default_factory=Breaker)


class _Answer(NamedTuple):
    status: int
    content: bytes
    retry_after: str | None


class UpstreamTransport:
    """Connections to the endpoints and the endpoints' health.

    Connections belong to one event loop; in another loop new ones are made. `proof`: check that an
    endpoint must pass before it is used. `counts`: requests sent (`tries`) and failed
    (`failed_tries`).
    """

    def __init__(self, endpoints: Endpoints, proof: Proof | None = None) -> None:
        self.endpoints = endpoints
        self._proof = proof
        self._admission: Admission | None = None
        self.counts: Counter[str] = Counter(tries=0, failed_tries=0)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._http: Http1Client | None = None
        self._servers: list[ServerHealth] = []
        # The same servers in the order of their addresses; empty before the first request.
        self.servers: tuple[ServerHealth, ...] = ()
        self._limit: RateLimit | None = None
        self._news = asyncio.Event()

    async def post(
        self,
        body: bytes,
        give_up_at_s: float | None = None,
        on_timeout: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Post a JSON body and return the JSON object in the answer.

        `give_up_at_s`: time limit on the event loop's clock. `on_timeout`: called for each try that
        timed out, because the endpoint may have done the work all the same.

        Raises:
            UpstreamFailed: no endpoint answered within the time and the tries, or an answer had
                another form.
        """
        return await self.ask(body, give_up_at_s, dict, on_timeout)

    async def ask(
        self,
        body: bytes,
        give_up_at_s: float | None = None,
        shape: type = object,
        on_timeout: Callable[[], None] | None = None,
    ) -> Any:
        """Post a JSON body and return the decoded answer, which must be of type `shape`.

        Raises:
            UpstreamFailed: as for `post`.
        """
        self._begin()
        ends_at_s = math.inf if give_up_at_s is None else give_up_at_s - MARGIN_S
        failure, server = Failure("there was no time to send a request"), None
        for attempt in range(self.endpoints.retry.max_tries):
            if attempt:
                await self._pause(attempt - 1, ends_at_s, failure)
            server = await self._rested(ends_at_s, failure, server)
            outcome = await self._admitted(server, ends_at_s)
            outcome = outcome or await self._try(server, body, ends_at_s)
            if isinstance(outcome, _Answer):
                return self._read(server.url, outcome, shape)
            if outcome.timed_out and on_timeout is not None:
                on_timeout()
            failure = Failure(f"{server.url} {outcome.why}", status=outcome.status)
            if outcome.lasting and self._all_refused():
                raise UpstreamFailed(failure.why, retryable=False)
        tries = self.endpoints.retry.max_tries
        raise UpstreamFailed(f"{failure.why}; {tries} tries failed")

    async def status_of(self, url: str) -> int:
        """Return the HTTP status of a GET of this address, from any event loop.

        Raises:
            OSError, BrokenAnswer: there was no valid answer.
        """
        client = self._new_client()
        try:
            return (await client.send("GET", url)).status
        finally:
            client.close()

    def may_be_back(self, server: ServerHealth) -> None:
        """Record that an endpoint seems to have recovered, so that one call may try it at once.

        Safe to call from any thread.
        """
        server.may_be_back = True
        server.rests_until_s = 0.0
        with suppress(RuntimeError):  # its event loop has ended: no call waits
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._tell)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._http is not None:
            self._http.close()

    def _begin(self) -> None:
        """Reset for another event loop, because connections belong to one."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self._http = None
            self._servers = [ServerHealth(url) for url in self.endpoints.urls]
            self.servers = tuple(self._servers)
            rate = self.endpoints.requests_per_s
            self._limit = RateLimit(rate) if rate else None
            self._news = asyncio.Event()
            self._admission = Admission(self._proof) if self._proof else None

    async def prove(self, give_up_at_s: float) -> dict[str, Failure | None]:
        """Check every endpoint; return by URL the reason why it cannot be used, or None."""
        self._begin()
        asked = (self._admitted(each, give_up_at_s) for each in self.servers)
        return dict(zip(self.endpoints.urls, await asyncio.gather(*asked), strict=True))

    def _all_refused(self) -> bool:
        refused = self._admission.refused if self._admission else ()
        return all(server.url in refused for server in self._servers)

    async def _admitted(self, server: ServerHealth, ends_at_s: float) -> Failure | None:
        """Return why the endpoint cannot be used now, or None; `lasting` if it failed its check."""
        if self._admission is None:
            return None

        async def ask(body: bytes) -> Any:
            outcome = await self._try(server, body, ends_at_s)
            if isinstance(outcome, Failure):
                raise UpstreamFailed(outcome.why)
            return self._read(server.url, outcome, object)

        try:
            async with asyncio.timeout_at(None if math.isinf(ends_at_s) else ends_at_s):
                why = await self._admission.refusal(server.url, ask)
        except UpstreamFailed as error:
            return Failure(f"cannot be checked: {error}")
        except TimeoutError:
            return Failure("did not pass its check in time")
        if why is None:
            return None
        if not self._all_refused():  # use the others meanwhile
            until_s = asyncio.get_running_loop().time() + REFUSED_S
            server.rests_until_s = max(server.rests_until_s, until_s)
        return Failure(why, lasting=UpstreamFailed)

    def _client(self) -> Http1Client:
        if self._http is None:
            self._http = self._new_client()
        return self._http

    def _new_client(self) -> Http1Client:
        key = self.endpoints.key
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        return Http1Client(headers, MAX_ANSWER_BYTES)

    async def _pause(self, attempt: int, ends_at_s: float, last: Failure) -> None:
        """Wait before the next try.

        Raises:
            UpstreamFailed: the wait would pass the deadline.
        """
        delay_s = self.endpoints.retry.delay_s(attempt)
        if asyncio.get_running_loop().time() + delay_s >= ends_at_s:
            raise UpstreamFailed(f"{last.why}; {NO_TIME}")
        await asyncio.sleep(delay_s)

    async def _rested(
        self, ends_at_s: float, last: Failure, failed: ServerHealth | None
    ) -> ServerHealth:
        """Wait for the rate limit and return the next endpoint, if possible not the one that just
        `failed`.

        Raises:
            UpstreamFailed: all endpoints rest, or the rate limit has no slot, until the deadline.
        """
        loop = asyncio.get_running_loop()
        if self._limit is not None:
            wait_s = self._limit.take(loop.time(), ends_at_s)
            if wait_s is None:
                rate = self.endpoints.requests_per_s
                raise UpstreamFailed(f"requests_per_s {rate:g} left no slot before the deadline")
            await asyncio.sleep(wait_s)
        while True:
            now_s = loop.time()
            others = [s for s in self._servers if s is not failed and s.free_at_s <= now_s]
            server = next_server(others if failed and others else self._servers, now_s)
            if now_s >= ends_at_s or server.rests_until_s >= ends_at_s:
                why = last.why if last.status else f"{server.url} {server.failure or last.why}"
                raise UpstreamFailed(f"{why}; {NO_TIME}")
            if server.free_at_s <= now_s:
                if self.endpoints.breaker.is_open(server.failures_in_a_row):
                    server.tried_until_s = now_s + self.endpoints.timeout_s
                return server
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(server.free_at_s, ends_at_s)):
                    await self._news.wait()

    async def _try(self, server: ServerHealth, body: bytes, ends_at_s: float) -> _Answer | Failure:
        """Send one request to one endpoint; return its answer, or a failure worth a retry."""
        loop = asyncio.get_running_loop()
        sent_at_s = loop.time()
        left_s = ends_at_s - sent_at_s
        # Leave time for another endpoint in case this one hangs.
        most_s = min(self.endpoints.timeout_s, left_s / min(2, len(self._servers)))
        self.counts["tries"] += 1
        server.in_flight += 1
        try:
            outcome = await self._send(server.url, body, most_s)
        except asyncio.CancelledError:
            server.tried_until_s = 0.0  # another call may try whether it is back
            self._tell()
            raise
        finally:
            server.in_flight -= 1
        if isinstance(outcome, _Answer):
            was_failing = server.failures_in_a_row
            server.succeeded(sent_at_s)
            if was_failing:
                self._tell()
            if self.endpoints.breaker.is_open(was_failing) and not server.failures_in_a_row:
                logger.info("%s answers again", server.url)
            return outcome
        self.counts["failed_tries"] += 1
        was_open = self.endpoints.breaker.is_open(server.failures_in_a_row)
        server.failed(outcome, loop.time(), 0.0, sent_at_s)
        if not was_open and self.endpoints.breaker.is_open(server.failures_in_a_row):
            # Do not quote the endpoint: it may repeat a model's text.
            last = f"status {outcome.status}" if outcome.status else "no answer"
            failures = server.failures_in_a_row
            logger.warning("%s failed %d times in a row (%s)", server.url, failures, last)
        rests_s = max(outcome.rest_s, self.endpoints.breaker.rests_s(server.failures_in_a_row))
        server.rests_until_s = max(server.rests_until_s, loop.time() + rests_s)
        self._tell()
        return outcome

    def _tell(self) -> None:
        """Wake the calls that wait for an endpoint."""
        self._news.set()
        self._news = asyncio.Event()

    async def _send(self, url: str, body: bytes, most_s: float) -> _Answer | Failure:
        try:
            async with asyncio.timeout(most_s):
                answer = _Answer(*await self._client().send("POST", url, body))
        except TimeoutError:
            return Failure(f"did not answer within {most_s:.3g} s", timed_out=True)
        except (OSError, BrokenAnswer, httpx2.InvalidURL) as error:
            if self._admission is not None:
                self._admission.forget(url)
            said = self.told(f"{type(error).__name__} {error}".strip())
            return Failure(f"gave no answer: {said[:SHOWN_CHARS]}")
        if not is_retried(answer.status):
            return answer
        rest_s = retry_after_s(answer.retry_after, time.time())
        why = f"answered {answer.status}: {self._beginning(answer.content)}"
        return Failure(why, rest_s=rest_s, status=answer.status)

    def _read(self, url: str, answer: _Answer, shape: type) -> Any:
        if len(answer.content) > MAX_ANSWER_BYTES:
            message = f"{url} answered with more than {MAX_ANSWER_BYTES} bytes"
            raise AnswerTooLarge(message, retryable=False, answered=True)
        if answer.status != 200:
            said = self._beginning(answer.content)
            if answer.status in REDIRECTS:
                said = f"a redirect, which is not followed: {said}"
            kind = BodyRefused if answer.status in REFUSED_BODY else UpstreamFailed
            raise kind(f"{url} answered {answer.status}: {said}", retryable=False)
        try:
            found = json.decode(answer.content)
        except (DecodeError, RecursionError):
            found = None
        if found is None or not isinstance(found, shape):
            what = "no JSON object" if shape is dict else "no JSON"
            if answer.content.startswith(GZIP):
                what = "gzip, which was not asked for,"
            raise self.misshapen(answer.content, f"{what} at {url}")
        return found

    def misshapen(self, content: bytes, what: str) -> UpstreamFailed:
        """Return the failure for an answer of another shape, quoting its beginning."""
        return UpstreamFailed(
            f"answered 200 with {self.told(what)[:SHOWN_CHARS]}: {self._beginning(content)}",
            answered=True,
        )

    def _beginning(self, content: bytes) -> str:
        return repr(self.told(content[:4096].decode(errors="replace"))[:SHOWN_CHARS])

    def told(self, text: str) -> str:
        """Redact the key in a text that may be shown, because an endpoint may repeat it.

        The key is found both as it is and with JSON escapes.
        """
        key = self.endpoints.key
        if key is None:
            return text_of(text)
        if "\\" in text and key in (plain := _ESCAPED.sub(_plain, text)):
            text = plain
        return text_of(text.replace(key, "[key]"))


def _plain(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16)) if escape[1] else escape[2]
