"""The Open Reward Standard: tasks, sessions and `score_group`, served by openreward's own server.

A session has one terminal tool, `submit`, which ends it. If the response could not be scored, the
reward is null and `metadata` has the reason.

Source: openreward 0.1.167, openreward/environments/server.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from openreward.environments import (
    Environment,
    GroupCandidate,
    GroupScore,
    JSONObject,
    Server,
    Split,
    TextBlock,
    ToolOutput,
    terminal,
    tool,
)
from pydantic import BaseModel

from touchstone_rewards.reward_server.environments.tasks import SPLIT, Tasks, reason
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import (
    Message,
    SampleResult,
)
from touchstone_rewards.reward_server.turn_texts import response_text


class Submission(BaseModel):
    """The argument of `submit`: the whole response."""

    response: str


def ors_application(tasks: Tasks, name: str) -> Any:
    """Return an ASGI application that serves the tasks as one environment of this name."""

    class ProfileEnvironment(Environment):
        """One session: a prompt, and one response to it."""

        @classmethod
        def name(cls) -> str:
            return name

        @classmethod
        def list_splits(cls) -> Sequence[Split | str]:
            return [Split(name=SPLIT, type="train")]

        @classmethod
        def list_tasks(cls, split: str) -> Sequence[JSONObject]:
            return [_task(tasks, index) for index in range(len(tasks.rows))]

        def get_prompt(self) -> list[TextBlock]:
            return [TextBlock(text=tasks.row(self._index()).question)]

        def _index(self) -> int:
            index = self.task_spec.get("index")
            if not isinstance(index, int):
                raise ConfigError(f"unknown task {self.task_spec}; expected a listed task")
            return index

        @terminal
        @tool
        async def submit(self, submission: Submission) -> ToolOutput:
            """Submit the response. This ends the session."""
            result = await tasks.scored(self._index(), submission.response)
            said = "scored" if result.reward is not None else f"not scored, {reason(result)}"
            return ToolOutput(
                blocks=[TextBlock(text=said)],
                reward=result.reward,
                finished=True,
                metadata=_metadata(result),
            )

        async def score_group(
            self, candidates: Sequence[GroupCandidate]
        ) -> Sequence[GroupScore | float]:
            responses = [_response(candidate) for candidate in candidates]
            results = await tasks.group_scored(self._index(), responses)
            return [_group_score(result) for result in results]

    return Server([ProfileEnvironment]).app


def _task(tasks: Tasks, index: int) -> JSONObject:
    return {"index": index, "prompt": tasks.row(index).question}


def _metadata(result: SampleResult) -> JSONObject:
    error = {"code": result.error.code, "message": result.error.message} if result.error else None
    return {"scores": dict(result.scores), "error": error}


def _group_score(result: SampleResult) -> GroupScore:
    """Return a candidate's score. ORS requires a number, so a missing reward raises."""
    if result.reward is None:
        raise RuntimeError(f"candidate {result.id} has no reward, {reason(result)}")
    return GroupScore(reward=result.reward, metadata=_metadata(result))


def _response(candidate: GroupCandidate) -> str:
    """Return the text of the candidate's last assistant message."""
    return response_text([Message(each.role, _text(each.blocks)) for each in candidate.messages])


def _text(blocks: Sequence[Any]) -> str:
    return "".join(block.text for block in blocks if isinstance(block, TextBlock))
