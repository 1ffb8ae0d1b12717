"""Clients of a Touchstone reward server. `__all__` is the public API."""

from __future__ import annotations

from touchstone_rewards.clients.client import AsyncRemoteRewardClient, RemoteRewardClient
from touchstone_rewards.clients.errors import (
    ClientClosed,
    InvalidRequest,
    InvalidSample,
    MalformedAnswer,
    MissingColumn,
    NoReward,
    PreflightFailed,
    RequestRefused,
    RewardClientError,
    RewardServerUnavailable,
    RewardsUnusable,
    StoppedByAlarm,
    TooManyFailures,
    Unauthorized,
    UnknownHost,
    UnknownProfile,
    UntrustedCertificate,
)
from touchstone_rewards.clients.results import ScoreResult
from touchstone_rewards.reward_server.alarms import Alarm
from touchstone_rewards.reward_server.remote.policy import RetryPolicy
from touchstone_rewards.reward_server.schemas import Sample

__all__ = [
    "Alarm",
    "AsyncRemoteRewardClient",
    "ClientClosed",
    "InvalidRequest",
    "InvalidSample",
    "MalformedAnswer",
    "MissingColumn",
    "NoReward",
    "PreflightFailed",
    "RemoteRewardClient",
    "RequestRefused",
    "RetryPolicy",
    "RewardClientError",
    "RewardServerUnavailable",
    "RewardsUnusable",
    "Sample",
    "ScoreResult",
    "StoppedByAlarm",
    "TooManyFailures",
    "Unauthorized",
    "UnknownHost",
    "UnknownProfile",
    "UntrustedCertificate",
]
