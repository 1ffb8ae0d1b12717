"""TRL's reward function, made from a client. Touchstone's own trainer uses it too.

It takes TRL's prompts, completions and dataset columns, and returns one reward per completion. Only
TRL 1.6 and newer supports missing rewards; `missing.py` handles older versions. `TrlOptions`
describes when it stops a run.

Source: `GRPOTrainer._calculate_rewards` and `_generate_and_score_completions` in
trl/trainer/grpo_trainer.py of trl 0.24.0, 1.5.1, 1.6.0 and 1.16.0.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol, TypedDict, Unpack, get_args

from touchstone_rewards.clients import preflight
from touchstone_rewards.clients.adapters import missing
from touchstone_rewards.clients.adapters.alarms import AlarmHook, OnAlarm
from touchstone_rewards.clients.adapters.missing import Counts, FailureWatch, OnMissing
from touchstone_rewards.clients.adapters.options import unknown_option
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
    """The methods of `AsyncRemoteRewardClient` that are used here."""

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
    """The methods of `RemoteRewardClient` that are used here."""

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
    """A reward function for TRL, which logs its name and awaits its result if it is awaitable."""

    __name__: str

    def __call__(
        self, prompts: Sequence[ChatOrText], completions: Sequence[ChatOrText], **columns: Any
    ) -> Any: ...


class TrlOptions(TypedDict, total=False):
    """The options of a TRL reward function."""

    ground_truth_column: str | None
    """The column with the ground truths, or None for none. Default: "ground_truth"."""
    id_column: str
    """The column with the rows' ids. Default: "id", or the prompt's hash if there is none."""
    signals_column: str
    """The column with the rows' signals. Default: "signals"."""
    metadata_columns: Sequence[str] | None
    """The columns to send as metadata. Default: all without another meaning, if the profile reads
    metadata. The column that decides a profile's route is always sent."""
    on_missing: OnMissing | None
    """The handling of a missing reward: "leave_out" returns None (the default for TRL 1.6 and
    newer), "raise" raises (the default for older versions), "group_mean" returns its group's mean.
    """
    max_failed_frac: float
    """The share of a batch's rewards that may be missing. Default: 0.25."""
    failed_steps_patience: int
    """The number of consecutive batches above that share that stops the run. Default: 3."""
    preflight: bool
    """Score right and wrong answers to the first rows before training, and raise if they get the
    same reward. Default: True."""
    checked_before: bool
    """Whether server, profile and columns were checked before, so that a failure of the first batch
    counts as an outage. Default: False."""
    on_results: OnResults
    """Called with the samples and their results; None for samples without an answer."""
    on_samples: Callable[[list[Sample]], None]
    """Called with the samples before they are sent. It may change their ids."""
    gather: Callable[[Counts], Sequence[Counts]]
    """Collects the counts of all ranks, so that all ranks stop together."""
    priority: Priority | Callable[[], Priority]
    """Batches with the priority "eval" do not count as failed batches. Default: "train"."""
    explain: bool
    """Request explanations for `on_results`. Default: False."""
    run: str | None
    """The name of the run for the server's watch, the same on all ranks. Without it, the server
    sends no alarms."""
    on_alarm: OnAlarm | None
    """The reaction to an alarm: "log", "stop", or a function to call with it. Default: "log"."""


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
            raise ValueError(f"priority is {self.priority!r}; expected 'train' or 'eval'")


def options_of(given: Mapping[str, Any]) -> Chosen:
    """Return the options with their defaults.

    Raises:
        TypeError: an unknown option; the message suggests a similar one.
        ValueError: an invalid value.
    """
    known = [field.name for field in fields(Chosen)]
    for name in given:
        if name not in known:
            raise unknown_option("as_trl_reward", name, known)
    return Chosen(**given)


CallStyle = Literal["sync", "async"]


def form_of_trl() -> CallStyle:
    """Return "async" for TRL 1.6 or newer, or without TRL; "sync" for older versions."""
    return "async" if missing.leaves_out(missing.installed_trl()) else "sync"


class Batches:
    """The state of one reward function: its options, the checks done, and the failures so far."""

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
        """The priority of the current batch."""
        chosen = self.options.priority
        return chosen() if callable(chosen) else chosen

    def know(self, profiles: Sequence[ProfileInfo]) -> None:
        """Store the server's description of the profile.

        Raises:
            UnknownProfile: the server has no profile of this name.
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
        """Return a few different rows of the first training batch for the preflight. Return none if
        it was done before or the profile needs no ground truth."""
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
        """Return the results that arrived before the server failed, because one outage does not
        stop a run.

        Raises:
            RewardServerUnavailable, MalformedAnswer: no reward has ever arrived, or `on_missing` is
                "raise".
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
        """Return the rewards for TRL.

        Raises:
            NoReward, TooManyFailures: as in `missing.py`.
            StoppedByAlarm: as in `alarms.py`.
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
    """Return a reward function for `GRPOTrainer(reward_funcs=...)` and similar trainers.

    `form`: "async" makes a coroutine function from an asyncio client, "sync" an ordinary function
    from a client for ordinary code.

    Raises:
        TypeError, ValueError: an unknown option, or a value that the installed TRL does not allow.
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
    """Return the rewards of one batch."""
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
    """Gives a client for ordinary code the asynchronous interface that `_rewards` awaits."""

    def __init__(self, scoring: Scoring) -> None:
        self._scoring = scoring

    async def score(self, *what: Any, **how: Any) -> list[ScoreResult]:
        return self._scoring.score(*what, **how)

    async def profiles(self) -> list[ProfileInfo]:
        return self._scoring.profiles()


def _awaited(scoring: Any, form: CallStyle) -> AsyncScoring:
    return scoring if form == "async" else _Awaited(scoring)


def _finished(work: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that never suspends, without an event loop."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("a client for ordinary code never suspends")


def mean_scores(results: Sequence[ScoreResult | None]) -> dict[str, float]:
    """Return each scorer's mean over the samples that it scored; a scorer without scores is
    omitted."""
    columns: dict[str, list[float]] = {}
    for result in results:
        for name, value in (result.scores if result else {}).items():
            if value is not None:
                columns.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in columns.items()}


def log_results(
    results: Sequence[ScoreResult | None], profile: str, log: Log, waited_s: float
) -> None:
    """Log each scorer's mean score, the share of missing rewards, and the time waited."""
    for name, mean in mean_scores(results).items():
        log(f"scores/{profile}/{name}", mean)
    failed = sum(result is None or result.reward is None for result in results)
    log(f"rewards_failed_frac/{profile}", failed / max(1, len(results)))
    log(f"rewards_wait_s/{profile}", waited_s)
