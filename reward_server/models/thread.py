"""The thread of one model: take waiting inputs, cut them into batches, run them, return answers.

The event loop puts calls, each with some inputs, into an `Inbox`; the thread passes answers back to
the event loop. It handles no deadlines and knows nothing of torch: `batcher.py` says what callers
can rely on, `Model` what a model does.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec import Struct

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.schemas import SampleError

# The largest share of a batch that may be padding; beyond it two batches are cheaper than one.
MAX_PADDING_FRAC = 0.125

# After a batch, wait for as many inputs as were just answered plus queued; the expectation shrinks
# to this share per batch at most, so that a few slow callers do not shrink all later batches.
EXPECTATION_KEPT = 0.75

log = logging.getLogger(__name__)


class Prepared(Struct):
    """An input ready to run: its number of tokens, and its content in the model's own form."""

    tokens: int
    content: Any
    truncated: bool = False


class OutOfMemory(Exception):
    """A batch did not fit into memory. Models raise it in place of torch's own errors."""


class Model(Protocol):
    """The model that a thread runs. Every method is called in that thread only."""

    @property
    def pads(self) -> bool:
        """Whether a batch costs its longest input times its size, instead of the sum of lengths."""
        ...

    @property
    def about(self) -> dict[str, Any]:
        """Facts about the model's run, shown by `GET /models`."""
        ...

    def prepare(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """Return for each input a `Prepared`, or at once its answer: an output or `SampleError`."""
        ...

    def run(self, batch: Sequence[Prepared]) -> Sequence[Any]:
        """Return one output or `SampleError` per input, in order. May raise `OutOfMemory`."""
        ...

    def close(self) -> None:
        """Free the model's memory."""
        ...


@dataclass
class BatchStats:
    """Counters since the start; written by the model's thread, read by anyone."""

    batches: int = 0
    inputs: int = 0
    tokens: int = 0
    computed_tokens: int = 0
    truncated: int = 0
    cached: int = 0
    dropped: int = 0
    failed_batches: int = 0
    restarts: int = 0


@dataclass(slots=True, eq=False)
class BatchCall:
    """One call: `inputs` and their `answers`. `due_s` orders it among the others."""

    inputs: Sequence[Any]
    due_s: float
    answered: asyncio.Future[None]
    answers: list[Any]
    missing: int
    closed: bool = False

    def settle(self, position: int, answer: Any) -> None:
        if self.closed:
            return
        self.answers[position] = answer
        self.missing -= 1
        if self.missing == 0:
            self.close()

    def close(self) -> None:
        """End the call: inputs without an answer keep their initial one."""
        self.closed = True
        if not self.answered.done():
            self.answered.set_result(None)


@dataclass(slots=True, eq=False)
class Item:
    """One input of a call, ready to run."""

    call: BatchCall
    position: int
    prepared: Prepared


class Inbox:
    """Calls on their way from the event loop to the thread."""

    def __init__(self) -> None:
        self._arrival = threading.Condition()
        self._calls: list[BatchCall] = []
        self.inputs = 0
        self._wanted: float = math.inf
        self.closing = False

    def put(self, call: BatchCall) -> None:
        with self._arrival:
            self._calls.append(call)
            self.inputs += len(call.inputs)
            if self.inputs >= self._wanted:
                self._arrival.notify()

    def close(self) -> None:
        """Accept no more calls; the thread ends when it has answered the waiting ones."""
        with self._arrival:
            self.closing = True
            self._arrival.notify()

    def take(self) -> list[BatchCall]:
        """Return the calls that have come, without waiting."""
        with self._arrival:
            calls, self._calls, self.inputs = self._calls, [], 0
            return calls

    def wait_for(self, inputs: int, until_s: float) -> None:
        """Wait for this many inputs, until `until_s` on `time.monotonic()`, or until closed."""
        with self._arrival:
            self._wanted = inputs
            while self.inputs < inputs and not self.closing:
                left = until_s - time.monotonic()
                if left <= 0:
                    break
                self._arrival.wait(None if math.isinf(left) else left)
            self._wanted = math.inf  # awake now: no notification needed


class ModelThread:
    """One run of the thread. `waiting` and `inbox` outlive it: the next run takes them over.

    `on_answers` passes items and their answers to the event loop.
    """

    def __init__(
        self,
        inbox: Inbox,
        waiting: list[Item],
        stats: BatchStats,
        *,
        batch_tokens: int,
        linger_s: float,
        on_answers: Callable[[Sequence[Item], Sequence[Any]], None],
    ) -> None:
        self.inbox = inbox
        self.waiting = waiting
        self.stats = stats
        self.batch: list[Item] = []
        self.batch_began_s: float | None = None
        self._batch_tokens = batch_tokens
        self._linger_s = linger_s
        self._on_answers = on_answers
        self._last_end_s = -math.inf
        self._expected = 0.0
        self._does_not_fit: OutOfMemory | None = None

    def serve(self, model: Model) -> None:
        """Answer calls until the inbox is closed and empty.

        Raises:
            OutOfMemory: an input did not fit alone; it has its answer.
            BaseException: the model raised something other than an `Exception`; `batch` is lost.
        """
        while True:
            self._await_work()
            self._prepare(model, self.inbox.take())
            self._drop_closed()
            if self.waiting:
                self._run_next(model)
            elif self.inbox.closing:
                return

    def _await_work(self) -> None:
        if not self.waiting:
            self.inbox.wait_for(1, math.inf)
        # The callers just answered are about to send their next inputs.
        if sum(item.prepared.tokens for item in self.waiting) < self._batch_tokens:
            missing = int(self._expected) - len(self.waiting)
            self.inbox.wait_for(missing, self._last_end_s + self._linger_s)

    def _prepare(self, model: Model, calls: Sequence[BatchCall]) -> None:
        places = [(call, i) for call in calls if not call.closed for i in range(len(call.inputs))]
        prepared = self._prepared(model, [call.inputs[i] for call, i in places])
        at_once: list[Item] = []
        answers: list[Any] = []
        for (call, i), one in zip(places, prepared, strict=True):
            if isinstance(one, Prepared):
                self.stats.truncated += one.truncated
                insort(self.waiting, Item(call, i, one), key=lambda item: item.call.due_s)
            else:
                self.stats.cached += not isinstance(one, SampleError)
                at_once.append(Item(call, i, Prepared(0, None)))
                answers.append(one)
        if at_once:
            self._on_answers(at_once, answers)

    def _prepared(self, model: Model, inputs: Sequence[Any]) -> Sequence[Any]:
        if not inputs:
            return []
        try:
            return model.prepare(inputs)
        except Exception as error:  # the batch boundary: a bad input must not fail the others
            if len(inputs) == 1:
                log.exception("an input cannot be prepared")
                return [_failed(error)]
            return [self._prepared(model, [one])[0] for one in inputs]

    def _drop_closed(self) -> None:
        still = [item for item in self.waiting if not item.call.closed]
        self.stats.dropped += len(self.waiting) - len(still)
        self.waiting[:] = still

    def _run_next(self, model: Model) -> None:
        tokens = [item.prepared.tokens for item in self.waiting]
        chosen = set(choose(tokens, self._batch_tokens, model.pads))
        self.batch = [item for i, item in enumerate(self.waiting) if i in chosen]
        self.waiting[:] = [item for i, item in enumerate(self.waiting) if i not in chosen]
        self.batch_began_s = time.monotonic()
        answers = self._answers(model, self.batch)
        items, self.batch, self.batch_began_s = self.batch, [], None
        self._last_end_s = time.monotonic()
        callers = len(items) + len(self.waiting) + self.inbox.inputs
        self._expected = max(callers, EXPECTATION_KEPT * self._expected)
        self._on_answers(items, answers)
        if self._does_not_fit is not None:
            raise self._does_not_fit

    def _answers(self, model: Model, items: Sequence[Item]) -> list[Any]:
        tokens = [item.prepared.tokens for item in items]
        try:
            outputs = list(model.run([item.prepared for item in items]))
            if len(outputs) != len(items):
                raise ValueError(f"{len(outputs)} outputs for {len(items)} inputs")
        except OutOfMemory as error:
            self.stats.failed_batches += 1
            if len(items) == 1:
                self._does_not_fit = OutOfMemory(f"{tokens[0]} tokens alone do not fit: {error}")
                return [_failed(self._does_not_fit)]
            self._batch_tokens = min(self._batch_tokens, max(1, sum(tokens) // 2))
            log.warning("out of memory; batches now have at most %d tokens", self._batch_tokens)
            half = len(items) // 2
            return self._answers(model, items[:half]) + self._answers(model, items[half:])
        except Exception as error:  # the batch boundary
            self.stats.failed_batches += 1
            log.exception("a batch of %d failed", len(items))
            if len(items) == 1:
                return [_failed(error)]
            return [self._answers(model, [item])[0] for item in items]
        self._count(tokens, model.pads)
        return outputs

    def _count(self, tokens: Sequence[int], pads: bool) -> None:
        self.stats.batches += 1
        self.stats.inputs += len(tokens)
        self.stats.tokens += sum(tokens)
        self.stats.computed_tokens += max(tokens) * len(tokens) if pads else sum(tokens)


def run_thread(
    thread: ModelThread,
    load: Callable[[], Model],
    on_loaded: Callable[[Model], None],
    on_end: Callable[[BaseException | None], None],
) -> None:
    """Run the thread once: load, serve, close, and report how it ended."""
    error: BaseException | None = None
    model: Model | None = None
    try:
        model = load()
        on_loaded(model)
        thread.serve(model)
    except BaseException as raised:  # noqa: BLE001  reported to the event loop, which decides
        error = raised
    with suppress(Exception):
        if model is not None:
            model.close()
    on_end(error)


def choose(tokens: Sequence[int], budget_tokens: int, pads: bool) -> list[int]:
    """Return the indices of the inputs, given in the order of their due time, for the next batch.

    The first one is always included, whatever its length, so none starves. Without padding, the
    next ones that fit follow; with padding, those closest to it in length.
    """
    return _nearest(tokens, budget_tokens) if pads else _fitting(tokens, budget_tokens)


def _fitting(tokens: Sequence[int], budget_tokens: int) -> list[int]:
    chosen, left = [0], budget_tokens - tokens[0]
    for i in range(1, len(tokens)):
        if left <= 0:
            break
        if tokens[i] <= left:
            chosen.append(i)
            left -= tokens[i]
    return chosen


def _nearest(tokens: Sequence[int], budget_tokens: int) -> list[int]:
    order = sorted(range(len(tokens)), key=tokens.__getitem__)
    low = high = bisect_left(order, (tokens[0], 0), key=lambda i: (tokens[i], i))
    total = longest = tokens[0]
    while low > 0 or high < len(order) - 1:
        below = tokens[order[low - 1]] if low > 0 else -math.inf
        above = tokens[order[high + 1]] if high < len(order) - 1 else math.inf
        down = longest - below < above - longest
        added = int(below if down else above)
        computed = max(longest, added) * (high - low + 2)
        if computed > budget_tokens or total + added < computed * (1 - MAX_PADDING_FRAC):
            break
        total, longest = total + added, max(longest, added)
        low, high = (low - 1, high) if down else (low, high + 1)
    return sorted(order[low : high + 1])


def _failed(error: Exception) -> SampleError:
    return sample_error("scorer_failed", f"{type(error).__name__}: {error}"[:300])
