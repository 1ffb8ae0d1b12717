"""What the watch over a run raises, as it travels: in answers, at `/alarms`, to a webhook.

Importing this module is light: msgspec only.
"""

from __future__ import annotations

from msgspec import Struct


class AlarmSample(Struct, frozen=True):
    """One of the samples that raised an alarm; long texts by their beginning and end."""

    id: str
    prompt: str
    response: str
    reward: float | None


class Alarm(Struct, frozen=True, omit_defaults=True):
    """That a signal of a run left what the run's own first part had led to expect.

    `id`: unique over restarts of the server. `time`: seconds since 1970. `run`, `profile`: whose.
    `key`: the name of the key that the run's requests came with, "" without keys. `step`: the last
    one looked at; `since`: the step from which on the signal was off. `expected`: the median of the
    first part; `tolerance`: how far from it nothing is said; `value`: the mean since `since`.
    `sample_ids`: those of the last step that show it most. `samples`: the same with their texts,
    at `/alarms` only.
    """

    id: str
    time: float
    run: str
    profile: str
    fingerprint: str
    signal: str
    step: int
    since: int
    expected: float
    tolerance: float
    value: float
    message: str
    key: str = ""
    sample_ids: list[str] = []
    samples: list[AlarmSample] = []


class AlarmList(Struct):
    """The answer to `GET /alarms`, the oldest first."""

    alarms: list[Alarm]
