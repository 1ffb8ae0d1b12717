"""The queue of one model: batch the inputs of all callers, and answer each in order.

Trainers send thousands of single samples; a model uses the machine well only in batches. As soon as
the model is free, its thread takes all waiting inputs, up to a budget of tokens. There is no timer:
only right after a batch, when the callers just answered are about to send their next inputs, does
it wait, at most `linger_s`, for as many inputs as it answered.

Outcomes of an input:
- Its caller goes away or its deadline passes: it is dropped, unless it is already running.
- Its batch fails: every input of the batch is tried once more, alone, so only a faulty one fails.
- Its batch runs out of memory: the batch is halved, and later batches are smaller. An input that
  does not fit alone fails, and the model is loaded again.
- The thread ends for any reason while it runs: `worker_lost`. Inputs still in the queue wait until
  the model is loaded again; new callers are refused until then.

`thread.py` is the thread.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from touchstone_rewards.reward_server.errors import ConfigError, NotReady, QueueFull, sample_error
from touchstone_rewards.reward_server.models.thread import (
    BatchCall,
    BatchStats,
    Inbox,
    Item,
    Model,
    ModelThread,
    run_thread,
)
from touchstone_rewards.reward_server.schemas import Priority, SampleError

# Evaluation waits behind training, but not forever: it is queued as if it came this much later.
HANDICAP_S: dict[Priority, float] = {"train": 0.0, "eval": 5.0}
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 60.0
STOP_TIMEOUT_S = 10.0

log = logging.getLogger(__name__)

_UNANSWERED = sample_error(
    "deadline_exceeded", "the request's deadline passed before the model's answer", retryable=True
)
_LOST = sample_error("worker_lost", "the model's thread ended while it ran this input")
_STOPPED = sample_error("worker_lost", "the model was unloaded", retryable=True)


@dataclass(frozen=True)
class BatchLimits:
    """`max_waiting`: queued inputs beyond which callers are refused. `stuck_s`: time on one batch
    after which the model counts as stuck."""

    batch_tokens: int = 4096
    max_waiting: int = 16_384
    linger_s: float = 0.005
    stuck_s: float = 120.0


class GivenUp(ConfigError):
    """The model was stopped while it was loading."""


class Batcher:
    """A model in a thread of its own. `start` loads it, `run` then uses it, `stop` ends it.

    Call all methods from one event loop; they never block it.
    """

    exchangeable = True  # may be loaded and unloaded while the server runs

    def __init__(self, name: str, load: Callable[[], Model], limits: BatchLimits) -> None:
        self.name = name
        self.limits = limits
        self.stats = BatchStats()
        self.pending = 0
        self.model: Model | None = None
        self._down_reason: str | None = f"model {name} is not loaded"
        self.load = load
        self._inbox = Inbox()
        self._waiting: list[Item] = []
        self._thread: ModelThread | None = None
        self._loaded: asyncio.Future[None] | None = None
        self._before_open: Callable[[], None] | None = None
        self._ended = asyncio.Event()
        self._restart: asyncio.TimerHandle | None = None
        self._failures = 0

    @property
    def about(self) -> dict[str, Any]:
        """Facts about the model's run; none while it is not loaded."""
        return {} if self.model is None else self.model.about

    async def start(self, before_open: Callable[[], None] | None = None) -> None:
        """Load the model in its thread; if that has already begun, wait for it.

        `before_open` is called once the model is loaded, before the first caller is admitted.

        Raises:
            GivenUp: `stop` was called meanwhile.
            BaseException: whatever the loading raised.
        """
        if self._thread is None or self._loaded is None:
            self._inbox, self._failures = Inbox(), 0
            self._loaded = asyncio.get_running_loop().create_future()
            self._before_open = before_open
            self._begin()
        await asyncio.shield(self._loaded)

    async def stop(self) -> None:
        """Answer the waiting inputs, end the thread, free the model. A model that is still loading
        is not waited for: its thread ends when it has loaded."""
        self._down_reason = f"model {self.name} is not loaded"
        thread = self._thread
        if thread is None:
            return
        self._inbox.close()
        if self._restart is not None:
            self._restart.cancel()
        elif self.model is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), STOP_TIMEOUT_S)
        if self._thread is thread:  # otherwise another call has stopped it meanwhile
            self._let_go(thread)

    def _let_go(self, thread: ModelThread) -> None:
        """Answer all remaining inputs; a thread that is still running finds no more work."""
        self._settle([*thread.batch, *self._waiting], _STOPPED)
        for call in self._inbox.take():
            call.answers[:] = [_STOPPED] * len(call.inputs)
            call.close()
        self._waiting = []
        self._thread = self._restart = self.model = None
        if self._loaded is not None and not self._loaded.done():
            self._fail(GivenUp(f"model {self.name} was stopped while it loaded"))

    async def run(
        self, inputs: Sequence[Any], *, give_up_at_s: float | None, priority: Priority = "train"
    ) -> list[Any]:
        """Return the model's outputs in the order of `inputs`; a `SampleError` if there is none.

        `give_up_at_s`: in loop time, None for never; inputs without an answer by then get
        `deadline_exceeded`.

        Raises:
            NotReady: the model is not loaded.
            QueueFull: too many inputs are waiting.
        """
        count = len(inputs)
        if not count:
            return []
        self._check_room(count)
        loop = asyncio.get_running_loop()
        due_s = time.monotonic() + HANDICAP_S[priority]
        call = BatchCall(inputs, due_s, loop.create_future(), [_UNANSWERED] * count, count)
        timer = loop.call_at(give_up_at_s, call.close) if give_up_at_s is not None else None
        self.pending += count
        self._inbox.put(call)
        try:
            await call.answered
        finally:
            self.pending -= count
            call.closed = True
            if timer is not None:
                timer.cancel()
        return call.answers

    @property
    def not_ready_reason(self) -> str | None:
        """Why callers are refused at the moment, or None."""
        if self._down_reason is not None:
            return self._down_reason
        # A forward pass that hangs cannot be stopped, only reported.
        began_s = self._thread.batch_began_s if self._thread else None
        if began_s is None or (seconds := time.monotonic() - began_s) < self.limits.stuck_s:
            return None
        return f"model {self.name} has worked on one batch for {seconds:.0f} s"

    def _check_room(self, count: int) -> None:
        if (reason := self.not_ready_reason) is not None:
            raise NotReady(f"{reason}; try again later or on another server")
        if self.pending and self.pending + count > self.limits.max_waiting:
            raise QueueFull(
                f"{self.pending} inputs wait for model {self.name} and {count} came, at most "
                f"{self.limits.max_waiting}; try again after Retry-After seconds"
            )

    def _begin(self) -> None:
        self._restart = None
        self._ended.clear()
        tell = partial(_tell, asyncio.get_running_loop())
        thread = self._thread = ModelThread(
            self._inbox,
            self._waiting,
            self.stats,
            batch_tokens=self.limits.batch_tokens,
            linger_s=self.limits.linger_s,
            on_answers=partial(tell, self._on_answers),
        )
        threading.Thread(
            target=run_thread,
            args=(
                thread,
                self.load,
                partial(tell, self._on_loaded, thread),
                partial(tell, self._on_end, thread),
            ),
            name=f"model {self.name}",
            daemon=True,
        ).start()

    def _on_loaded(self, thread: ModelThread, model: Model) -> None:
        if thread is not self._thread:
            return
        before_open, self._before_open = self._before_open, None
        if not self._inbox.closing:
            try:
                if before_open is not None:
                    before_open()
            except Exception as error:  # noqa: BLE001  passed on to the caller of `start`
                self._inbox.close()
                self._thread = None
                self._fail(error)
                return
            self._down_reason = None
        self.model = model
        if self._loaded is not None and not self._loaded.done():
            self._loaded.set_result(None)

    def _fail(self, error: BaseException) -> None:
        """Tell the callers of `start` that loading failed."""
        assert self._loaded is not None
        self._loaded.set_exception(error)
        self._loaded.exception()  # mark it as retrieved, in case `start` was cancelled

    def _on_answers(self, items: Sequence[Item], answers: Sequence[Any]) -> None:
        self._failures = 0
        for item, answer in zip(items, answers, strict=True):
            item.call.settle(item.position, answer)

    def _on_end(self, thread: ModelThread, error: BaseException | None) -> None:
        if thread is not self._thread:
            return
        assert self._loaded is not None
        self.model = None
        self._settle(thread.batch, _LOST)
        thread.batch_began_s = None
        if error is not None and not self._loaded.done():
            self._thread = None
            self._fail(error)
        elif error is not None and not self._inbox.closing:
            self._begin_later(error)
            return
        self._ended.set()

    def _begin_later(self, error: BaseException) -> None:
        wait_s = min(FIRST_BACKOFF_S * 2**self._failures, LONGEST_BACKOFF_S)
        self._failures += 1
        self.stats.restarts += 1
        reason = f"{type(error).__name__}: {error}"[:300]
        self._down_reason = f"model {self.name} is being loaded again after {reason}"
        log.error("model %s ended; it is loaded again in %.1f s", self.name, wait_s, exc_info=error)
        self._restart = asyncio.get_running_loop().call_later(wait_s, self._begin)

    def _settle(self, items: Sequence[Item], error: SampleError) -> None:
        for item in items:
            item.call.settle(item.position, error)


def _tell(loop: asyncio.AbstractEventLoop, what: Callable[..., None], *arguments: Any) -> None:
    with suppress(RuntimeError):  # the loop is closed, so nobody is waiting
        loop.call_soon_threadsafe(what, *arguments)
