"""Run the cascades of a request: fill the columns of scorers that wait for others.

A column holds `NOT_ASKED` where its scorer did not run. The results then record which scorer
decided, and the numbers count how often each scorer ran and could tell.
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
    """Return a column for each of `keys`, filled as soon as the columns it waits for are there."""
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
    """Record in the results which scorer decided and, with `explain`, which ran and why. Return the
    numbers, limited to scores of scorers that ran, with counts of how often each could tell."""
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
