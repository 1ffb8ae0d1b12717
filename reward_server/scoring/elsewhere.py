"""Score a request in another process of the same server, which holds state kept only once.

It returns the answer of the other process, which has already counted it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from touchstone_rewards.reward_server.caller import current
from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.schemas import ScoreRequest, ScoreResponse


class ScoreElsewhere(Protocol):
    """A call that has another process score a request; see `Engine.score`."""

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
    """Return the other process's answer, and record it for this process's log.

    Raises:
        RequestError: the other process raised it; `NotReady` while that process restarts.
    """
    answer = await elsewhere(request, observed=observed, gather=gather)
    served = current()
    served.samples += len(request.samples)
    codes = [result.error.code for result in answer.results if result.error is not None]
    served.note(answer.profile, request.samples, answer.results, codes)
    return answer
