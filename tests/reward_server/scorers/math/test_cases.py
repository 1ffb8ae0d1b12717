"""Labeled pairs from other projects' test suites, and hostile inputs, if the data is present."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.growth import HANG_S, at_most
from touchstone_rewards.reward_server.scorers.math import (
    UnreadableGroundTruth,
    math_check,
    math_equal,
)

DATA = Path(__file__).parents[4] / ".." / "shared" / "data"


def _rows(name: str) -> list[dict[str, Any]]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not beside the checkout, under shared/data")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _verdict(kind: str, prediction: str, truth: str) -> bool:
    try:
        if kind == "answer":
            return math_equal(prediction, truth)
        return math_check(prediction, truth).equal
    except UnreadableGroundTruth:
        return False


def test_labelled_pairs_are_judged_as_labelled() -> None:
    rows = [row for row in _rows("math_cases.jsonl") if "debatable" not in row["tags"]]
    judged = [(row, _verdict(row["kind"], row["pred"], row["ground_truth"])) for row in rows]
    wrong = [row["id"] for row, equal in judged if equal != row["equal"]]
    wrongly_accepted = [row["id"] for row, equal in judged if equal and not row["equal"]]
    assert wrongly_accepted == []
    assert len(wrong) <= len(rows) // 100, wrong


def test_hostile_inputs_run_nothing_and_fool_nobody(tmp_path: Path) -> None:
    canary = str(tmp_path / "canary")
    for row in _rows("math_hostile.jsonl"):
        parts = row.get("pred_parts") or [[row["pred"], 1]]
        prediction = "".join(piece.replace("@CANARY@", canary) * times for piece, times in parts)
        with at_most(HANG_S):
            equal = _verdict(row["kind"], prediction, row["ground_truth"])
        assert row["expect"] is None or equal == row["expect"], row["id"]
    assert not Path(canary).exists()


def test_gsm8k_model_solutions_are_judged_as_labelled() -> None:
    labels = 0
    for row in _rows("gsm8k_model_solutions.jsonl"):
        for solution in row.values():
            if isinstance(solution, dict) and "is_correct" in solution:
                labels += 1
                verdict = math_check(solution["solution"], row["ground_truth"])
                assert verdict.equal == solution["is_correct"], solution["solution"]
    assert labels == 5276


def test_every_ground_truth_of_math500_is_itself_in_other_clothes() -> None:
    for row in _rows("math500.jsonl"):
        truth = row["answer"]
        for same in (f"${truth}$", f" {truth} .", truth.replace("\\frac", "\\dfrac")):
            assert math_equal(same, truth), same
        assert math_check(f"Hence the answer is $\\boxed{{{truth}}}$.", truth).equal
