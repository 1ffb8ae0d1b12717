"""The messages between the processes of one server."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from touchstone_rewards.reward_server.received import ReceivedSample
from touchstone_rewards.reward_server.schemas import SampleResult
from touchstone_rewards.reward_server.scoring.engine import Engine
from touchstone_rewards.reward_server.telemetry.metrics import Answered
from touchstone_rewards.reward_server.telemetry.others import TakenCounts
from touchstone_rewards.reward_server.telemetry.tallies import Verdicts


class AskedScore(Struct, array_like=True):
    """A request for the first process to score, as JSON; `caller` is the name of its key."""

    request: bytes
    observed: bool
    gather: bool
    caller: str
    request_id: str


class AskedPage(Struct, array_like=True):
    """Any other request for the first process to answer."""

    method: str
    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    caller: str
    request_id: str


class AnsweredPage(Struct, array_like=True):
    """The answer to an `AskedPage`."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Observed(Struct, array_like=True):
    """Scored samples, as JSON, for the observers in the first process."""

    profile: str
    fingerprint: str
    samples: bytes
    results: bytes


class ProcessReport(Struct, array_like=True):
    """The counts and samples of the process at `place` since its last report."""

    place: int
    taken: TakenCounts
    answered: list[Answered]
    verdicts: list[tuple[str, Verdicts]]
    observed: list[Observed]


decode_samples = msgspec.json.Decoder(list[ReceivedSample]).decode
decode_results = msgspec.json.Decoder(list[SampleResult]).decode
encode_json = msgspec.json.encode
packed = msgspec.msgpack.encode


def unpacked(body: bytes, kind: Any) -> Any:
    """Decode one of the structs above."""
    return msgspec.msgpack.decode(body, type=kind)


def fingerprints(engine: Engine) -> dict[str, str]:
    """Return the fingerprint of each profile that every process scores itself."""
    return {
        name: profile.fingerprint
        for name, profile in engine.profiles.items()
        if not profile.kept_once
    }
