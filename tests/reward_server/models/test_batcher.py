"""One model's queue and thread, with models that are a few lines of Python."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.waiting import PATIENCE_S, longer_and_longer, skip_time, until
from touchstone_rewards.reward_server.errors import NotReady, QueueFull, sample_error
from touchstone_rewards.reward_server.models import batcher as batcher_module
from touchstone_rewards.reward_server.models.batcher import Batcher, BatchLimits, GivenUp
from touchstone_rewards.reward_server.models.thread import OutOfMemory, Prepared, choose


class Lengths:
    """A model that returns the length of each text; `act` sees each batch first and may raise or
    wait.
    """

    def __init__(
        self, act: Callable[[list[str]], None] = lambda batch: None, pads: bool = False
    ) -> None:
        self.act = act
        self.pads = pads
        self.about: dict[str, Any] = {}
        self.batches: list[list[str]] = []
        self.closed = False

    def prepare(self, inputs: Sequence[str]) -> list[Any]:
        return [Prepared(len(text), text) for text in inputs]

    def run(self, batch: Sequence[Prepared]) -> list[Any]:
        texts = [one.content for one in batch]
        self.batches.append(texts)
        self.act(texts)
        return [len(text) for text in texts]

    def close(self) -> None:
        self.closed = True


@asynccontextmanager
async def serving(load: Callable[[], Any], **limits: Any) -> AsyncIterator[Batcher]:
    batcher = Batcher("lengths", load, BatchLimits(**limits))
    await batcher.start()
    try:
        yield batcher
    finally:
        await batcher.stop()


def never() -> float:
    return asyncio.get_running_loop().time() + 30


class Blocker:
    """Return an `act` that holds the first batch back until `release` is set."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.began = threading.Event()

    def __call__(self, batch: list[str]) -> None:
        self.began.set()
        assert self.release.wait(20)


async def blocked(batcher: Batcher, blocker: Blocker) -> asyncio.Task[list[Any]]:
    """Keep the model busy with an input of its own, so that later inputs wait."""
    task = asyncio.create_task(batcher.run(["first"], give_up_at_s=never()))
    await until(blocker.began.is_set)
    return task


async def test_every_caller_gets_its_own_answers_in_its_own_order() -> None:
    async with serving(Lengths) as batcher:
        calls = [["a" * (i % 7), "b" * (i % 5), "c"] for i in range(200)]
        answers = await asyncio.gather(*(batcher.run(c, give_up_at_s=never()) for c in calls))
        assert answers == [[len(text) for text in call] for call in calls]
        assert batcher.pending == 0


async def test_callers_that_wait_together_share_a_batch() -> None:
    blocker = Blocker()
    model = Lengths(blocker)
    async with serving(lambda: model) as batcher:
        first = await blocked(batcher, blocker)
        others = [asyncio.create_task(batcher.run(["x"], give_up_at_s=never())) for _ in range(50)]
        await until(lambda: batcher.pending == 51)
        blocker.release.set()
        await asyncio.gather(first, *others)
        assert [len(batch) for batch in model.batches] == [1, 50]


async def test_callers_that_ask_again_and_again_stay_in_one_batch() -> None:
    model = Lengths(lambda batch: time.sleep(0.002))

    async def ask(batcher: Batcher) -> None:
        for _ in range(20):
            await batcher.run(["text"], give_up_at_s=never())

    for linger_s in longer_and_longer(0.05):
        model.batches.clear()
        async with serving(lambda: model, linger_s=linger_s) as batcher:
            await asyncio.gather(*(ask(batcher) for _ in range(16)))
        if len(model.batches) < 60:  # 20 rounds; 320 batches if none were shared
            return
    pytest.fail(f"{len(model.batches)} batches")


async def test_an_idle_model_does_not_wait_for_company() -> None:
    async with serving(Lengths, linger_s=10_000.0) as batcher:
        assert await batcher.run(["a", "b", "c"], give_up_at_s=never()) == [1, 1, 1]


async def test_a_batch_is_cut_by_tokens_and_an_input_over_the_budget_runs_alone() -> None:
    model = Lengths()
    async with serving(lambda: model, batch_tokens=10) as batcher:
        await batcher.run(["a" * 4, "b" * 25, "c" * 5, "d" * 6, "e"], give_up_at_s=never())
    assert [sum(map(len, batch)) for batch in model.batches] == [10, 25, 6]


async def test_training_goes_first_and_evaluation_does_not_starve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blocker = Blocker()
    model = Lengths(blocker)
    async with serving(lambda: model, batch_tokens=1) as batcher:
        tasks = [await blocked(batcher, blocker)]

        async def ask(text: str, priority: Any) -> None:
            tasks.append(
                asyncio.create_task(batcher.run([text], give_up_at_s=never(), priority=priority))
            )
            await asyncio.sleep(0.01)

        await ask("e", "eval")
        await ask("t", "train")
        monkeypatch.setitem(batcher_module.HANDICAP_S, "train", 60.0)
        await ask("u", "train")  # as if it had come a minute later, so the evaluation comes first
        blocker.release.set()
        await asyncio.gather(*tasks)
    assert model.batches == [["first"], ["t"], ["e"], ["u"]]


async def test_a_deadline_answers_on_time_and_drops_the_work() -> None:
    blocker = Blocker()
    model = Lengths(blocker)
    async with serving(lambda: model) as batcher:
        first = await blocked(batcher, blocker)
        soon = asyncio.get_running_loop().time() + 0.05
        # The model is held back until further down: nothing but the deadline can answer.
        [late] = await batcher.run(["late"], give_up_at_s=soon)
        assert late.code == "deadline_exceeded"
        assert late.retryable
        blocker.release.set()
        assert await first == [5]
        await batcher.run(["after"], give_up_at_s=never())
        assert batcher.stats.dropped + sum("late" in batch for batch in model.batches) <= 1
    assert ["late"] not in model.batches


async def test_what_was_answered_before_the_deadline_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate, held = threading.Event(), threading.Event()

    def hold(batch: list[str]) -> None:
        if "b" in batch:
            held.set()
            assert gate.wait(PATIENCE_S)

    async with serving(lambda: Lengths(hold), batch_tokens=1) as batcher:
        soon = asyncio.get_running_loop().time() + 100.0
        running = asyncio.create_task(batcher.run(["a", "b"], give_up_at_s=soon))
        await until(held.is_set)
        skip_time(monkeypatch, 100.0)
        kept, late = await running
        gate.set()
        assert kept == 1
        assert late.code == "deadline_exceeded"


async def test_the_work_of_a_caller_that_goes_away_is_dropped() -> None:
    blocker = Blocker()
    model = Lengths(blocker)
    async with serving(lambda: model) as batcher:
        first = await blocked(batcher, blocker)
        gone = asyncio.create_task(batcher.run(["gone"] * 10, give_up_at_s=never()))
        await until(lambda: batcher.pending == 11)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert batcher.pending == 1
        blocker.release.set()
        await first
        await batcher.run(["after"], give_up_at_s=never())
    assert model.batches == [["first"], ["after"]]


async def test_only_the_guilty_input_of_a_failing_batch_fails() -> None:
    def refuse(batch: list[str]) -> None:
        if "bad" in batch:
            raise RuntimeError("no bad ones")

    async with serving(lambda: Lengths(refuse)) as batcher:
        texts = ["a", "bb", "bad", "dddd"]
        one, two, bad, four = await batcher.run(texts, give_up_at_s=never())
        assert (one, two, four) == (1, 2, 4)
        assert bad.code == "scorer_failed"
        assert "no bad ones" in bad.message
        assert batcher.not_ready_reason is None


async def test_a_model_that_answers_too_little_fails_its_samples_not_others() -> None:
    class Short(Lengths):
        def run(self, batch: Sequence[Prepared]) -> list[Any]:
            return [] if batch[0].content == "bad" else super().run(batch)

    async with serving(Short) as batcher:
        [bad] = await batcher.run(["bad"], give_up_at_s=never())
        assert "0 outputs for 1 inputs" in bad.message
        assert await batcher.run(["good"], give_up_at_s=never()) == [4]


async def test_an_input_that_cannot_be_prepared_does_not_spoil_the_others() -> None:
    class Picky(Lengths):
        def prepare(self, inputs: Sequence[str]) -> list[Any]:
            if "bad" in inputs:
                raise ValueError("cannot read this")
            return [
                sample_error("missing_field", "empty") if not text else Prepared(len(text), text)
                for text in inputs
            ]

    async with serving(Picky) as batcher:
        good, bad, empty = await batcher.run(["good", "bad", ""], give_up_at_s=never())
        assert good == 4
        assert (bad.code, empty.code) == ("scorer_failed", "missing_field")


async def test_out_of_memory_halves_the_batch_and_goes_on() -> None:
    def small_only(batch: list[str]) -> None:
        if len(batch) > 3:
            raise OutOfMemory("no room")

    model = Lengths(small_only)
    async with serving(lambda: model, batch_tokens=1000) as batcher:
        assert await batcher.run(["x"] * 12, give_up_at_s=never()) == [1] * 12
        assert batcher.not_ready_reason is None
        await batcher.run(["x"] * 12, give_up_at_s=never())
    sizes = [len(batch) for batch in model.batches]
    assert sizes[:7] == [12, 6, 3, 3, 6, 3, 3]
    assert max(sizes[7:]) == 3  # it has learned what fits


async def test_an_input_that_does_not_fit_alone_fails_and_the_model_is_loaded_again() -> None:
    loads: list[Lengths] = []
    may_load = threading.Event()
    may_load.set()

    def no_room_for_big(batch: list[str]) -> None:
        if any(len(text) > 3 for text in batch):
            raise OutOfMemory("no room")

    def load() -> Lengths:
        assert may_load.wait(20)
        loads.append(Lengths(no_room_for_big))
        return loads[-1]

    async with serving(load) as batcher:
        may_load.clear()
        small, big = await batcher.run(["abc", "abcdef"], give_up_at_s=never())
        assert small == 3
        assert big.code == "scorer_failed"
        assert "6 tokens alone do not fit" in big.message
        await until(lambda: batcher.not_ready_reason is not None)
        with pytest.raises(NotReady, match="do not fit"):
            await batcher.run(["abc"], give_up_at_s=never())
        assert loads[0].closed
        may_load.set()
        await until(lambda: batcher.not_ready_reason is None)
        assert await batcher.run(["abc"], give_up_at_s=never()) == [3]
        assert batcher.stats.restarts == 1


async def test_a_dead_thread_loses_its_batch_and_comes_back() -> None:
    blocker = Blocker()

    def die(batch: list[str]) -> None:
        blocker(batch)
        if "poison" in batch:
            raise SystemExit("the thread is gone")

    async with serving(lambda: Lengths(die), batch_tokens=6) as batcher:
        first = await blocked(batcher, blocker)
        poison = asyncio.create_task(batcher.run(["poison"], give_up_at_s=never()))
        waits = asyncio.create_task(batcher.run(["waits"], give_up_at_s=never()))
        await until(lambda: batcher.pending == 3)
        blocker.release.set()
        assert await first == [5]
        [lost] = await poison
        assert (lost.code, lost.retryable) == ("worker_lost", False)
        assert "loaded again" in (batcher.not_ready_reason or "")
        with pytest.raises(NotReady):
            await batcher.run(["new"], give_up_at_s=never())
        assert await waits == [5]
        assert batcher.not_ready_reason is None
        assert batcher.stats.restarts == 1


async def test_a_model_that_cannot_be_loaded_says_so_to_who_starts_it() -> None:
    def load() -> Lengths:
        raise FileNotFoundError("no such model")

    batcher = Batcher("missing", load, BatchLimits())
    with pytest.raises(FileNotFoundError, match="no such model"):
        await batcher.start()
    with pytest.raises(NotReady, match="model missing is not loaded"):
        await batcher.run(["x"], give_up_at_s=never())
    await batcher.stop()


async def test_a_full_queue_turns_callers_away_and_one_request_always_fits() -> None:
    blocker = Blocker()
    async with serving(lambda: Lengths(blocker), max_waiting=4) as batcher:
        first = await blocked(batcher, blocker)
        second = asyncio.create_task(batcher.run(["x"] * 3, give_up_at_s=never()))
        await until(lambda: batcher.pending == 4)
        with pytest.raises(QueueFull, match="at most 4"):
            await batcher.run(["y"], give_up_at_s=never())
        blocker.release.set()
        await asyncio.gather(first, second)
        assert await batcher.run(["z"] * 9, give_up_at_s=never()) == [1] * 9


async def test_stopping_answers_what_waits_and_closes_the_model() -> None:
    model = Lengths(lambda batch: time.sleep(0.01))
    async with serving(lambda: model, batch_tokens=1) as batcher:
        waiting = asyncio.create_task(batcher.run(["x"] * 10, give_up_at_s=never()))
        await until(lambda: batcher.pending == 10)
        await batcher.stop()
        assert await waiting == [1] * 10
        assert model.closed
        with pytest.raises(NotReady):
            await batcher.run(["y"], give_up_at_s=never())
        await batcher.start()
        assert await batcher.run(["y"], give_up_at_s=never()) == [1]


async def test_a_model_that_hangs_is_left_behind_and_another_takes_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batcher_module, "STOP_TIMEOUT_S", 0.05)
    blocker = Blocker()
    async with serving(lambda: Lengths(blocker)) as batcher:
        hanging = await blocked(batcher, blocker)
        waiting = asyncio.create_task(batcher.run(["waits"], give_up_at_s=never()))
        await until(lambda: batcher.pending == 2)
        await batcher.stop()
        for [error] in (await hanging, await waiting):
            assert (error.code, error.retryable) == ("worker_lost", True)
        batcher.load = Lengths
        await batcher.start()
        blocker.release.set()  # the old thread ends now, which must not end the new one
        await asyncio.sleep(0.1)
        assert await batcher.run(["four"], give_up_at_s=never()) == [4]


async def test_the_event_loop_is_free_while_the_model_works() -> None:
    blocker = Blocker()
    async with serving(lambda: Lengths(blocker)) as batcher:
        busy = await blocked(batcher, blocker)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert not busy.done()
        blocker.release.set()  # by the event loop itself: if it were blocked, this would never come
        assert await busy == [5]


async def test_a_model_that_does_not_come_back_is_told_of() -> None:
    blocker = Blocker()
    async with serving(lambda: Lengths(blocker), stuck_s=0.05) as batcher:
        first = await blocked(batcher, blocker)
        await until(lambda: "on one batch" in (batcher.not_ready_reason or ""))
        blocker.release.set()
        await first
        assert batcher.not_ready_reason is None


TOKENS = st.lists(st.integers(1, 300), min_size=1, max_size=60)


@given(TOKENS, st.integers(1, 1000), st.booleans())
def test_a_batch_holds_the_first_and_keeps_to_the_budget(
    tokens: list[int], budget_tokens: int, pads: bool
) -> None:
    chosen = choose(tokens, budget_tokens, pads)
    assert chosen[0] == 0 if not pads else 0 in chosen
    assert chosen == sorted(set(chosen))
    lengths = [tokens[i] for i in chosen]
    computed = max(lengths) * len(lengths) if pads else sum(lengths)
    assert computed <= budget_tokens or len(chosen) == 1
    if pads:
        assert sum(lengths) >= computed * 0.875


def test_padded_batches_take_the_nearest_in_length() -> None:
    assert choose([100, 10, 95, 500, 102, 98], 450, pads=True) == [0, 2, 4, 5]


async def test_a_model_that_is_stopped_while_it_loads_keeps_no_one_waiting() -> None:
    begun, finish, model = threading.Event(), threading.Event(), Lengths()

    def load() -> Lengths:
        begun.set()
        assert finish.wait(20)
        return model

    batcher = Batcher("lengths", load, BatchLimits())
    starting = asyncio.create_task(batcher.start())
    await until(begun.is_set)
    async with asyncio.timeout(PATIENCE_S):
        await batcher.stop()
        with pytest.raises(GivenUp, match="stopped while it loaded"):
            await starting
    finish.set()
    await until(lambda: model.closed)
    assert batcher.model is None
    await batcher.start()
    assert await batcher.run(["abc"], give_up_at_s=never()) == [3]
    await batcher.stop()


async def test_no_caller_is_let_in_before_what_is_to_come_before() -> None:
    batcher = Batcher("lengths", Lengths, BatchLimits())
    seen: list[str | None] = []
    await batcher.start(lambda: seen.append(batcher.not_ready_reason))
    assert seen == ["model lengths is not loaded"]
    assert batcher.not_ready_reason is None
    await batcher.stop()

    def refuse() -> None:
        raise ValueError("not this one")

    with pytest.raises(ValueError, match="not this one"):
        await batcher.start(refuse)
    assert batcher.not_ready_reason == "model lengths is not loaded"
    await batcher.start()
    assert await batcher.run(["abc"], give_up_at_s=never()) == [3]
    await batcher.stop()


async def test_a_second_start_waits_for_the_first() -> None:
    loads: list[int] = []

    def load() -> Lengths:
        loads.append(1)
        return Lengths()

    batcher = Batcher("lengths", load, BatchLimits())
    await asyncio.gather(batcher.start(), batcher.start())
    await batcher.start()
    assert len(loads) == 1
    await batcher.stop()
