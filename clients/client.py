"""Samples to results, in order: one client for asyncio, one for threads.

In: samples and a profile. Out: one `ScoreResult` a sample, or an error of `clients.errors` that
carries what had arrived. What is said on the wire, and what an answer means, is `protocol`'s.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeVar, Unpack, cast

import httpx2

from clients import protocol
from clients.adapters.trl import TrlOptions, TrlReward, trl_reward
from clients.errors import RewardClientError, RewardServerUnavailable
from clients.protocol import Batch, Encoded, ScoreResult
from clients.transport import Exchange, Transport
from reward_server.schemas import Priority, ProfileInfo, Sample

logger = logging.getLogger(__name__)

DEFAULT_URL = "http://127.0.0.1:8700"
T = TypeVar("T")


@dataclass
class _Call:
    """One `score` on its way: what is to be sent, and what has come back."""

    samples: list[Encoded]
    profile: str
    priority: Priority
    explain: bool
    gives_up_at_s: float
    batches: deque[Batch]
    results: list[ScoreResult | None]


class AsyncRemoteRewardClient:
    """Score samples from asyncio code. Safe to share between tasks, threads and event loops.

    `url`: one server, or several (a sequence, or separated by commas) taken in turn; else
    REWARD_URL, else http://127.0.0.1:8700. `api_key`: else REWARD_API_KEY. `timeout_s`: for one
    call as a whole, waits and retries included. `batch_size`: samples in one request.
    `max_in_flight`: requests at one time, over all calls in an event loop. `max_tries`: of one
    batch. Proxies of the environment are not used: reward servers are neighbours.

    Raises:
        ValueError: a URL that is not http or https, or a number that is not positive.
    """

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        connect_timeout_s: float = 5.0,
        batch_size: int = 256,
        max_in_flight: int = 8,
        max_tries: int = 100,
    ) -> None:
        numbers = (timeout_s, connect_timeout_s, batch_size, max_in_flight, max_tries)
        if min(numbers) <= 0:
            raise ValueError(f"timeouts, sizes and counts must be positive, got {numbers}")
        self.urls = _urls(url)
        self.timeout_s = timeout_s
        self.batch_size = batch_size
        self.max_in_flight = max_in_flight
        self._transport = Transport(
            self.urls,
            api_key=api_key or os.environ.get("REWARD_API_KEY"),
            connect_timeout_s=connect_timeout_s,
            longest_rest_s=timeout_s,
            max_in_flight=max_in_flight,
            max_tries=max_tries,
        )

    async def score(
        self,
        samples: Iterable[Sample | Mapping[str, Any]],
        profile: str = "math",
        *,
        priority: Priority = "train",
        explain: bool = False,
    ) -> list[ScoreResult]:
        """One result a sample, in their order. A sample that could not be scored has status error.

        Raises:
            RewardServerUnavailable: samples unanswered after `timeout_s`; `results` has the others.
            RequestRefused, MalformedAnswer: another try would not help.
            InvalidSample: nothing was sent.
        """
        encoded = protocol.encode(samples)
        call = _Call(
            encoded,
            profile,
            priority,
            explain,
            gives_up_at_s=time.monotonic() + self.timeout_s,
            batches=deque(protocol.cut([len(each.json) for each in encoded], self.batch_size)),
            results=[None] * len(encoded),
        )
        try:
            await self._send_all(call)
            return self._finished(call)
        except RewardClientError as error:
            error.results = call.results
            raise

    async def profiles(self) -> list[ProfileInfo]:
        """What the server can score.

        Raises:
            RewardServerUnavailable, RequestRefused, MalformedAnswer: as `score` does.
        """
        gives_up_at_s = time.monotonic() + self.timeout_s
        answer = await self._transport.answer(Exchange("GET", "/profiles"), gives_up_at_s)
        if answer is None:
            raise self._unavailable("no list of profiles came")
        return protocol.parse_profiles(_success(answer))

    async def ready(self) -> bool:
        """Can at least one server score now? Each is asked once; one that is down says no."""
        return any(await asyncio.gather(*map(self._transport.is_ready, self.urls)))

    def as_trl_reward(self, profile: str = "math", **options: Unpack[TrlOptions]) -> TrlReward:
        """A reward function for TRL's trainers; `TrlOptions` says what can be chosen."""
        return trl_reward(self.score, profile, **options)

    async def aclose(self) -> None:
        """Close the connections of every event loop that still runs."""
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _send_all(self, call: _Call) -> None:
        """Send until every sample is answered or given up."""
        senders = [
            asyncio.create_task(self._send_batches(call))
            for _ in range(min(self.max_in_flight, len(call.batches)))
        ]
        try:
            await asyncio.gather(*senders)
        finally:
            for sender in senders:
                sender.cancel()
            await asyncio.gather(*senders, return_exceptions=True)

    async def _send_batches(self, call: _Call) -> None:
        while call.batches:
            batch = call.batches.popleft()
            samples = [call.samples[place] for place in batch.places]
            body = partial(protocol.build, samples, call.profile, call.priority, call.explain)
            exchange = Exchange("POST", "/score", body)
            answer = await self._transport.answer(exchange, call.gives_up_at_s)
            if answer is None:
                continue
            if answer.status_code != 413:
                await _keep(call, batch, protocol.parse(_success(answer), samples))
            elif len(samples) > 1:
                call.batches.extendleft(protocol.halve(batch))
            else:
                call.results[batch.places[0]] = protocol.too_large(samples[0], call.profile)

    def _finished(self, call: _Call) -> list[ScoreResult]:
        missing = sum(result is None for result in call.results)
        if missing:
            raise self._unavailable(f"{missing} of {len(call.results)} samples got no answer")
        results = cast("list[ScoreResult]", call.results)
        protocol.complete(results)
        fingerprints = {result.fingerprint for result in results}
        if len(fingerprints) > 1:
            logger.warning(
                "the rewards of one call come from differing profiles %s of %s: %s",
                call.profile,
                self.urls,
                sorted(fingerprints),
            )
        return results

    def _unavailable(self, what: str) -> RewardServerUnavailable:
        return RewardServerUnavailable(
            f"{what} within {self.timeout_s:g} s; {self._transport.failures()}. "
            "Is the server running (reward-server serve)? If so, raise timeout_s"
        )


class RemoteRewardClient:
    """Score samples from ordinary code and threads: the asyncio client in a thread of its own.

    The parameters are those of `AsyncRemoteRewardClient`, which says what they mean. Safe to share
    between threads; in a forked child it starts afresh.
    """

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        connect_timeout_s: float = 5.0,
        batch_size: int = 256,
        max_in_flight: int = 8,
        max_tries: int = 100,
    ) -> None:
        self._remote = AsyncRemoteRewardClient(
            url,
            api_key=api_key,
            timeout_s=timeout_s,
            connect_timeout_s=connect_timeout_s,
            batch_size=batch_size,
            max_in_flight=max_in_flight,
            max_tries=max_tries,
        )
        self.urls = self._remote.urls
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()

    def score(
        self,
        samples: Iterable[Sample | Mapping[str, Any]],
        profile: str = "math",
        *,
        priority: Priority = "train",
        explain: bool = False,
    ) -> list[ScoreResult]:
        """As `AsyncRemoteRewardClient.score`."""
        return self._wait_for(
            self._remote.score(samples, profile, priority=priority, explain=explain)
        )

    def profiles(self) -> list[ProfileInfo]:
        """As `AsyncRemoteRewardClient.profiles`."""
        return self._wait_for(self._remote.profiles())

    def ready(self) -> bool:
        """As `AsyncRemoteRewardClient.ready`."""
        return self._wait_for(self._remote.ready())

    def as_trl_reward(self, profile: str = "math", **options: Unpack[TrlOptions]) -> TrlReward:
        """As `AsyncRemoteRewardClient.as_trl_reward`."""
        return self._remote.as_trl_reward(profile, **options)

    def close(self) -> None:
        """Close the connections and end the thread. A later call starts them again."""
        with self._starting:
            loop, self._loop = self._loop, None
        if loop is not None and self._pid == os.getpid():
            asyncio.run_coroutine_threadsafe(self._remote.aclose(), loop).result()
            loop.call_soon_threadsafe(loop.stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._running_loop())
        try:
            return future.result()
        finally:
            future.cancel()  # of use when the caller was interrupted while it waited

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None or self._pid != os.getpid():
                self._loop, self._pid = asyncio.new_event_loop(), os.getpid()
                threading.Thread(target=_run, args=(self._loop,), daemon=True).start()
            return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _keep(call: _Call, batch: Batch, results: list[ScoreResult]) -> None:
    """Keep the results; what may succeed if sent again goes back to be sent, if time allows."""
    for place, result in zip(batch.places, results, strict=True):
        call.results[place] = result
    again = protocol.retryable(batch, results)
    delay_s = protocol.full_jitter_s(batch.attempt)
    if again.places and time.monotonic() + delay_s < call.gives_up_at_s:
        await asyncio.sleep(delay_s)
        call.batches.append(again)


def _success(answer: httpx2.Response) -> bytes:
    if answer.status_code != 200:
        raise protocol.refusal(answer.status_code, answer.content, str(answer.request.url))
    return answer.content


def _urls(url: str | Sequence[str] | None) -> list[str]:
    given = url or os.environ.get("REWARD_URL") or DEFAULT_URL
    parts = given.split(",") if isinstance(given, str) else given
    urls = [part.strip().rstrip("/") for part in parts]
    for each in urls:
        if not each.startswith(("http://", "https://")):
            raise ValueError(f"a server's URL starts with http:// or https://, got {each!r}")
    return urls
