"""What a training does about the alarms that come with its rewards: log, stop, or call.

In: the results of each batch. Out: each alarm once. The server tells an alarm in the answers of a
few steps, so that one answer lost loses none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Literal

from touchstone_rewards.clients.errors import StoppedByAlarm
from touchstone_rewards.clients.results import ScoreResult
from touchstone_rewards.reward_server.alarms import Alarm

OnAlarm = Literal["log", "stop"] | Callable[[Alarm], None]

logger = logging.getLogger(__name__)


class AlarmHook:
    """Does what `on_alarm` says for each alarm of a run, once. `run`: the name that is sent.

    Raises:
        ValueError: a word that is neither "log" nor "stop", or no name for the run to go with it.
    """

    def __init__(self, run: str | None, on_alarm: OnAlarm | None = None) -> None:
        if isinstance(on_alarm, str) and on_alarm not in ("log", "stop"):
            raise ValueError(f'on_alarm is {on_alarm!r}; say "log", "stop" or give a function')
        if on_alarm is not None and not run:
            raise ValueError("on_alarm came without a run: give the run a name, run='my-run-3'")
        self.run = run
        self._on_alarm = on_alarm or "log"
        self._seen: set[str] = set()
        self._first_step: int | None = None

    def names(self, step: int | None) -> dict[str, str | int | None]:
        """Return what a request says of the run; nothing without a name."""
        if not self.run:
            return {}
        if self._first_step is None:
            self._first_step = step
        return {"run": self.run, "step": step}

    def look(self, results: Sequence[ScoreResult | None]) -> None:
        """Act on the alarms that came with these results.

        Raises:
            StoppedByAlarm: there is one, and on_alarm is "stop".
        """
        for alarm in self.new(results):
            if callable(self._on_alarm):
                self._on_alarm(alarm)
                continue
            logger.warning("alarm: %s; samples %s", alarm.message, ", ".join(alarm.sample_ids))
            if self._on_alarm == "stop":
                raise StoppedByAlarm(
                    f"{alarm.message}. Look at the samples at /alarms, mend the reward or go on "
                    'with on_alarm="log"'
                )

    def new(self, results: Sequence[ScoreResult | None]) -> list[Alarm]:
        """Return the alarms that were not seen before, without those of the steps before this
        process began: a resumed run was told of them."""
        found: dict[str, Alarm] = {}
        for result in results:
            for alarm in result.alarms if result else ():
                if alarm.id not in self._seen and alarm.step >= (self._first_step or 0):
                    found[alarm.id] = alarm
        self._seen |= found.keys()
        return list(found.values())
