"""The summary in words of a workflow run, from the held-out rows of each model."""

from __future__ import annotations

import json
from pathlib import Path

from touchstone_rewards.trainer.limr.verdict import in_words, read_measured

SIZES = {"lim": 16, "random": 16}


def rows(right: int, of: int = 200) -> dict[str, float]:
    """Return rows of which the first `right` ones are right."""
    return {str(n): float(n < right) for n in range(of)}


def test_a_gain_a_tie_and_a_loss_are_said_in_plain_words() -> None:
    said = in_words(
        {"start": rows(40), "full": rows(120), "lim": rows(118), "random": rows(80)}, SIZES
    ).splitlines()
    assert said[0] == "What this means:"
    assert "PPO on all prompts helped: 20.0% of the held-out rows right before, 60.0%" in said[1]
    assert "+40.0 points, 95% interval" in said[1]
    assert "LIM's 16 prompts and all prompts cannot be told apart on these 200 rows" in said[2]
    assert "LIM's 16 prompts did better than 16 prompts at random in this run (+19.0" in said[3]
    assert "There is one run per model" in said[4]


def test_a_harm_is_called_so_and_what_was_not_compared_is_left_out() -> None:
    said = in_words({"start": rows(120), "full": rows(40), "lim": rows(20)}, SIZES)
    assert "did harm" in said
    assert "LIM's 16 prompts did worse than all prompts in this run" in said
    assert "random" not in said


def test_no_change_is_not_called_a_gain() -> None:
    assert "made no difference beyond chance" in in_words({"start": rows(40), "full": rows(41)}, {})


def test_rows_without_a_reward_are_in_no_figure(tmp_path: Path) -> None:
    lines = [
        {"id": "a/0", "group": "a", "reward": 1.0},
        {"id": "a/1", "group": "a", "reward": 0.5},
        {"id": "b", "group": "b", "reward": None},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "results.jsonl").write_text(text)
    assert read_measured(tmp_path) == {"a": 0.5}
