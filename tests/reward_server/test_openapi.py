"""The OpenAPI document: a change of the wire shows in the diff of its snapshot."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from touchstone_rewards import __version__
from touchstone_rewards.reward_server.openapi import EXAMPLE, openapi_document
from touchstone_rewards.reward_server.schemas import ScoreRequest

SNAPSHOT = Path(__file__).with_name("openapi.json")


def test_the_wire_is_the_snapshots() -> None:
    document = openapi_document("Touchstone reward server", __version__)
    assert document == json.loads(SNAPSHOT.read_text()), "changed on purpose? run `make openapi`"


def test_every_reference_leads_somewhere() -> None:
    text = SNAPSHOT.read_text()
    components = json.loads(text)["components"]["schemas"]
    references = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert references <= set(components)
    assert {"ScoreRequest", "ScoreResponse", "ErrorBody"} <= references


def test_the_example_is_a_request() -> None:
    assert msgspec.convert(EXAMPLE, ScoreRequest).samples[0].ground_truth == "46"
