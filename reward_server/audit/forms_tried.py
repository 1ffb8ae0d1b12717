"""Find the form that a profile wants by scoring right answers in every form.

The largest reward of a row in any form is the worth of its right answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from touchstone_rewards.reward_server.audit.forms import FORMS, stated
from touchstone_rewards.reward_server.audit.report import FormOutcome
from touchstone_rewards.reward_server.audit.rows import AuditRow
from touchstone_rewards.reward_server.audit.scored import AuditedProfile, ScoredBatch, score_all
from touchstone_rewards.reward_server.audit.shares import mean, mean_scores, share
from touchstone_rewards.reward_server.schemas import SampleResult

OWN, EMPTY = "the row's own response", "empty"
Tried = tuple[str, AuditRow, str]


class RightAnswers(NamedTuple):
    """Rewards of right answers.

    `form`: the form in which they earn most. `worth`: by row number, the largest reward of its
    right answer, for rows where it exceeds that of an empty response. `unearned`: the other rows
    with a reward.
    """

    form: str
    worth: Mapping[int, float]
    unearned: list[AuditRow]
    outcomes: list[FormOutcome]
    scored: ScoredBatch


async def try_forms(scoring: AuditedProfile, rows: Sequence[AuditRow]) -> RightAnswers:
    """Score each row's right answer in every form, and its own response if it has one."""
    tried: list[Tried] = [
        (name, row, stated(form, row.answer))
        for name, form in FORMS.items()
        for row in rows
        if row.answer
    ]
    tried += [(OWN, row, row.response) for row in rows if row.response]
    tried += [(EMPTY, row, "") for row in rows]
    scored = await score_all(scoring, [row.sample(name, text) for name, row, text in tried])
    best, floor = _best(tried, scored.results)
    worth = {
        number: reward for number, reward in best.items() if reward > floor.get(number, -math.inf)
    }
    by_form: dict[str, list[tuple[AuditRow, SampleResult]]] = {}
    for (name, row, _), result in zip(tried, scored.results, strict=True):
        by_form.setdefault(name, []).append((row, result))
    outcomes = [_outcome(name, of, best) for name, of in by_form.items() if name != EMPTY]
    usable = [each for each in outcomes if each.name in FORMS and each.mean_reward is not None]
    form = max(usable, key=lambda each: each.mean_reward or 0.0, default=None)
    unearned = [row for row in rows if row.number in best and row.number not in worth]
    return RightAnswers(form.name if form else "bare", worth, unearned, outcomes, scored)


def _best(
    tried: Sequence[Tried], results: Sequence[SampleResult]
) -> tuple[dict[int, float], dict[int, float]]:
    """Return, by row number, the largest reward of a right answer and that of an empty response."""
    best: dict[int, float] = {}
    floor: dict[int, float] = {}
    for (name, row, _), result in zip(tried, results, strict=True):
        if result.reward is None:
            continue
        into = floor if name == EMPTY else best
        into[row.number] = max(into.get(row.number, result.reward), result.reward)
    return best, floor


def _outcome(
    name: str, of: Sequence[tuple[AuditRow, SampleResult]], best: Mapping[int, float]
) -> FormOutcome:
    rewards = [(row, result.reward) for row, result in of if result.reward is not None]
    less = sum(reward < best[row.number] for row, reward in rewards)
    return FormOutcome(
        name,
        mean([reward for _, reward in rewards]),
        mean_scores([result for _, result in of]),
        share(less, len(rewards)),
        len(of) - len(rewards),
    )
