"""The tasks of an environment: the rows of a file, scored by one profile.

A caller sees a task's index and prompt, never its ground truth or metadata.
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
    """An unknown task index. The message gives the valid ones."""


class Tasks(NamedTuple):
    """The rows, and the function that scores responses to them."""

    rows: Sequence[PromptRow]
    score: ScoreSamples

    def row(self, index: int) -> PromptRow:
        """Return a row by its index from 0.

        Raises:
            NoSuchTask: there is no such row.
        """
        if not 0 <= index < len(self.rows):
            raise NoSuchTask(f"no task {index}; expected 0 to {len(self.rows) - 1}")
        return self.rows[index]

    async def scored(self, index: int, response: str) -> SampleResult:
        """Return the result of one response to a task."""
        [result] = await self.score([self.row(index).sample("0", response)])
        return result

    async def group_scored(self, index: int, responses: Sequence[str]) -> list[SampleResult]:
        """Return the results of several responses to a task, scored as one group."""
        row = self.row(index)
        samples = [row.sample(str(at), response) for at, response in enumerate(responses)]
        for sample in samples:
            sample.group_id = str(index)
        return await self.score(samples)


def scored_by(engine: Engine, profile: str) -> ScoreSamples:
    """Return a function that scores samples with this profile. It expects complete groups."""

    async def score(samples: list[Sample]) -> list[SampleResult]:
        answer = await engine.score(ScoreRequest(samples, profile), gather=False)
        return answer.results

    return score


def reason(result: SampleResult) -> str:
    """Return why a sample has no reward."""
    error = result.error
    return f"{error.code}: {error.message}" if error else "no reward"
