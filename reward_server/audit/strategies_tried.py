"""Score the texts of each strategy and see how much they earn."""

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
# Tried besides the profile's own form, because a profile may read it differently.
SECOND_FORM = "sentence"


class Attempt(NamedTuple):
    """The text by which a strategy earned most on a row."""

    row: AuditRow
    text: str
    result: SampleResult
    reward: float


def texts_of(strategy: Strategy, row: AuditRow, form: str) -> Iterator[str]:
    """Return the strategy's texts for a row, one per applicable form.

    The result is empty if the strategy does not apply or writes an accepted answer.
    """
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
    """Score the strategy on each row; return None if it applies to no row.

    The form that earns most counts. It is accepted if it earns at least as much as the right
    answer.
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
    """Sort by the share accepted, then by the mean reward, both descending."""
    return sorted(
        outcomes,
        key=lambda each: (
            -each.accepted.share,
            math.inf if each.mean_reward is None else -each.mean_reward,
        ),
    )
