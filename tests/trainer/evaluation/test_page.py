"""The page of an evaluation, and its table at 80 columns."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from touchstone_rewards.trainer.evaluation.page import groups, write_page
from touchstone_rewards.trainer.evaluation.write import RESULTS, SUMMARY, as_table, at_k_table

INTERVAL = [0.993, 1.0]
FIGURES = {
    "num_examples": 500,
    "num_samples": 500,
    "num_failed": 0,
    "accuracy": 1.0,
    "accuracy_interval": INTERVAL,
    "format_rate": 1.0,
    "format_rate_interval": INTERVAL,
    "avg_reward": 1.0,
    "avg_reward_interval": INTERVAL,
}
SUMMARY_OF_ALL: dict[str, Any] = {
    **FIGURES,
    "profile": "r1_zero",
    "model": "runs/grpo",
    "dataset": "test.jsonl",
    "generation": {"temperature": 0.7, "num_samples": 2},
    "also": {"math_lenient": FIGURES},
    "pass_at": {"1": {"value": 1.0, "interval": INTERVAL, "rows": 500}},
    "maj_at": None,
}


def line(row: str, number: int, reward: float | None) -> dict[str, Any]:
    return {
        "id": f"{row}/{number}",
        "group": row,
        "prompt": f"<i>question {row}</i>",
        "response": f"response {row}{number}",
        "ground_truth": f"truth {row}",
        "reward": reward,
        "scores": {},
        "error": None if reward is not None else {"code": "deadline_exceeded"},
    }


def test_rows_of_every_kind_are_shown_with_their_ground_truth(tmp_path: Path) -> None:
    rewards = {"a": (1.0, 1.0), "b": (0.0, 1.0), "c": (0.0, 0.5), "d": (None, None)}
    lines = [line(row, n, each) for row, pair in rewards.items() for n, each in enumerate(pair)]
    (tmp_path / RESULTS).write_text("".join(json.dumps(each) + "\n" for each in lines))
    (tmp_path / SUMMARY).write_text(json.dumps(SUMMARY_OF_ALL))
    labels = [group.label for group in groups(lines)]
    for kind, label in zip(
        ("right", "right in some responses", "wrong", "not scored"), labels, strict=True
    ):
        assert label.startswith(f"{kind} · row")
        assert label.endswith("(1 of 4 rows)")
    page = write_page(tmp_path).read_text()
    assert "&lt;i&gt;question a" in page
    assert "not scored: deadline_exceeded" in page
    assert "k = 1" in page
    assert "<dd>0.7</dd>" in page
    for row in "abcd":
        assert f"ground truth: truth {row}" in page


@pytest.mark.parametrize("name", ["before GRPO", "a_model_with_a_long_name-135M-instruct-grpo-3"])
def test_the_tables_are_whole_at_80_columns(name: str) -> None:
    console = Console(width=80, file=StringIO())
    console.print(as_table({name: SUMMARY_OF_ALL}))
    console.print(at_k_table(SUMMARY_OF_ALL))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    assert text.count("100.0% [99.3, 100.0]") == 5
    assert max(map(len, text.splitlines())) <= 80
    first_column = "".join(each[:13].partition("  ")[0] for each in text.splitlines())
    assert name.replace(" ", "") in first_column.replace(" ", "")
