"""TRL's reward function, made of a client. Our own trainer uses the same one.

In: what TRL passes (prompts, completions, dataset columns). Out: one reward a completion. What
becomes of a missing reward depends on TRL's version, because only TRL 1.6 and newer leaves it out:
see `missing.py`. A training that could only go wrong is stopped: see `TrlOptions`.

Source: `GRPOTrainer._calculate_rewards` and `_generate_and_score_completions` in
trl/trainer/grpo_trainer.py of trl 0.24.0, 1.5.1, 1.6.0 and 1.16.0.
"""

from __future__ import annotations

import difflib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol, TypedDict, Unpack, get_args

from touchstone_rewards.clients import preflight
from touchstone_rewards.clients.adapters import missing
from touchstone_rewards.clients.adapters.alarms import AlarmHook, OnAlarm
from touchstone_rewards.clients.adapters.missing import Counts, FailureWatch, OnMissing
from touchstone_rewards.clients.adapters.trl_columns import (
    ChatOrText,
    DatasetColumns,
    check_columns,
    check_route,
    samples_of,
    step_of,
)
from touchstone_rewards.clients.errors import (
    MalformedAnswer,
    RewardServerUnavailable,
    UnknownProfile,
)
from touchstone_rewards.clients.results import ScoreResult
from touchstone_rewards.reward_server.schemas import Priority, ProfileInfo, Sample, is_readable

logger = logging.getLogger(__name__)

OnResults = Callable[[list[Sample], list[ScoreResult | None]], None]
Log = Callable[[str, float], None]


class AsyncScoring(Protocol):
    """The part of `AsyncRemoteRewardClient` that is used here."""

    def score(
        self,
        samples: list[Sample],
        profile: str,
        *,
        priority: Priority,
        explain: bool,
        run: str | None = None,
        step: int | None = None,
    ) -> Awaitable[list[ScoreResult]]: ...

    def profiles(self) -> Awaitable[list[ProfileInfo]]: ...


class Scoring(Protocol):
    """The part of `RemoteRewardClient` that is used here."""

    def score(
        self,
        samples: list[Sample],
        profile: str,
        *,
        priority: Priority,
        explain: bool,
        run: str | None = None,
        step: int | None = None,
    ) -> list[ScoreResult]: ...

    def profiles(self) -> list[ProfileInfo]: ...


class TrlReward(Protocol):
    """What TRL calls, and whose name it logs; it awaits what comes if that is to be awaited."""

    __name__: str

    def __call__(
        self, prompts: Sequence[ChatOrText], completions: Sequence[ChatOrText], **columns: Any
    ) -> Any: ...


class TrlOptions(TypedDict, total=False):
    """What can be chosen for a TRL reward function."""

    ground_truth_column: str | None
    """The dataset column with the reference answers; "ground_truth" if not given, None for none."""
    id_column: str
    """The column with the rows' ids; "id" if not given. Without one, the prompt's hash."""
    signals_column: str
    """The column with the rows' signals; "signals" if not given."""
    metadata_columns: Sequence[str] | None
    """Columns that travel as the samples' metadata; if not given, all that have no other meaning,
    where the profile reads metadata. The one that decides a profile's route travels in any case."""
    on_missing: OnMissing | None
    """What TRL gets for a missing reward: None ("leave_out", from TRL 1.6 on, where it is the
    default), an exception ("raise", the default before), or its group's mean ("group_mean")."""
    max_failed_frac: float
    """The share of a batch's rewards that may fail before the batch is a bad one; 0.25."""
    failed_steps_patience: int
    """Bad batches in a row after which the training is stopped; 3."""
    preflight: bool
    """Score known-right and known-wrong answers to the first rows first, and raise if they get the
    same reward; True."""
    checked_before: bool
    """Server, profile and columns were checked before: a failure of the first batch is an outage
    like any later one; False."""
    on_results: OnResults
    """Called with every sample and its result, None for those that got no answer."""
    on_samples: Callable[[list[Sample]], None]
    """Called with the samples before they are sent; it may change their ids."""
    gather: Callable[[Counts], Sequence[Counts]]
    """Gives the failures of all ranks for those of one: all ranks then stop together."""
    priority: Priority | Callable[[], Priority]
    """"train" if not given. Batches with "eval" stop no training."""
    explain: bool
    run: str | None
    """The training's name for the server's watch, the same on all ranks; without one the server
    tells this training no alarms."""
    on_alarm: OnAlarm | None
    """What is done about an alarm of the watch: "log", "stop", or a function that is called with
    it; "log" if not given."""


@dataclass(frozen=True)
class Chosen:
    """`TrlOptions` with their defaults."""

    ground_truth_column: str | None = "ground_truth"
    id_column: str = "id"
    signals_column: str = "signals"
    metadata_columns: Sequence[str] | None = None
    on_missing: OnMissing | None = None
    max_failed_frac: float = 0.25
    failed_steps_patience: int = 3
    preflight: bool = True
    checked_before: bool = False
    on_results: OnResults | None = None
    on_samples: Callable[[list[Sample]], None] | None = None
    gather: Callable[[Counts], Sequence[Counts]] | None = None
    priority: Priority | Callable[[], Priority] = "train"
    explain: bool = False
    run: str | None = None
    on_alarm: OnAlarm | None = None

    def __post_init__(self) -> None:
        if isinstance(self.priority, str) and self.priority not in get_args(Priority):
            raise ValueError(f"priority is {self.priority!r}; say train or eval")


def options_of(given: Mapping[str, Any]) -> Chosen:
    """Return the options with their defaults.

    Raises:
        TypeError: an option that there is not; the message has the nearest that there is.
        ValueError: a value that cannot be.
    """
    known = [field.name for field in fields(Chosen)]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            meant = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
            raise TypeError(f"as_trl_reward has no option {name!r}{meant}")
    return Chosen(**given)


CallStyle = Literal["sync", "async"]


def form_of_trl() -> CallStyle:
    """Return how reward functions are called by the TRL that is installed: a coroutine function
    from 1.6 on, as by any caller where there is no TRL; an ordinary one before."""
    return "async" if missing.leaves_out(missing.installed_trl()) else "sync"


class Batches:
    """One reward function's memory: what it was told, what it has checked, what has failed."""

    def __init__(self, profile: str, given: Mapping[str, Any]) -> None:
        self.profile = profile
        self.options = options = options_of(given)
        self.on_missing: OnMissing = missing.chosen(options.on_missing, missing.installed_trl())
        named = [value for name, value in given.items() if name.endswith("_column")]
        self.columns = DatasetColumns(
            ground_truth=options.ground_truth_column,
            id=options.id_column,
            signals=options.signals_column,
            metadata=options.metadata_columns,
            named=frozenset([*named, *(options.metadata_columns or ())]),
        )
        self.watch = FailureWatch(
            profile, options.max_failed_frac, options.failed_steps_patience, options.gather
        )
        self.watch.any_reward = options.checked_before
        self.alarms = AlarmHook(options.run, options.on_alarm)
        self.info: ProfileInfo | None = None
        self.tried = not options.preflight

    @property
    def priority(self) -> Priority:
        """That of the batch at hand."""
        chosen = self.options.priority
        return chosen() if callable(chosen) else chosen

    def know(self, profiles: Sequence[ProfileInfo]) -> None:
        """Note what the server says of the profile.

        Raises:
            UnknownProfile: it has none of that name.
        """
        known = {info.name: info for info in profiles}
        if self.profile not in known:
            raise UnknownProfile(
                f"no profile {self.profile!r} on the server; it has {', '.join(known)}", status=404
            )
        self.info = known[self.profile]

    def samples(
        self,
        prompts: Sequence[ChatOrText],
        completions: Sequence[ChatOrText],
        given: Mapping[str, Any],
    ) -> list[Sample]:
        """Return the batch's samples.

        Raises:
            MissingColumn: the batch lacks a column.
        """
        info = self.info
        check_route(given, info.route if info else None, self.profile)
        check_columns(self.columns, given, info.needs if info else (), self.profile)
        samples = samples_of(prompts, completions, given, self.columns, info)
        if self.options.on_samples is not None:
            self.options.on_samples(samples)
        return samples

    def to_try(self, samples: Sequence[Sample], priority: Priority) -> list[Sample]:
        """Return the rows for the preflight: a few of the first training batch, each once. None
        when that was done, or for a profile that needs no ground truth."""
        if self.tried or priority != "train":
            return []
        self.tried = True
        if self.info is not None and "ground_truth" not in self.info.needs:
            return []
        rows: dict[str | None, Sample] = {}
        for each in samples:
            if each.ground_truth is not None and is_readable(each.ground_truth):
                rows.setdefault(each.group_id, each)
        return list(rows.values())[: preflight.ROWS]

    def survived(
        self, error: RewardServerUnavailable | MalformedAnswer, count: int
    ) -> list[ScoreResult | None]:
        """Return what had arrived when the server failed: an outage alone stops no training.

        Raises:
            RewardServerUnavailable, MalformedAnswer: no reward has come yet, so that this is no
                outage of a server that works; or a missing reward is to raise.
        """
        results = list(error.results) or [None] * count
        never = not self.watch.any_reward and self.watch.max_failed_frac < 1
        if self.on_missing == "raise" or (never and not any(results)):
            raise error
        logger.warning("some completions got no reward from %s: %s", self.profile, error)
        return results

    def rewards(
        self, samples: list[Sample], results: list[ScoreResult | None], priority: Priority
    ) -> list[float | None]:
        """Return what TRL gets.

        Raises:
            NoReward, TooManyFailures: as `missing.py` says.
            StoppedByAlarm: as `alarms.py` says.
        """
        if self.options.on_results is not None:
            self.options.on_results(samples, results)
        if priority == "train":
            self.watch.look(results)
            self.alarms.look(results)
        groups = [sample.group_id or sample.id for sample in samples]
        found = [None if result is None else result.reward for result in results]
        return missing.filled(found, groups, self.on_missing, missing.why_missing(results))


def trl_reward(
    scoring: AsyncScoring | Scoring, profile: str, form: CallStyle, **given: Unpack[TrlOptions]
) -> TrlReward:
    """Return a reward function for `GRPOTrainer(reward_funcs=...)` and its like.

    `form`: a coroutine function over an asyncio client, or an ordinary function over the other one.

    Raises:
        TypeError, ValueError: an option that there is not, or that this TRL does not allow.
    """
    batches = Batches(profile, given)

    async def reward(
        prompts: Sequence[ChatOrText], completions: Sequence[ChatOrText], **columns: Any
    ) -> list[float | None]:
        return await _rewards(_awaited(scoring, form), batches, prompts, completions, columns)

    def reward_sync(
        prompts: Sequence[ChatOrText], completions: Sequence[ChatOrText], **columns: Any
    ) -> list[float | None]:
        return _finished(reward(prompts, completions, **columns))

    found: Any = reward if form == "async" else reward_sync
    found.__name__ = found.__qualname__ = profile
    return found


async def _rewards(
    scoring: AsyncScoring,
    batches: Batches,
    prompts: Sequence[ChatOrText],
    completions: Sequence[ChatOrText],
    columns: Mapping[str, Any],
) -> list[float | None]:
    """One batch, from what TRL passes to what TRL gets."""
    if batches.info is None and not batches.options.checked_before:
        batches.know(await scoring.profiles())
    profile, priority = batches.profile, batches.priority
    samples = batches.samples(prompts, completions, columns)
    if rows := batches.to_try(samples, priority):
        prompt = rows[0].prompt
        forms = preflight.forms_for(prompt if isinstance(prompt, str) else "")
        trials = preflight.trial_samples(rows, forms)
        tried = await scoring.score(trials, profile, priority=priority, explain=True)
        logger.info(preflight.verdict(len(rows), tried, profile, forms))
    began_s = time.monotonic()
    explain = batches.options.explain
    named: dict[str, Any] = batches.alarms.names(step_of(columns))
    results: list[ScoreResult | None]
    try:
        results = [
            *await scoring.score(samples, profile, priority=priority, explain=explain, **named)
        ]
    except (RewardServerUnavailable, MalformedAnswer) as error:
        results = batches.survived(error, len(samples))
    if "log_metric" in columns:
        log_results(results, profile, columns["log_metric"], time.monotonic() - began_s)
    return batches.rewards(samples, results, priority)


class _Awaited:
    """An ordinary client whose calls are over when they return, for the code above to await."""

    def __init__(self, scoring: Scoring) -> None:
        self._scoring = scoring

    async def score(self, *what: Any, **how: Any) -> list[ScoreResult]:
        return self._scoring.score(*what, **how)

    async def profiles(self) -> list[ProfileInfo]:
        return self._scoring.profiles()


def _awaited(scoring: Any, form: CallStyle) -> AsyncScoring:
    return scoring if form == "async" else _Awaited(scoring)


def _finished(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing, without an event loop."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("an ordinary client waits by itself")


def mean_scores(results: Sequence[ScoreResult | None]) -> dict[str, float]:
    """Return each scorer's mean over the samples that it could score; those it never could are
    left out."""
    columns: dict[str, list[float]] = {}
    for result in results:
        for name, value in (result.scores if result else {}).items():
            if value is not None:
                columns.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in columns.items()}


def log_results(
    results: Sequence[ScoreResult | None], profile: str, log: Log, waited_s: float
) -> None:
    """Log each scorer's mean score, the share of completions without a reward, and the wait."""
    for name, mean in mean_scores(results).items():
        log(f"scores/{profile}/{name}", mean)
    failed = sum(result is None or result.reward is None for result in results)
    log(f"rewards_failed_frac/{profile}", failed / max(1, len(results)))
    log(f"rewards_wait_s/{profile}", waited_s)
