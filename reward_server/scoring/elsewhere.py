"""What another process of the same server scores, because it keeps what there may be once.

In: a request for such a profile. Out: the answer that the other process gave and counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from touchstone_rewards.reward_server.caller import current
from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.schemas import ScoreRequest, ScoreResponse


class ScoreElsewhere(Protocol):
    """Has another process score a request; see `Engine.score`."""

    async def __call__(
        self, request: ScoreRequest, *, observed: bool, gather: bool
    ) -> ScoreResponse: ...


def served_here(
    profiles: Mapping[str, Profile], elsewhere: ScoreElsewhere | None
) -> dict[str, Profile]:
    """Return the profiles that this process scores itself."""
    return {
        name: profile
        for name, profile in profiles.items()
        if elsewhere is None or not profile.kept_once
    }


async def score_elsewhere(
    elsewhere: ScoreElsewhere, request: ScoreRequest, *, observed: bool, gather: bool
) -> ScoreResponse:
    """Return the other process's answer, and note it for the log of this one.

    Raises:
        RequestError: what the other process raised; `NotReady` where it is being started again.
    """
    answer = await elsewhere(request, observed=observed, gather=gather)
    served = current()
    served.samples += len(request.samples)
    codes = [result.error.code for result in answer.results if result.error is not None]
    served.note(answer.profile, request.samples, answer.results, codes)
    return answer
