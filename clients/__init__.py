"""Clients of a Touchstone reward server. What this module names is the whole public API."""

from __future__ import annotations

from clients.client import AsyncRemoteRewardClient, RemoteRewardClient
from clients.errors import (
    InvalidRequest,
    InvalidSample,
    MalformedAnswer,
    RequestRefused,
    RewardClientError,
    RewardServerUnavailable,
    Unauthorized,
    UnknownProfile,
)
from clients.protocol import ScoreResult
from reward_server.schemas import Sample

__all__ = [
    "AsyncRemoteRewardClient",
    "InvalidRequest",
    "InvalidSample",
    "MalformedAnswer",
    "RemoteRewardClient",
    "RequestRefused",
    "RewardClientError",
    "RewardServerUnavailable",
    "Sample",
    "ScoreResult",
    "Unauthorized",
    "UnknownProfile",
]
