"""Rules in a server: inline ones and those in workers, one profile, one request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from touchstone_rewards.reward_server.live_server import LiveServer, ServerFailed

PROFILE = """
description: the right letter in the right tags, in few words
scorers:
  choice: {}
  tags: {weight: 0.0, gate_below: 1.0}
  length: {weight: 0.5, config: {shape: soft_overlong, most: 20, buffer: 10}}
  repetition: {weight: 0.0}
"""
ENGINES = """
scorers:
  regex: {config: {pattern: '\\bso\\b'}}
  json: {scorer: json_schema, weight: 0.0, config: {schema: {type: object}}}
"""


def test_a_profile_of_rules_is_served_by_the_event_loop_and_the_workers(
    tmp_path: Path, start_server: Callable[..., LiveServer]
) -> None:
    (tmp_path / "letters.yaml").write_text(PROFILE)
    (tmp_path / "broken.yaml").write_text("scorers: {tags: {config: {tag: think}}}")
    with pytest.raises(ServerFailed, match="there is no key 'tag'; the keys are tags, order"):
        start_server("--profiles_dir", str(tmp_path))
    (tmp_path / "broken.yaml").unlink()
    server = start_server("--profiles_dir", str(tmp_path))
    right = "<think>a b c</think><answer>The answer is B.</answer>"
    responses = [
        right,
        right.replace("B.", "A."),
        right.replace("<think>", ""),
        right + " more" * 100_000,
        right.replace("a b c", "a b c " * 10),
    ]
    samples = [
        {"id": str(n), "response": text, "ground_truth": "b"} for n, text in enumerate(responses)
    ]
    samples.append({"id": "none", "response": right})
    body = {"profile": "letters", "samples": samples, "explain": True}
    results = httpx2.post(f"{server.url}/score", json=body).json()["results"]
    assert [one["reward"] for one in results] == [1.0, 0.0, 0.0, 0.0, 0.5, None]
    assert results[-1]["error"]["code"] == "missing_field"
    assert results[0]["explanation"]["choice"]["chosen"] == ["B"]


def test_rules_with_an_engine_are_served(
    tmp_path: Path, start_server: Callable[..., LiveServer]
) -> None:
    for engine in ("re2", "jsonschema_rs"):
        pytest.importorskip(engine)
    (tmp_path / "engines.yaml").write_text(ENGINES)
    server = start_server("--profiles_dir", str(tmp_path))
    samples = [{"id": "1", "response": "and so on"}, {"id": "2", "response": '{"a": "also"}'}]
    body = {"profile": "engines", "samples": samples}
    results = httpx2.post(f"{server.url}/score", json=body).json()["results"]
    assert [one["scores"] for one in results] == [
        {"regex": 1.0, "json": 0.0},
        {"regex": 0.0, "json": 1.0},
    ]
