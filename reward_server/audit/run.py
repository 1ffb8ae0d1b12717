"""Run one audit, from the rows to the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from touchstone_rewards import __version__
from touchstone_rewards.reward_server.audit.combination import combination, flat_groups
from touchstone_rewards.reward_server.audit.data import data_findings
from touchstone_rewards.reward_server.audit.disagreements import (
    Logged,
    ToLabel,
    agreement,
    disagreements,
)
from touchstone_rewards.reward_server.audit.forms_tried import RightAnswers, try_forms
from touchstone_rewards.reward_server.audit.labelled import Labelled, error_rates
from touchstone_rewards.reward_server.audit.report import AuditCost, AuditReport, StrategyOutcome
from touchstone_rewards.reward_server.audit.rewritings import try_rewritings
from touchstone_rewards.reward_server.audit.rows import AuditRow
from touchstone_rewards.reward_server.audit.scored import AuditedProfile, ScoredBatch, score_all
from touchstone_rewards.reward_server.audit.strategies import STRATEGIES, Strategy
from touchstone_rewards.reward_server.audit.strategies_tried import (
    by_danger,
    texts_of,
    try_strategy,
)
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import Sample

THRESHOLDS: Mapping[str, str] = {
    "accepted": "largest share accepted of any strategy",
    "refused": "largest share refused of any rewriting in the profile's form",
    "unscored": "share of rows whose right answer is not scored",
    "false_positive": "share of samples labeled wrong that pass as right",
    "false_negative": "share of samples labeled right that are rejected as wrong",
}
# Number of rows on which the slowest strategy is timed sample by sample.
WORST_OF_ROWS = 16
DEFAULT_THRESHOLDS: Mapping[str, float] = {"accepted": 0.02, "unscored": 0.05}


@dataclass(frozen=True)
class AuditInput:
    """Input of an audit.

    `samples`: responses of a start model, in groups. `other_name`: a second profile that scores the
    logged samples, in place of the logged verdicts.
    """

    profile: str
    source: Path
    rows_in_file: int
    rows: Sequence[AuditRow]
    strategies: Sequence[Strategy] = STRATEGIES
    labelled: Sequence[Labelled] = ()
    logged: Sequence[Logged] = ()
    samples: Sequence[Sample] = ()
    other_name: str | None = None
    thresholds: Mapping[str, float] = field(default_factory=lambda: DEFAULT_THRESHOLDS)


async def audit(
    scoring: AuditedProfile,
    given: AuditInput,
    other: AuditedProfile | None = None,
    advance: Callable[[], None] = lambda: None,
) -> tuple[AuditReport, list[ToLabel]]:
    """Return the report, and the samples most worth labeling.

    Raises:
        ConfigError: no row could be scored.
        RunFailed: the server did not answer.
    """
    right = await try_forms(scoring, given.rows)
    advance()
    _refuse_nothing_scored(right)
    report = AuditReport(
        given.profile,
        right.scored.fingerprint,
        given.source.name,
        len(given.rows),
        given.rows_in_file,
        right.form,
        right.outcomes,
        thresholds=dict(given.thresholds),
        versions={"touchstone": __version__},
    )
    scored = [right.scored]
    outcomes: list[StrategyOutcome] = []
    for strategy in given.strategies:
        if tried := await try_strategy(scoring, given.rows, strategy, right):
            outcomes.append(tried[0])
            scored.append(tried[1])
        advance()
    report.strategies = by_danger(outcomes)
    report.rewritings, rewritten = await try_rewritings(scoring, given.rows, right)
    advance()
    report.cost = await _cost(scoring, given, right, [*scored, *rewritten], outcomes)
    report.data = data_findings(given.rows, right, scoring.profile)
    groups = None
    if given.samples:
        of_model = await score_all(scoring, given.samples)
        groups = flat_groups(given.samples, of_model.results)
    report.combination = combination(
        report.forms, right.form, report.strategies, scoring.profile, groups
    )
    if given.labelled:
        verdicts = await score_all(scoring, [each.sample for each in given.labelled])
        report.error_rates = error_rates(given.labelled, verdicts.results)
    to_label = await _disagreements(scoring, other, given, report)
    report.failed = _failed(report)
    return report, to_label


def _refuse_nothing_scored(right: RightAnswers) -> None:
    if right.worth or right.unearned:
        return
    errors = [each.error for each in right.scored.results if each.error is not None]
    why = f": {errors[0].code}, {errors[0].message}" if errors else ""
    raise ConfigError(
        f"no right answer got a reward{why}; an audit needs rows with a ground truth, or with "
        "a response of their own"
    )


async def _disagreements(
    scoring: AuditedProfile, other: AuditedProfile | None, given: AuditInput, report: AuditReport
) -> list[ToLabel]:
    if not given.logged:
        return []
    samples = [each.sample for each in given.logged]
    ours = (await score_all(scoring, samples)).results
    theirs = [each.result for each in given.logged]
    if other is not None:
        theirs = (await score_all(other, samples)).results
    to_label = disagreements(given.logged, ours, theirs)
    name = given.other_name or f"{given.logged[0].profile}, as logged"
    report.agreement = agreement(name, ours, theirs, len(to_label))
    return to_label


async def _cost(
    scoring: AuditedProfile,
    given: AuditInput,
    right: RightAnswers,
    scored: Sequence[ScoredBatch],
    outcomes: Sequence[StrategyOutcome],
) -> AuditCost:
    codes = Counter(
        result.error.code for each in scored for result in each.results if result.error is not None
    )
    samples = sum(len(each.results) for each in scored)
    slowest = max(outcomes, key=lambda each: each.ms_a_sample, default=None)
    timed = [each for each in given.strategies if slowest and each.name == slowest.name]
    worst_ms, worst_row = await _worst(scoring, given.rows, right.form, timed)
    return AuditCost(
        samples,
        sum(each.elapsed_ms for each in scored) / max(1, samples),
        slowest.name if slowest else "",
        slowest.ms_a_sample if slowest else 0.0,
        dict(codes),
        worst_ms,
        worst_row,
    )


async def _worst(
    scoring: AuditedProfile, rows: Sequence[AuditRow], form: str, timed: Sequence[Strategy]
) -> tuple[float, int]:
    """Return the longest time for a single sample of these strategies, and its row.

    Samples are timed alone because a batch has only one duration.
    """
    found = (0.0, 0)
    for strategy in timed:
        for row in rows[:WORST_OF_ROWS]:
            for text in texts_of(strategy, row, form):
                alone = await score_all(scoring, [row.sample(strategy.name, text)])
                found = max(found, (alone.elapsed_ms, row.number))
    return found


def _failed(report: AuditReport) -> list[str]:
    """Return one sentence for each threshold exceeded."""
    reached = {
        "accepted": [(each.name, each.accepted) for each in report.strategies],
        "refused": [
            (each.name, each.refused) for each in report.rewritings if each.kind == "spelling"
        ],
        "unscored": [(each.said, each.share) for each in report.data if each.kind == "unscored"],
        "false_positive": [
            (each.scorer, each.false_positive)
            for each in report.error_rates
            if (each.scorer, each.among) == ("reward", "all")
        ],
        "false_negative": [
            (each.scorer, each.false_negative)
            for each in report.error_rates
            if (each.scorer, each.among) == ("reward", "all")
        ],
    }
    return [
        f"{threshold}: {name}, {found.count} of {found.of} ({found.share:.1%}), "
        f"more than {most:.1%}"
        for threshold, most in report.thresholds.items()
        for name, found in reached[threshold]
        if found.share > most
    ]
