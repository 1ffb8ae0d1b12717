"""OpenEnv: `reset` returns a prompt, `step` scores the response and ends the episode.

`reset(index=3)` chooses a task, `reset(seed=3)` draws one; without either, episodes go through the
tasks in order. If a response could not be scored, its reward is null and the observation's
`metadata` has the reason.

Source: openenv 0.10.0, openenv/core/env_server/interfaces.py.
"""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Iterator
from typing import Any

from openenv.core.env_server import Action, Environment, Observation, State, create_fastapi_app

from touchstone_rewards.reward_server.environments.tasks import SPLIT, Tasks, reason

MOST_SESSIONS = 1024


class ResponseAction(Action):
    """The action: the whole response."""

    response: str


class PromptObservation(Observation):
    """The prompt of a task. After a step it also has `reward` and `done`."""

    prompt: str = ""
    index: int = 0


class ProfileEpisode(Environment[ResponseAction, PromptObservation, State]):
    """The episodes of one session. An episode is a prompt, one response and a reward."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, tasks: Tasks, order: Iterator[int]) -> None:
        super().__init__()
        self.tasks = tasks
        self.order = order
        self.index: int | None = None
        self.episode = State(episode_id=None, step_count=0)

    def reset(
        self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any
    ) -> PromptObservation:
        """Begin an episode with task `index`, a task drawn by `seed`, or the next task."""
        index = kwargs.get("index")
        if index is None and seed is not None:
            index = random.Random(seed).randrange(len(self.tasks.rows))
        if index is None:
            index = next(self.order) % len(self.tasks.rows)
        row = self.tasks.row(index)
        self.index = index
        self.episode = State(episode_id=episode_id or uuid.uuid4().hex, step_count=0)
        return PromptObservation(prompt=row.question, index=index)

    def step(
        self, action: ResponseAction, timeout_s: float | None = None, **kwargs: Any
    ) -> PromptObservation:
        """Raise NotImplementedError: scoring is asynchronous, so call `step_async`."""
        raise NotImplementedError("scoring is asynchronous: call step_async")

    async def step_async(
        self, action: ResponseAction, timeout_s: float | None = None, **kwargs: Any
    ) -> PromptObservation:
        """Score the response, and end the episode."""
        if self.index is None:
            raise ValueError("no episode has begun: call reset first")
        index, self.index = self.index, None
        result = await self.tasks.scored(index, action.response)
        self.episode.step_count += 1
        error = None if result.reward is not None else reason(result)
        return PromptObservation(
            prompt=self.tasks.row(index).question,
            index=index,
            done=True,
            reward=result.reward,
            metadata={"scores": result.scores, "error": error},
        )

    @property
    def state(self) -> State:
        """Return the episode's id and the number of its steps."""
        return self.episode

    def list_splits(self) -> list[str]:
        """Return the names of the splits: there is one."""
        return [SPLIT]

    def num_tasks(self, split: str) -> int:
        """Return how many tasks there are."""
        return len(self.tasks.rows)

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        """Return a task's index and prompt."""
        return {"index": index, "prompt": self.tasks.row(index).question}


def openenv_application(tasks: Tasks, name: str) -> Any:
    """Return an ASGI application that serves the tasks as an OpenEnv environment."""
    order = itertools.count()
    return create_fastapi_app(
        lambda: ProfileEpisode(tasks, order),
        ResponseAction,
        PromptObservation,
        max_concurrent_envs=MOST_SESSIONS,
        env_name=name,
    )
