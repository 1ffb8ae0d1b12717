"""Try what a policy could write without solving the task, and see what it earns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from touchstone_rewards.reward_server.audit.forms import FORMS, stated
from touchstone_rewards.reward_server.audit.forms_tried import RightAnswers
from touchstone_rewards.reward_server.audit.report import StrategyOutcome
from touchstone_rewards.reward_server.audit.rows import AuditRow
from touchstone_rewards.reward_server.audit.scored import Scored, Scoring, score_all
from touchstone_rewards.reward_server.audit.shares import mean, mean_scores, share, shown
from touchstone_rewards.reward_server.audit.strategies import Strategy

SHOWN_EXAMPLES = 3
# Beside the profile's own form: a text that a profile may read otherwise.
SECOND_FORM = "sentence"


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
    scoring: Scoring, rows: Sequence[AuditRow], strategy: Strategy, right: RightAnswers
) -> tuple[StrategyOutcome, Scored] | None:
    """Score what the strategy writes for each row; None where it applies to no row.

    It counts as accepted where it earns at least what the row's right answer does; of rows that
    have none, where it earns at least the mean of right answers, or the most there is.
    """
    tried = [(row, text) for row in rows for text in texts_of(strategy, row, right.form)]
    if not tried:
        return None
    scored = await score_all(scoring, [row.sample(strategy.name, text) for row, text in tried])
    rewarded = [
        (row, text, result, result.reward)
        for (row, text), result in zip(tried, scored.results, strict=True)
        if result.reward is not None
    ]
    comparable = [each for each in rewarded if each[0].number in right.worth]
    accepted = [each for each in comparable if each[3] >= right.worth[each[0].number]]
    dearest = sorted(rewarded, key=lambda each: -each[3])[:SHOWN_EXAMPLES]
    outcome = StrategyOutcome(
        name=strategy.name,
        family=strategy.family,
        knows=strategy.knows,
        tried=len(tried),
        mean_reward=mean([each[3] for each in rewarded]),
        accepted=share(len(accepted), len(comparable)),
        unscored=len(tried) - len(rewarded),
        mean_scores=mean_scores(scored.results),
        ms_a_sample=scored.elapsed_ms / len(tried),
        examples=[shown(row, text, result) for row, text, result, _ in dearest],
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
