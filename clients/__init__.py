"""Clients of a Touchstone reward server. What this module names is the whole public API."""

from __future__ import annotations

from touchstone_rewards.clients.client import AsyncRemoteRewardClient, RemoteRewardClient
from touchstone_rewards.clients.errors import (
    ClientClosed,
    InvalidRequest,
    InvalidSample,
    MalformedAnswer,
    RequestRefused,
    RewardClientError,
    RewardServerUnavailable,
    Unauthorized,
    UnknownProfile,
)
from touchstone_rewards.clients.results import ScoreResult
from touchstone_rewards.clients.retry import RetryPolicy
from touchstone_rewards.reward_server.schemas import Sample

__all__ = [
    "AsyncRemoteRewardClient",
    "ClientClosed",
    "InvalidRequest",
    "InvalidSample",
    "MalformedAnswer",
    "RemoteRewardClient",
    "RequestRefused",
    "RetryPolicy",
    "RewardClientError",
    "RewardServerUnavailable",
    "Sample",
    "ScoreResult",
    "Unauthorized",
    "UnknownProfile",
]
