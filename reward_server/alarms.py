"""Alarms of the run watch, as sent in answers, at `/alarms` and to a webhook.

Importing this module is light: it needs msgspec only.
"""

from __future__ import annotations

from msgspec import Struct


class AlarmSample(Struct, frozen=True):
    """One of the samples that raised an alarm; long texts keep their beginning and end."""

    id: str
    prompt: str
    response: str
    reward: float | None


class Alarm(Struct, frozen=True, omit_defaults=True):
    """A signal of a run that left the range expected from the first part of the run.

    `id`: unique across restarts of the server. `time`: seconds since 1970. `run`, `profile`: where
    the signal was measured. `key`: the name of the API key that the run used, "" without keys.
    `step`: the last step looked at; `since`: the first step with the signal out of range.
    `expected`: the median of the first part; `tolerance`: the largest deviation from it that raises
    no alarm; `value`: the mean since `since`. `sample_ids`: the clearest cases of the last step.
    `samples`: those samples with their texts, at `/alarms` only.
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
    """The answer to `GET /alarms`, oldest alarm first."""

    alarms: list[Alarm]
