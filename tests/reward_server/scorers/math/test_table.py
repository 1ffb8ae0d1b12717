"""Every row of docs/math.md: the pairs that should be equal are, and the near miss is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from touchstone_rewards.reward_server.scorers.math import math_check, math_equal
from touchstone_rewards.reward_server.scorers.math.policy import DEFAULT, make_policy

PAGE = Path(__file__).parents[4] / "docs" / "math.md"


def _cells(line: str) -> list[str]:
    """Return the cells of a table row; a bar between backticks is part of its cell."""
    parts = re.findall(r"(?:`[^`]*`|[^|`])+", line.strip().strip("|"))
    return [part.strip() for part in parts]


def _rows(header: str) -> list[list[str]]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(header)) + 2
    rows: list[list[str]] = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append(_cells(line))
    return rows


CLASSES = _rows("| class |")
RESPONSES = _rows("| response |")


def _code(cell: str) -> str:
    """Return the text between a cell's backticks; several pieces are lines of one text."""
    return "\n".join(re.findall(r"`([^`]*)`", cell))


def test_the_page_has_its_rows() -> None:
    assert len(CLASSES) > 100
    assert len(RESPONSES) > 15


@pytest.mark.parametrize("row", CLASSES, ids=lambda row: row[0])
def test_the_example_holds_and_the_near_miss_does_not(row: list[str]) -> None:
    _, _, truth, holds, miss = row
    assert math_equal(_code(holds), _code(truth))
    assert math_equal(_code(truth), _code(truth))
    assert not math_equal(_code(miss), _code(truth))


@pytest.mark.parametrize("row", RESPONSES, ids=lambda row: row[0])
def test_a_response_is_judged_as_the_page_says(row: list[str]) -> None:
    response, truth, holds = row
    assert math_check(_code(response), _code(truth)).equal == (holds == "yes")


def test_the_strict_and_the_lenient_profile_are_those_of_the_page() -> None:
    profiles = PAGE.parents[1] / "reward_server" / "profiles"
    for column, name in ((2, "math_strict"), (4, "math_lenient")):
        content = yaml.safe_load((profiles / f"{name}.yaml").read_text(encoding="utf-8"))
        policy = make_policy(content["scorers"]["math"]["config"])
        for row in _rows("| key |"):
            key, value = _code(row[0]), row[column]
            if key == "answer_from":
                assert (len(policy.answer_from) == 5) == (value == "all five")
            else:
                assert str(getattr(policy, key)).lower() == _code(value), key


def test_the_default_column_is_the_default_policy() -> None:
    for row in _rows("| key |"):
        key, value = _code(row[0]), row[3]
        if key != "answer_from":
            assert str(getattr(DEFAULT, key)).lower() == _code(value), key
