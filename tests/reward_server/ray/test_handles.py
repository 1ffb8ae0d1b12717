"""Calls of replicas end at their deadline, and are cancelled when their caller has gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Generator
from typing import Any

import pytest

from tests.waiting import PATIENCE_S
from touchstone_rewards.reward_server.schemas import Sample, SampleError
from touchstone_rewards.reward_server.scorers.base import Score, ScorerSpec

handles = pytest.importorskip(
    "touchstone_rewards.reward_server.ray.handles",
    reason="Ray is not installed: pip install '.[ray]' in the checkout",
)
SPECS = {"math {}": ScorerSpec("math", {})}
SAMPLES = [Sample(str(at), "x") for at in range(130)]  # three calls


class Response:
    """A response of Serve that returns a result, or never returns."""

    def __init__(self, comes_to: Any) -> None:
        self.comes_to = comes_to
        self.called_back = False

    def __await__(self) -> Generator[Any, None, Any]:
        if self.comes_to is None:
            return asyncio.Event().wait().__await__()
        return self._answer().__await__()

    async def _answer(self) -> Any:
        await asyncio.sleep(0)
        if isinstance(self.comes_to, Exception):
            raise self.comes_to
        return self.comes_to

    def cancel(self) -> None:
        self.called_back = True


class Handle:
    """A handle whose calls return these results, one after the other."""

    def __init__(self, *comes_to: Any) -> None:
        self.comes_to = list(comes_to)
        self.responses: list[Response] = []
        self.deadlines: list[Any] = []
        self.score = self.run = self

    def remote(self, *arguments: Any) -> Response:
        self.deadlines += [each for each in arguments if isinstance(each, handles.Deadline)]
        self.responses.append(Response(self.comes_to.pop(0)))
        return self.responses[-1]


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_samples_that_find_no_replica_are_given_up_at_their_deadline() -> None:
    handle = Handle([Score(1.0)] * 64, None, [Score(0.0)] * 2)
    pool = handles.RemotePool(SPECS, {"math": handle})
    async with asyncio.timeout(PATIENCE_S):
        found = await pool.score("math {}", SAMPLES, give_up_at_s=now() + 0.2)
    assert [each.value for each in found[:64]] == [1.0] * 64
    assert {each.error.code for each in found[64:128]} == {"deadline_exceeded"}
    assert [each.value for each in found[128:]] == [0.0] * 2
    assert [each.called_back for each in handle.responses] == [False, True, False]


async def test_inputs_of_a_model_are_given_up_too() -> None:
    handle = Handle(None)
    batcher = handles.RemoteBatcher("judge", handle, handles.RunningReplicas(dict))
    async with asyncio.timeout(PATIENCE_S):
        found = await batcher.run(["x"] * 3, give_up_at_s=now() + 0.1, priority="train")
    assert all(isinstance(each, SampleError) and each.retryable for each in found)
    assert handle.responses[0].called_back


async def test_when_one_call_fails_its_siblings_are_called_back() -> None:
    handle = Handle(None, ValueError("broken"), None)
    pool = handles.RemotePool(SPECS, {"math": handle})
    with pytest.raises(ValueError, match="broken"):
        await pool.score("math {}", SAMPLES)
    await asyncio.sleep(0)
    assert [each.called_back for each in handle.responses] == [True, False, True]
    assert pool.pending == 0


async def test_a_caller_that_leaves_takes_its_calls_along() -> None:
    handle = Handle(None, None, None)
    pool = handles.RemotePool(SPECS, {"math": handle})
    scoring = asyncio.create_task(pool.score("math {}", SAMPLES))
    while len(handle.responses) < 3:
        await asyncio.sleep(0)
    scoring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await scoring
    assert all(each.called_back for each in handle.responses)


async def test_the_time_in_a_queue_is_taken_off_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = handles.Deadline(10.0, 1000.0)
    for at, left in ((1000.0, 10.0), (1004.0, 6.0), (1030.0, 10.0), (990.0, 10.0)):
        monkeypatch.setattr(time, "time", lambda at=at: at)
        assert sent.here() - now() == pytest.approx(left, abs=0.5)
    assert handles.Deadline(None, 0.0).here() is None


@pytest.fixture
async def pool(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    monkeypatch.setattr(handles, "STATUS_EVERY_S", 0.01)
    counts = {"scorer:math": 1, "model:judge": 1, "app": 1}
    pool = handles.RemotePool(
        SPECS, {"math": Handle()}, handles.RunningReplicas(lambda: dict(counts))
    )
    pool.counts = counts
    yield pool
    await pool.stop()


async def until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_deployment_without_a_replica_makes_the_app_not_ready(pool: Any) -> None:
    batcher = handles.RemoteBatcher("judge", Handle(), pool._running)
    assert pool.alive == 0
    await pool.start()
    await until(lambda: pool._running.counts)
    assert pool.alive == 1
    assert batcher.not_ready_reason is None
    pool.counts |= {"scorer:math": 0, "model:judge": 0}
    await until(lambda: pool.alive == 0)
    assert batcher.not_ready_reason == "no replica of model judge is running; one is starting"
    pool.counts |= {"scorer:math": 2, "model:judge": 1}
    await until(lambda: pool.alive == 1)
    assert batcher.not_ready_reason is None
