"""Run scorers that wait for a remote call: each sample is a task of the event loop.

Each sample gets a score or an error, in order. At most `max_in_flight` samples of a scorer run at a
time, over all requests; the others queue. A sample's deadline runs from the start of its call. When
it passes, the sample is answered and the call is cancelled; a call that ignores cancellation keeps
its slot until it ends. An error affects its own sample only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from touchstone_rewards.reward_server.caller import current
from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.pool.calls import GAVE_UP, NEVER_BEGUN, ran_out
from touchstone_rewards.reward_server.pool.failures import log_failure
from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import (
    Closing,
    ProvenFirst,
    RemoteScorer,
    Score,
    Scorer,
)
from touchstone_rewards.reward_server.scorers.returned import (
    MESSAGE_CHARS,
    WrongAnswer,
    checked_scores,
    failed,
    name_of,
    raised,
    trace_of,
)

logger = logging.getLogger(__name__)

# Time limits: for endpoints to pass their check at start, for a scorer to close connections.
PROOF_S = 30.0
CLOSE_S = 5.0


async def prove_endpoints(profiles: Mapping[str, Profile]) -> None:
    """Have the scorers of these profiles check their endpoints.

    Raises:
        ConfigError: an endpoint fails its check.
    """
    gives_up_at_s = asyncio.get_running_loop().time() + PROOF_S
    found = {id(scorer): scorer for _, scorer in proven_first(profiles)}
    await asyncio.gather(*(scorer.make_ready(gives_up_at_s) for scorer in found.values()))


def proven_first(profiles: Mapping[str, Profile]) -> list[tuple[str, ProvenFirst]]:
    """Return the scorers that check their endpoints at start, each with its profile and key."""
    return [
        (f"{profile.name}.{key}", scorer)
        for profile in profiles.values()
        for key, scorer in profile.scorers.items()
        if scorer.runs_in == "remote" and isinstance(scorer, ProvenFirst)
    ]


def built_scorers(profiles: Mapping[str, Profile]) -> dict[int, Scorer]:
    """Return the scorers of these profiles and those that they ask, each once, by `id`."""
    return {id(one): one for profile in profiles.values() for one in profile.built().values()}


async def close_connections(scorers: Iterable[Scorer]) -> None:
    """Have remote scorers that are no longer in use close their connections."""
    for scorer in scorers:
        if scorer.runs_in == "remote" and isinstance(scorer, Closing):
            try:
                async with asyncio.timeout(CLOSE_S):
                    await scorer.aclose()
            except Exception as error:  # noqa: BLE001 (a plug-in may raise anything)
                logger.warning("%s: not closed: %s", name_of(scorer), type(error).__name__)


class RemoteScorers:
    """The remote scorers of an engine. Call its methods from one event loop only.

    `deadline_s`: of one sample, unless its profile sets another.
    """

    def __init__(self, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self._turns: dict[tuple[str, int], asyncio.Semaphore] = {}
        self._calls: set[asyncio.Task[Score]] = set()

    async def score(
        self,
        key: str,
        scorer: RemoteScorer,
        samples: Sequence[Sample],
        *,
        explain: bool,
        give_up_at_s: float | None,
        deadline_s: float | None = None,
        max_in_flight: int | None = None,
        on_score: Callable[[int, Score], None] | None = None,
    ) -> list[Score]:
        """Return one score per sample, in order; `key` is that of the scorer's spec.

        `deadline_s` and `max_in_flight` override the defaults if the profile sets them. `on_score`
        is called with the index and score of each sample as soon as it is known.
        """
        most = max_in_flight or scorer.max_in_flight
        turns = self._turns.setdefault((key, most), asyncio.Semaphore(most))
        begun: list[asyncio.Future[Score]] = []
        try:
            for sample in samples:
                try:
                    async with asyncio.timeout_at(give_up_at_s):
                        await turns.acquire()
                except TimeoutError:
                    break
                about = explain, give_up_at_s, deadline_s or self.deadline_s
                verdict = self._begin(scorer, sample, turns, *about)
                if on_score is not None:
                    verdict.add_done_callback(partial(_tell, on_score, len(begun)))
                begun.append(verdict)
            # One await is cheaper than a gather, which is needed so that `on_score` runs in time.
            only = len(begun) == 1
            found = [await begun[0]] if only else list(await asyncio.gather(*begun))
        finally:
            for verdict in begun:
                verdict.cancel()
        return found + [NEVER_BEGUN] * (len(samples) - len(found))

    def _begin(
        self,
        scorer: RemoteScorer,
        sample: Sample,
        turns: asyncio.Semaphore,
        explain: bool,
        give_up_at_s: float | None,
        deadline_s: float,
    ) -> asyncio.Future[Score]:
        """Begin the call for one sample; return a future that is resolved by the deadline."""
        loop = asyncio.get_running_loop()
        ends_at_s, late = loop.time() + deadline_s, ran_out(deadline_s)
        if give_up_at_s is not None and give_up_at_s < ends_at_s:
            ends_at_s, late = give_up_at_s, GAVE_UP
        verdict: asyncio.Future[Score] = loop.create_future()
        call = loop.create_task(_ask(scorer, sample, explain, ends_at_s))
        self._calls.add(call)

        def come_to_an_end(_: object) -> None:
            turns.release()
            timer.cancel()
            self._calls.discard(call)
            if not verdict.done():
                cancelled = failed(f"scorer {name_of(scorer)} cancelled its own call")
                verdict.set_result(cancelled if call.cancelled() else call.result())

        def run_out() -> None:
            if not verdict.done():
                verdict.set_result(late)
            call.cancel()

        timer = loop.call_at(ends_at_s, run_out)
        call.add_done_callback(come_to_an_end)
        verdict.add_done_callback(lambda _: call.cancel() if verdict.cancelled() else None)
        return verdict


def _tell(on_score: Callable[[int, Score], None], at: int, verdict: asyncio.Future[Score]) -> None:
    if not verdict.cancelled():
        on_score(at, verdict.result())


async def _ask(scorer: RemoteScorer, sample: Sample, explain: bool, ends_at_s: float) -> Score:
    """Return the score of one sample, or its error."""
    try:
        given = await scorer.score([sample], explain=explain, give_up_at_s=ends_at_s)
        return checked_scores(scorer, given, 1)[0]
    except asyncio.CancelledError:
        raise
    # A scorer call: its exception fails this sample only, and its `sys.exit` ends nothing.
    except BaseException as error:  # noqa: BLE001
        if not isinstance(error, WrongAnswer):
            log_failure(name_of(scorer), trace_of(error), current())
        if isinstance(error, OSError):  # a connection error or time-out: the upstream is down
            message = f"scorer {name_of(scorer)} got no answer: {type(error).__name__}: {error}"
            return Score(error=sample_error("upstream_failed", message[:MESSAGE_CHARS]))
        return raised(scorer, error)
