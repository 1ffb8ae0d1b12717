"""`GET /scorers` lists the scorers that a profile may name, with their config as JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.checkout import live_server
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.schemas import Sample, ScorerInfo
from touchstone_rewards.reward_server.scorers import SCORERS, build_scorer
from touchstone_rewards.reward_server.scorers.base import ScorerSpec
from touchstone_rewards.reward_server.scorers.catalogue import Used, scorer_infos

REWARDS = "tests.reward_server.scorers.functions.rewards"


def used(name: str, **config: object) -> Used:
    return Used("mine", ScorerSpec(name, config), build_scorer(name, config))


def infos(*scorers: Used) -> dict[str, ScorerInfo]:
    return {info.name: info for info in scorer_infos(scorers)}


def test_every_built_in_scorer_says_what_it_is_and_what_it_takes() -> None:
    found = infos()
    assert list(found) == list(SCORERS)
    for info in found.values():
        assert info.description
        assert info.runs_in
        assert info.config["type"] == "object"
        assert set(info.reads) <= set(Sample.__struct_fields__)
    assert found["math"].config["properties"]["rounding"]["default"] == "exact"
    assert found["format"].config["properties"]["style"]["enum"] == ["think_answer", "r1_zero"]
    assert found["story"].runs_in == ["inline", "model"]
    assert found["story"].config["required"] == ["part"]
    assert "batch_tokens" in found["reward_model"].config["properties"]
    assert found["reward_model"].config["required"] == ["model"]
    similarity = found["similarity"]  # its model is here, or behind an endpoint
    assert similarity.range == (0.0, 1.0)
    assert "required" not in similarity.config
    assert similarity.config["properties"]["batch_tokens"]["default"] == 4096
    assert "url" in similarity.config["properties"]


def test_every_key_of_every_built_in_scorer_has_one_clear_line() -> None:
    for name, info in infos().items():
        for key, value in info.config["properties"].items():
            line = value.get("description", "")
            assert 8 <= len(line) <= 80, f"{name}.{key} needs a description: Field(description=…)"
            assert "\n" not in line
            assert not line.endswith("."), f"{name}.{key}"


@pytest.mark.parametrize("name", ["choice", "contains", "exact", "f1", "numeric", "tool_call"])
def test_a_rule_without_config_reads_what_its_row_says(name: str) -> None:
    assert infos()[name].reads == [
        field for field in Sample.__struct_fields__ if field in build_scorer(name, {}).reads
    ]


def test_functions_in_use_are_listed_with_their_config_and_nothing_that_a_sample_fills() -> None:
    found = infos(
        used(f"{REWARDS}:short_enough", most_chars=3),
        used(f"{REWARDS}:needs_weight", weight=2.0),
        used(f"trl:{REWARDS}:trl_text", columns={"gt_answer": "ground_truth"}),
        used(f"{REWARDS}:awaited"),
        used("math"),
    )
    short = found[f"{REWARDS}:short_enough"]
    most = {"default": 10, "title": "Most Chars", "type": "integer"}
    assert short.config["properties"] == {"most_chars": most}
    assert (short.runs_in, short.reads, short.range) == (["worker"], ["response"], (None, None))
    assert short.profiles == ["mine"]
    assert found[f"{REWARDS}:needs_weight"].config["required"] == ["weight"]
    assert found[f"{REWARDS}:awaited"].runs_in == ["remote"]
    assert found[f"trl:{REWARDS}:trl_text"].config["properties"] == {}
    assert found["math"].profiles == ["mine"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder: Path = tmp_path_factory.mktemp("catalogue")
    (folder / "mine.yaml").write_text(f"scorers: {{mine: {{scorer: '{REWARDS}:short_enough'}}}}\n")
    live = live_server(folder / "log", "--profiles_dir", str(folder)).start()
    yield live
    live.kill()


def test_the_route_lists_them(server: LiveServer) -> None:
    answer = httpx2.get(f"{server.url}/scorers")
    assert answer.status_code == 200
    found = {info["name"]: info for info in answer.json()["scorers"]}
    assert {"math", "math_strict"} <= set(found["math"]["profiles"])
    assert found[f"{REWARDS}:short_enough"]["profiles"] == ["mine"]
