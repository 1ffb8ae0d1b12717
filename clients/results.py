"""The result of one sample."""

from __future__ import annotations

from collections.abc import Sequence

from touchstone_rewards.reward_server.alarms import Alarm
from touchstone_rewards.reward_server.schemas import SampleResult


class ScoreResult(SampleResult, kw_only=True):
    """The result of one sample, with the profile and its fingerprint: with equal fingerprints,
    equal samples get equal rewards.

    `alarms`: the watch's alarms about the run, if the call named one.
    """

    profile: str
    fingerprint: str
    alarms: Sequence[Alarm] = ()
