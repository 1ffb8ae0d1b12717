"""React to the watch's alarms, which arrive with the rewards: log them, stop, or call a function.

The server repeats an alarm in the answers of a few steps, so that a lost answer loses no alarm;
`AlarmHook` reacts to each alarm once.
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
    """Applies `on_alarm` to each alarm about the run of this name, once.

    Raises:
        ValueError: `on_alarm` is neither "log", "stop" nor a function, or comes without `run`.
    """

    def __init__(self, run: str | None, on_alarm: OnAlarm | None = None) -> None:
        if isinstance(on_alarm, str) and on_alarm not in ("log", "stop"):
            raise ValueError(f'on_alarm is {on_alarm!r}; expected "log", "stop" or a function')
        if on_alarm is not None and not run:
            raise ValueError("on_alarm needs the name of the run: pass run='my-run-3'")
        self.run = run
        self._on_alarm = on_alarm or "log"
        self._seen: set[str] = set()
        self._first_step: int | None = None

    def names(self, step: int | None) -> dict[str, str | int | None]:
        """Return the arguments of `score` that name the run; none without a name."""
        if not self.run:
            return {}
        if self._first_step is None:
            self._first_step = step
        return {"run": self.run, "step": step}

    def look(self, results: Sequence[ScoreResult | None]) -> None:
        """Apply `on_alarm` to the new alarms in these results.

        Raises:
            StoppedByAlarm: there is one, and `on_alarm` is "stop".
        """
        for alarm in self.new(results):
            if callable(self._on_alarm):
                self._on_alarm(alarm)
                continue
            logger.warning("alarm: %s; samples %s", alarm.message, ", ".join(alarm.sample_ids))
            if self._on_alarm == "stop":
                raise StoppedByAlarm(
                    f"{alarm.message}. Look at the samples at /alarms, then fix the reward, or "
                    'continue with on_alarm="log"'
                )

    def new(self, results: Sequence[ScoreResult | None]) -> list[Alarm]:
        """Return the alarms that this process has not seen. Alarms about steps before its first one
        are skipped: they were reported before the run was resumed."""
        found: dict[str, Alarm] = {}
        for result in results:
            for alarm in result.alarms if result else ():
                if alarm.id not in self._seen and alarm.step >= (self._first_step or 0):
                    found[alarm.id] = alarm
        self._seen |= found.keys()
        return list(found.values())
