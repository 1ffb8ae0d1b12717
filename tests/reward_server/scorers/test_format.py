from __future__ import annotations

import subprocess
import sys

import pytest

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers import build_callable
from touchstone_rewards.reward_server.scorers.format import CASES


@pytest.mark.parametrize(("style", "response", "expected"), CASES)
def test_every_case_of_the_table_holds(style: str, response: str, expected: float) -> None:
    scorer = build_callable("format", {"style": style})
    [score] = scorer.score([Sample("a", response)])
    assert score.value == expected
    assert score.explanation is None


def test_an_explanation_names_the_rule_that_decided() -> None:
    scorer = build_callable("format", {})
    [score] = scorer.score([Sample("a", "<think>x</think> 4")], explain=True)
    assert score.explanation == {"rule": "no <answer>…</answer> pair"}


def test_white_space_between_the_tags_counts_as_one_space_only_if_asked() -> None:
    sample = Sample("a", "19 </think>\n\n<answer> 19 </answer>")
    strict = build_callable("format", {"style": "r1_zero"})
    collapsing = build_callable("format", {"style": "r1_zero", "collapse_whitespace": True})
    assert [strict.score([sample])[0].value, collapsing.score([sample])[0].value] == [0.0, 1.0]
    glued = Sample("b", "19 </think><answer> 19 </answer>")
    assert collapsing.score([glued])[0].value == 0.0


def test_the_last_complete_pair_is_taken() -> None:
    boxed, bare = "<answer>\\boxed{1}</answer>", "<answer>2</answer>"
    scorer = build_callable("format", {})
    texts = [f"<think>x</think>{boxed}{bare}<answer>3", f"<think>x</think>{bare}{boxed}</answer"]
    assert [scorer.score([Sample("a", text)])[0].value for text in texts] == [0.5, 1.0]


@pytest.mark.parametrize("config", [{"style": "xml"}, {"sytle": "r1_zero"}, {"style": ["r1_zero"]}])
def test_a_wrong_config_is_refused_and_named(config: dict) -> None:
    with pytest.raises(ConfigError, match="format"):
        build_callable("format", config)


@pytest.mark.parametrize(
    "piece", ["<answer>", "</answer>", "<think>", r"\boxed{", "</think> ", "{"]
)
def test_a_megabyte_of_one_tag_is_read_in_linear_time(piece: str) -> None:
    response = piece * (2**20 // len(piece))
    for style in ("think_answer", "r1_zero"):
        build_callable("format", {"style": style}).score([Sample("a", response)])


def test_the_module_prints_its_cases() -> None:
    command = [sys.executable, "-m", "touchstone_rewards.reward_server.scorers.format"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert len(printed.splitlines()) == len(CASES)
    assert "EXPECTED" not in printed
