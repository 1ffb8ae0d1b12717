"""The clients: one for asyncio, one for ordinary code and threads.

A call takes samples and a profile, and returns one `ScoreResult` per sample, in order, or raises an
error of `clients.errors` with the results so far. `protocol` has the wire format.
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
CLOSING_S = 5.0  # the time that waiting calls get to raise ClientClosed
T = TypeVar("T")


class ClientOptions(TypedDict, total=False):
    """The keyword options of both clients, as `AsyncRemoteRewardClient` describes them."""

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

    Proxy settings of the environment are ignored.

    Args:
        url: one server or several (a sequence, or separated by commas), used in turn. Default:
            REWARD_URL, then http://127.0.0.1:8700.
        api_key: default: REWARD_API_KEY.
        timeout_s: the limit for one call, including waits and retries.
        connect_timeout_s: the limit for opening a connection.
        batch_size: the most samples per request. Concurrent calls share requests, unless it is 1.
        max_in_flight: the most concurrent requests per event loop.
        retry: when to send a failed request again.
        ca_file: certificates (PEM) to trust instead of the system's. Default: REWARD_CA_FILE.
        max_answer_bytes: the largest answer that is read.

    Example:
        >>> async with AsyncRemoteRewardClient() as client:  # doctest: +SKIP
        ...     [result] = await client.score(
        ...         [{"id": "1", "response": "It is 46.", "ground_truth": "46"}], "math"
        ...     )
        ...     result.reward
        1.0

    Raises:
        ValueError: a URL is not http or https, or a number is not positive.
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
            trusting(trusted)  # raise for an unreadable file now, not at the first call
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
        """Return one result per sample, in order. A sample that could not be scored has the status
        `error`.

        `run` and `step` name the training run and its update for the server's watch; the results
        then include its alarms. Servers without a watch refuse requests that name a run.

        Raises:
            RewardServerUnavailable: some samples got no answer within `timeout_s`; the error's
                `results` has those of the others.
            RequestRefused, MalformedAnswer, UnknownHost, UntrustedCertificate: a retry would not
                help.
            ClientClosed: the client was closed during the call.
            InvalidSample: a sample cannot be sent, so nothing was.
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
            call.ended.cancel()  # samples that are still queued are dropped
        return self._finished(call, dispatcher.transport)

    async def profiles(self) -> list[ProfileInfo]:
        """Return the server's profiles.

        Raises:
            RewardServerUnavailable, RequestRefused, MalformedAnswer: as for `score`.
        """
        gives_up_at_s = time.monotonic() + self.timeout_s
        transport = self._dispatcher().transport
        answer = await transport.answer(Exchange("GET", "/profiles"), gives_up_at_s)
        if answer is None:
            raise self._unavailable("got no list of profiles", transport)
        return protocol.parse_profiles(body_of(answer))

    async def ready(self) -> bool:
        """Return whether at least one server is ready. Each is asked once."""
        transport = self._dispatcher().transport
        return any(await asyncio.gather(*map(transport.is_ready, self.urls)))

    def as_trl_reward(self, profile: str = "math", **options: Unpack[TrlOptions]) -> TrlReward:
        """Return a reward function for the installed TRL: a coroutine function for TRL 1.6 or
        newer, an ordinary function for older versions.

        Example:
            >>> AsyncRemoteRewardClient().as_trl_reward("math").__name__
            'math'

        Raises:
            TypeError, ValueError: an unknown option, or a value that the installed TRL does not
                allow.
        """
        if form_of_trl() == "async":
            return trl_reward(self, profile, "async", **options)
        return trl_reward(RemoteRewardClient.around(self), profile, "sync", **options)

    async def aclose(self) -> None:
        """Close the connections in all running event loops. Waiting calls raise `ClientClosed`."""
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
        """Return the dispatcher of this event loop. Loops cannot share connections."""
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
            what = f"all {call.broken} samples got a 500, sent one by one,"
            error = self._unavailable(what, transport)
        if isinstance(error, RewardClientError):
            error.results = list(call.results)  # a copy, which late answers do not change
        if error is not None:
            raise error
        results = cast("list[ScoreResult]", call.results)
        protocol.complete(results)
        fingerprints = sorted({result.fingerprint for result in results})
        if len(fingerprints) > 1:
            logger.warning(
                "the results of one call have different fingerprints: %s from %s; do all servers "
                "have the same profiles and version?",
                fingerprints,
                self.urls,
            )
        return results

    def _unavailable(self, what: str, transport: Transport) -> RewardServerUnavailable:
        return RewardServerUnavailable(
            f"{what} within {self.timeout_s:g} s; {transport.failures()}. "
            "Is the server running (reward-server serve)? If so, raise timeout_s"
        )


class RemoteRewardClient:
    """Score samples from ordinary code and threads. It runs the asyncio client in its own thread.

    The arguments are those of `AsyncRemoteRewardClient`. Safe to share between threads; after a
    fork, the child starts a new thread.

    Example:
        >>> client = RemoteRewardClient("http://127.0.0.1:8700")  # doctest: +SKIP
        >>> sample = {"id": "1", "response": "It is 46.", "ground_truth": "46"}
        >>> client.score([sample], "math")[0].reward  # doctest: +SKIP
        1.0
    """

    def __init__(
        self, url: str | Sequence[str] | None = None, **options: Unpack[ClientOptions]
    ) -> None:
        self._use(AsyncRemoteRewardClient(url, **options))

    @classmethod
    def around(cls, remote: AsyncRemoteRewardClient) -> Self:
        """Return a client for ordinary code that shares this asyncio client."""
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
        """Return one result per sample, as `AsyncRemoteRewardClient.score` does."""
        return self._wait_for(
            self._remote.score(
                samples, profile, priority=priority, explain=explain, run=run, step=step
            )
        )

    def profiles(self) -> list[ProfileInfo]:
        """Return the server's profiles, as `AsyncRemoteRewardClient.profiles` does."""
        return self._wait_for(self._remote.profiles())

    def ready(self) -> bool:
        """Return whether at least one server is ready."""
        return self._wait_for(self._remote.ready())

    def as_trl_reward(self, profile: str = "math", **options: Unpack[TrlOptions]) -> TrlReward:
        """Return a TRL reward function, as `AsyncRemoteRewardClient.as_trl_reward` does."""
        if form_of_trl() == "async":
            return trl_reward(self._remote, profile, "async", **options)
        return trl_reward(self, profile, "sync", **options)

    def close(self) -> None:
        """Close the connections and end the thread; a later call starts new ones.

        Waiting calls in other threads raise `ClientClosed`.
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
            future.cancel()  # has an effect only if the caller was interrupted

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None or self._pid != os.getpid():
                self._loop, self._pid = asyncio.new_event_loop(), os.getpid()
                threading.Thread(target=_run, args=(self._loop,), daemon=True).start()
            return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    # The runner cancels unfinished calls at the end, so that no thread waits for them forever.
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.get_loop().run_forever()


def _urls(url: str | Sequence[str] | None) -> list[str]:
    given = url or os.environ.get("REWARD_URL") or DEFAULT_URL
    parts = given.split(",") if isinstance(given, str) else given
    urls = [part.strip().rstrip("/") for part in parts]
    for each in urls:
        if not each.startswith(("http://", "https://")):
            raise ValueError(f"a server's URL must start with http:// or https://, got {each!r}")
    return urls
