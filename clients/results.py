"""What a call returns for each sample."""

from __future__ import annotations

from collections.abc import Sequence

from touchstone_rewards.reward_server.alarms import Alarm
from touchstone_rewards.reward_server.schemas import SampleResult


class ScoreResult(SampleResult, kw_only=True):
    """The verdict on one sample, and what made it: equal fingerprints mean equal rewards.

    `alarms`: those of the run that its answer came with.
    """

    profile: str
    fingerprint: str
    alarms: Sequence[Alarm] = ()
