"""What a call returns for each sample."""

from __future__ import annotations

from touchstone_rewards.reward_server.schemas import SampleResult


class ScoreResult(SampleResult, kw_only=True):
    """The verdict on one sample, and what made it: equal fingerprints mean equal rewards."""

    profile: str
    fingerprint: str
