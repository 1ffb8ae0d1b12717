"""The tasks of an environment: the prompts of a file, scored by a profile.

A caller sees a task's index and prompt. Ground truth and metadata stay here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from touchstone_rewards.reward_server.schemas import (
    Sample,
    SampleResult,
    ScoreRequest,
)
from touchstone_rewards.reward_server.scoring.engine import Engine
from touchstone_rewards.reward_server.stored.prompt_rows import PromptRow

SPLIT = "train"
ScoreSamples = Callable[[list[Sample]], Awaitable[list[SampleResult]]]


class NoSuchTask(IndexError):
    """A caller named a task that is not there. The message says which there are."""


class Tasks(NamedTuple):
    """The rows, and what scores a response to one of them."""

    rows: Sequence[PromptRow]
    score: ScoreSamples

    def row(self, index: int) -> PromptRow:
        """Return a row by its index from 0.

        Raises:
            NoSuchTask: there is none.
        """
        if not 0 <= index < len(self.rows):
            raise NoSuchTask(f"task {index} is not there; tasks are 0 to {len(self.rows) - 1}")
        return self.rows[index]

    async def scored(self, index: int, response: str) -> SampleResult:
        """Return the verdict on one response to a task."""
        [result] = await self.score([self.row(index).sample("0", response)])
        return result

    async def group_scored(self, index: int, responses: Sequence[str]) -> list[SampleResult]:
        """Return the verdicts on responses to a task, scored together as one group."""
        row = self.row(index)
        samples = [row.sample(str(at), response) for at, response in enumerate(responses)]
        for sample in samples:
            sample.group_id = str(index)
        return await self.score(samples)


def scored_by(engine: Engine, profile: str) -> ScoreSamples:
    """Return what scores samples by this profile. The groups that it is given are whole."""

    async def score(samples: list[Sample]) -> list[SampleResult]:
        answer = await engine.score(ScoreRequest(samples, profile), gather=False)
        return answer.results

    return score


def reason(result: SampleResult) -> str:
    """Return why a sample has no reward."""
    error = result.error
    return f"{error.code}: {error.message}" if error else "no reward"
