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
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, Self, TypedDict, TypeVar, Unpack, cast

from touchstone_rewards.clients import protocol
from touchstone_rewards.clients.adapters.trl import (
    TrlOptions,
    TrlReward,
    form_of_trl,
    trl_reward,
)
from touchstone_rewards.clients.dispatch import ClientCall, Dispatcher, Lane
from touchstone_rewards.clients.errors import RewardClientError, RewardServerUnavailable
from touchstone_rewards.clients.results import ScoreResult
from touchstone_rewards.clients.transport import (
    Exchange,
    Options,
    Transport,
    body_of,
    trusting,
)
from touchstone_rewards.reward_server.remote.policy import RetryPolicy
from touchstone_rewards.reward_server.schemas import Priority, ProfileInfo, Sample

logger = logging.getLogger(__name__)

DEFAULT_URL = "http://127.0.0.1:8700"
DEFAULT_RETRY = RetryPolicy()
# Answers to a full request have some 100 KiB, explained ones some MiB.
MAX_ANSWER_BYTES = 256 * 2**20
CLOSING_S = 5.0  # for calls to hear that their client is closed
T = TypeVar("T")


class ClientOptions(TypedDict, total=False):
    """The keyword options of both clients; `AsyncRemoteRewardClient` says what they mean."""

    api_key: str | None
    timeout_s: float
    connect_timeout_s: float
    batch_size: int
    max_in_flight: int
    retry: RetryPolicy
    ca_file: str | os.PathLike[str] | None
    max_answer_bytes: int


class AsyncRemoteRewardClient:
    """Score samples from asyncio code. Safe to share between tasks, threads and event loops.

    `url`: one server, or several (a sequence, or separated by commas) taken in turn; else
    REWARD_URL, else http://127.0.0.1:8700. `api_key`: else REWARD_API_KEY. `timeout_s`: for one
    call as a whole, waits and retries included. `batch_size`: samples in one request; calls that
    wait at the same time share requests, with 1 they do not. `max_in_flight`: requests at one time,
    over all calls in an event loop. `retry`: when a failed request is sent again. `ca_file`:
    certificates (PEM) to trust in place of the system's, else REWARD_CA_FILE. `max_answer_bytes`:
    the largest answer to one request that is read. Proxies of the environment are not used: reward
    servers are neighbours.

    Raises:
        ValueError: a URL that is not http or https, or a number that is not positive.
        UntrustedCertificate: `ca_file` cannot be read.
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
        retry: RetryPolicy = DEFAULT_RETRY,
        ca_file: str | os.PathLike[str] | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        numbers = (timeout_s, connect_timeout_s, batch_size, max_in_flight, max_answer_bytes)
        if min(numbers) <= 0:
            raise ValueError(f"timeouts, sizes and counts must be positive, got {numbers}")
        self.urls = _urls(url)
        self.timeout_s = timeout_s
        self.batch_size = batch_size
        self.max_in_flight = max_in_flight
        key = api_key or os.environ.get("REWARD_API_KEY")
        trusted = ca_file or os.environ.get("REWARD_CA_FILE")
        if trusted:
            trusting(trusted)  # a file that cannot be read is told now, not at the first call
        self._options = Options(
            self.urls, key, timeout_s, connect_timeout_s, retry, trusted, max_answer_bytes
        )
        self._dispatchers: dict[asyncio.AbstractEventLoop, Dispatcher] = {}

    async def score(
        self,
        samples: Iterable[Sample | Mapping[str, Any]],
        profile: str = "math",
        *,
        priority: Priority = "train",
        explain: bool = False,
        run: str | None = None,
        step: int | None = None,
    ) -> list[ScoreResult]:
        """One result a sample, in their order. A sample that could not be scored has status error.

        `run`, `step`: the training's name and its update, for the server's watch, whose alarms the
        results then have. A server older than the watch refuses a request that names a run.

        Raises:
            RewardServerUnavailable: samples unanswered after `timeout_s`; `results` has the others.
            RequestRefused, MalformedAnswer, UnknownHost, UntrustedCertificate: another try would
                not help.
            ClientClosed: the client was closed meanwhile.
            InvalidSample: nothing was sent.
        """
        encoded = protocol.encode(samples)
        if not encoded:
            return []
        call = ClientCall(len(encoded), gives_up_at_s=time.monotonic() + self.timeout_s)
        dispatcher = self._dispatcher()
        dispatcher.submit(Lane(profile, priority, explain, run, step), call, encoded)
        try:
            await asyncio.wait([call.ended], timeout=self.timeout_s)
        finally:
            call.ended.cancel()  # what still waits to be sent need not be
        return self._finished(call, dispatcher.transport)

    async def profiles(self) -> list[ProfileInfo]:
        """What the server can score.

        Raises:
            RewardServerUnavailable, RequestRefused, MalformedAnswer: as `score` does.
        """
        gives_up_at_s = time.monotonic() + self.timeout_s
        transport = self._dispatcher().transport
        answer = await transport.answer(Exchange("GET", "/profiles"), gives_up_at_s)
        if answer is None:
            raise self._unavailable("no list of profiles came", transport)
        return protocol.parse_profiles(body_of(answer))

    async def ready(self) -> bool:
        """Can at least one server score now? Each is asked once; one that is down says no."""
        transport = self._dispatcher().transport
        return any(await asyncio.gather(*map(transport.is_ready, self.urls)))

    def as_trl_reward(self, profile: str = "math", **options: Unpack[TrlOptions]) -> TrlReward:
        """Return a reward function for the TRL that is installed: a coroutine function from TRL
        1.6 on, an ordinary one before.

        Example:
            >>> AsyncRemoteRewardClient().as_trl_reward("math").__name__
            'math'

        Raises:
            TypeError, ValueError: an option that `TrlOptions` does not have, or a value that this
                version of TRL does not allow.
        """
        if form_of_trl() == "async":
            return trl_reward(self, profile, "async", **options)
        return trl_reward(RemoteRewardClient.around(self), profile, "sync", **options)

    async def aclose(self) -> None:
        """Close the connections of every event loop that still runs; calls get `ClientClosed`."""
        here = asyncio.get_running_loop()
        while self._dispatchers:
            loop, dispatcher = self._dispatchers.popitem()
            if loop is here:
                await dispatcher.aclose()
            elif loop.is_running():
                asyncio.run_coroutine_threadsafe(dispatcher.aclose(), loop)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _dispatcher(self) -> Dispatcher:
        """This event loop's: connections of another loop cannot be used in it."""
        loop = asyncio.get_running_loop()
        if loop not in self._dispatchers:
            for closed in [each for each in list(self._dispatchers) if each.is_closed()]:
                self._dispatchers.pop(closed, None)
            self._dispatchers[loop] = Dispatcher(
                Transport(self._options),
                batch_size=self.batch_size,
                max_in_flight=self.max_in_flight,
            )
        return self._dispatchers[loop]

    def _finished(self, call: ClientCall, transport: Transport) -> list[ScoreResult]:
        error = None if call.ended.cancelled() else call.ended.exception()
        missing = sum(result is None for result in call.results)
        if error is None and missing:
            what = f"{missing} of {len(call.results)} samples got no answer"
            error = self._unavailable(what, transport)
        elif error is None and call.broken == len(call.results):
            what = f"all {call.broken} samples got a 500, each by itself,"
            error = self._unavailable(what, transport)
        if isinstance(error, RewardClientError):
            error.results = list(call.results)  # a copy: late answers must not change it
        if error is not None:
            raise error
        results = cast("list[ScoreResult]", call.results)
        protocol.complete(results)
        fingerprints = sorted({result.fingerprint for result in results})
        if len(fingerprints) > 1:
            logger.warning("one call, differing fingerprints: %s of %s", fingerprints, self.urls)
        return results

    def _unavailable(self, what: str, transport: Transport) -> RewardServerUnavailable:
        return RewardServerUnavailable(
            f"{what} within {self.timeout_s:g} s; {transport.failures()}. "
            "Is the server running (reward-server serve)? If so, raise timeout_s"
        )


class RemoteRewardClient:
    """Score samples from ordinary code and threads: the asyncio client in a thread of its own.

    The parameters are those of `AsyncRemoteRewardClient`, which says what they mean. Safe to share
    between threads; in a forked child it starts afresh.
    """

    def __init__(
        self, url: str | Sequence[str] | None = None, **options: Unpack[ClientOptions]
    ) -> None:
        self._use(AsyncRemoteRewardClient(url, **options))

    @classmethod
    def around(cls, remote: AsyncRemoteRewardClient) -> Self:
        """Return a client for ordinary code that is this one for asyncio code."""
        client = cls.__new__(cls)
        client._use(remote)
        return client

    def _use(self, remote: AsyncRemoteRewardClient) -> None:
        self._remote = remote
        self.urls = remote.urls
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
        run: str | None = None,
        step: int | None = None,
    ) -> list[ScoreResult]:
        """As `AsyncRemoteRewardClient.score`."""
        return self._wait_for(
            self._remote.score(
                samples, profile, priority=priority, explain=explain, run=run, step=step
            )
        )

    def profiles(self) -> list[ProfileInfo]:
        """As `AsyncRemoteRewardClient.profiles`."""
        return self._wait_for(self._remote.profiles())

    def ready(self) -> bool:
        """As `AsyncRemoteRewardClient.ready`."""
        return self._wait_for(self._remote.ready())

    def as_trl_reward(self, profile: str = "math", **options: Unpack[TrlOptions]) -> TrlReward:
        """As `AsyncRemoteRewardClient.as_trl_reward`."""
        if form_of_trl() == "async":
            return trl_reward(self._remote, profile, "async", **options)
        return trl_reward(self, profile, "sync", **options)

    def close(self) -> None:
        """Close the connections and end the thread. A later call starts them again.

        Calls that wait in other threads raise `ClientClosed`.
        """
        with self._starting:
            loop, self._loop = self._loop, None
        if loop is not None and self._pid == os.getpid():
            asyncio.run_coroutine_threadsafe(self._end(), loop).result()
            loop.call_soon_threadsafe(loop.stop)

    async def _end(self) -> None:
        await self._remote.aclose()
        if waiting := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(waiting, timeout=CLOSING_S)

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
    # The runner cancels what is left at the end: a thread that waits for it would wait forever.
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.get_loop().run_forever()


def _urls(url: str | Sequence[str] | None) -> list[str]:
    given = url or os.environ.get("REWARD_URL") or DEFAULT_URL
    parts = given.split(",") if isinstance(given, str) else given
    urls = [part.strip().rstrip("/") for part in parts]
    for each in urls:
        if not each.startswith(("http://", "https://")):
            raise ValueError(f"a server's URL starts with http:// or https://, got {each!r}")
    return urls
