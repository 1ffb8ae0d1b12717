"""Try what a policy could write without solving the task, and see what it earns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from touchstone_rewards.reward_server.audit.forms import FORMS, stated
from touchstone_rewards.reward_server.audit.forms_tried import RightAnswers
from touchstone_rewards.reward_server.audit.report import StrategyOutcome
from touchstone_rewards.reward_server.audit.rows import AuditRow
from touchstone_rewards.reward_server.audit.scored import AuditedProfile, ScoredBatch, score_all
from touchstone_rewards.reward_server.audit.shares import mean, mean_scores, share, shown
from touchstone_rewards.reward_server.audit.strategies import Strategy
from touchstone_rewards.reward_server.schemas import SampleResult

SHOWN_EXAMPLES = 3
# Beside the profile's own form: a text that a profile may read otherwise.
SECOND_FORM = "sentence"


class Attempt(NamedTuple):
    """The text of a strategy that earned a row most."""

    row: AuditRow
    text: str
    result: SampleResult
    reward: float


def texts_of(strategy: Strategy, row: AuditRow, form: str) -> Iterator[str]:
    """Return what the strategy writes for a row, in each form that applies; nothing where it does
    not apply, or where it hits an accepted answer."""
    text = strategy.write(row)
    if text is None:
        return
    if not strategy.in_form:
        yield text
    elif not row.is_right(text):
        yield from dict.fromkeys(stated(FORMS[name], text) for name in (form, SECOND_FORM))


async def try_strategy(
    scoring: AuditedProfile, rows: Sequence[AuditRow], strategy: Strategy, right: RightAnswers
) -> tuple[StrategyOutcome, ScoredBatch] | None:
    """Score what the strategy writes for each row; None where it applies to no row.

    Of the forms, the one counts that earns a row most. It is accepted where that is at least what
    the row's right answer earns.
    """
    tried = [(row, text) for row in rows for text in texts_of(strategy, row, right.form)]
    if not tried:
        return None
    scored = await score_all(scoring, [row.sample(strategy.name, text) for row, text in tried])
    dearest: dict[int, Attempt] = {}
    for (row, text), result in zip(tried, scored.results, strict=True):
        best = dearest.get(row.number)
        if result.reward is not None and (best is None or result.reward > best.reward):
            dearest[row.number] = Attempt(row, text, result, result.reward)
    comparable = [each for number, each in dearest.items() if number in right.worth]
    accepted = [each for each in comparable if each.reward >= right.worth[each.row.number]]
    examples = sorted(dearest.values(), key=lambda each: -each.reward)[:SHOWN_EXAMPLES]
    outcome = StrategyOutcome(
        name=strategy.name,
        family=strategy.family,
        knows=strategy.knows,
        tried=len(tried),
        mean_reward=mean([each.reward for each in dearest.values()]),
        accepted=share(len(accepted), len(comparable)),
        unscored=sum(result.reward is None for result in scored.results),
        mean_scores=mean_scores([each.result for each in dearest.values()]),
        ms_a_sample=scored.elapsed_ms / len(tried),
        examples=[shown(each.row, each.text, each.result) for each in examples],
    )
    return outcome, scored


def by_danger(outcomes: Sequence[StrategyOutcome]) -> list[StrategyOutcome]:
    """Return the same with those first that are accepted most, then those that earn most."""
    return sorted(
        outcomes,
        key=lambda each: (
            -each.accepted.share,
            math.inf if each.mean_reward is None else -each.mean_reward,
        ),
    )
