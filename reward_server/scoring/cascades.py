"""Cascades of a request: columns that wait for others, asked for some samples, and what came of it.

In: a profile with cascades, a request, how a column is filled. Out: a column for each scorer, with
`NOT_ASKED` where it was not asked; then results that say who decided, and counts.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence

from msgspec.structs import replace

from touchstone_rewards.reward_server.cascades import NOT_ASKED, Cascades, Counted
from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.schemas import SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.telemetry.tallies import Columns

FillColumn = Callable[[str, ScoreRequest], Coroutine[None, None, list[Score]]]


async def cascaded(
    cascades: Cascades, keys: Sequence[str], request: ScoreRequest, fill: FillColumn
) -> list[list[Score]]:
    """Return a column for each of `keys`, each filled as soon as those are that it waits for."""
    tasks: dict[str, asyncio.Task[list[Score]]] = {}

    async def column(key: str) -> list[Score]:
        if key not in cascades.when:
            return await fill(key, request)
        known = {each: await tasks[each] for each in cascades.when[key]}
        found = cascades.asked(key, known)
        places = [at for at, score in enumerate(found) if score is None]
        samples = [request.samples[at] for at in places]
        scores = await fill(key, replace(request, samples=samples)) if samples else []
        asked = iter(scores)
        return [next(asked) if score is None else score for score in found]

    try:
        for key in cascades.order:
            if key in keys:
                tasks[key] = asyncio.ensure_future(column(key))
        await asyncio.gather(*tasks.values())
        return [tasks[key].result() for key in keys]
    finally:
        for task in tasks.values():
            task.cancel()


def noted(
    profile: Profile,
    columns: Mapping[str, Sequence[Score]],
    counted: Counted,
    results: Sequence[SampleResult],
    numbers: Columns,
    *,
    explain: bool,
) -> Columns:
    """Say in the results who decided, with `explain` who was asked and why; return the numbers with
    the scores that were asked for, and how often each scorer was asked and could tell."""
    assert profile.cascades is not None
    for at, result in enumerate(results):
        result.decided_by = {key: by[at] for key, by in counted.decided_by.items()}
    scores, outcomes = dict(numbers.scores), Counter[tuple[str, str]]()
    for key in profile.cascades.when:
        scores[key] = [score.value for score in columns[key] if score is not NOT_ASKED]
        tally = Counter(map(_outcome, columns[key]))
        outcomes.update({(key, outcome): count for outcome, count in tally.items()})
        for at, result in enumerate(results if explain else ()):
            said = profile.cascades.because(key, columns, at)
            assert result.explanation is not None
            result.explanation[key] = said | (result.explanation[key] or {})
    return numbers._replace(scores=scores, cascades=outcomes)


def _outcome(score: Score) -> str:
    if score is NOT_ASKED:
        return "not_asked"
    if score.undecided is not None:
        return "undecided"
    return "failed" if score.value is None else "decided"
