"""Decide which waiting call goes next: fair by caller, then by scorer.

The caller that has used the least worker time, divided by its weight, goes next. Among its calls,
due ones go before others, then the scorer that has used the least time. Calls of one caller for one
scorer take turns. So a caller that sends slow samples delays only itself.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from touchstone_rewards.reward_server.pool.calls import Account, Call, Flow, Timing


@dataclass(slots=True)
class _Waiting(Account):
    """The waiting calls of one flow."""

    due: deque[Call] = field(default_factory=deque[Call])
    later: deque[Call] = field(default_factory=deque[Call])

    def goes_before(self, other: _Waiting) -> bool:
        """Return whether its next call goes before the other's."""
        return (not self.due, self.spent_s) < (not other.due, other.spent_s)

    def settle(self, now_s: float) -> None:
        while self.later and self.later[0].due_s <= now_s:
            self.due.append(self.later.popleft())


@dataclass(slots=True)
class _Caller(Account):
    flows: dict[str, _Waiting] = field(default_factory=dict[str, _Waiting])
    waiting: int = 0
    clock_s: float = 0.0


class CallTurns:
    """The waiting calls, in turn; `waiting`: their number. `timings`: of the scorers, by key."""

    def __init__(self) -> None:
        self.timings: defaultdict[str, Timing] = defaultdict(Timing)
        self._callers: dict[str, _Caller] = {}
        self.waiting = 0
        # The time used by the caller whose turn was last: new callers start from there.
        self._clock_s = 0.0

    def append(self, call: Call) -> None:
        """Queue the call behind the others of its flow."""
        call.queued = True
        name, scorer = call.flow
        if (caller := self._callers.get(name)) is None:
            caller = self._callers[name] = _Caller()
        if not caller.waiting:
            # A caller that was idle has no claim on the time that passed.
            caller.spent_s = max(caller.spent_s, self._clock_s)
        if (flow := caller.flows.get(scorer)) is None:
            flow = caller.flows[scorer] = _Waiting()
        if not flow.due and not flow.later:
            flow.spent_s = max(flow.spent_s, caller.clock_s)
        later = call.after_s and call.due_s > time.monotonic()
        (flow.later if later else flow.due).append(call)
        call.accounts = caller, flow, self.timings[scorer]
        caller.waiting += 1
        self.waiting += 1

    def popleft(self, without: Collection[Flow] = ()) -> Call | None:
        """Return the call whose turn it is, outside the flows `without`; None if there is none."""
        callers: Iterable[tuple[str, _Caller]] = self._callers.items()
        if len(self._callers) > 1:
            waiting = (each for each in callers if each[1].waiting)
            callers = sorted(waiting, key=lambda each: each[1].spent_s)
        for name, caller in callers:
            if (call := self._next_of(name, caller, without)) is not None:
                call.queued = False
                self._clock_s = caller.spent_s
                caller.waiting -= 1
                self.waiting -= 1
                return call
        return None

    def _next_of(self, name: str, caller: _Caller, without: Collection[Flow]) -> Call | None:
        chosen = None
        for scorer, flow in caller.flows.items():
            if flow.later:
                flow.settle(time.monotonic())
            elif not flow.due:
                continue
            if (name, scorer) not in without and (chosen is None or flow.goes_before(chosen)):
                chosen = flow
        if chosen is None:
            return None
        caller.clock_s = chosen.spent_s
        return (chosen.due or chosen.later).popleft()

    def any_outside(self, flows: Collection[Flow]) -> bool:
        """Return whether a call of any other flow is waiting."""
        return any(
            (name, scorer) not in flows
            for name, caller in self._callers.items()
            if caller.waiting
            for scorer, flow in caller.flows.items()
            if flow.due or flow.later
        )

    def clear(self) -> None:
        self._callers.clear()
        self.waiting = 0
