"""Which texts an audit tries as wrong answers, and which it leaves out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from touchstone_rewards.reward_server.audit.near_misses import NEAR_MISSES, number_in
from touchstone_rewards.reward_server.audit.rewritings import REWRITINGS
from touchstone_rewards.reward_server.audit.rows import answers_in, read_audit_rows
from touchstone_rewards.reward_server.audit.strategies import STRATEGIES

MISSES = [
    ("rounded", "1250", "1200"),
    ("rounded", "7", None),
    ("nearly", "46", "45.9999999999999999"),
    ("nearly", "4.5", None),
    ("digits apart", "42", "4, 2"),
    ("digits apart", "1.5", "1, 5"),
    ("digits apart", "7", None),
    ("digits inside another number", "46", "1461"),
    ("a range around it", "46", "between 45 and 47"),
    ("one number in it changed", "\\frac{9}{2}", "\\frac{9}{3}"),
    ("one number in it changed", "46", None),
    ("one sign in it changed", "p - q", "p + q"),
    ("one sign in it changed", "x \\leq 5", "x \\geq 5"),
    ("one sign in it changed", "-3", None),
    ("left side alone", "y = 2x", "y"),
    ("left side alone", "2 = x", None),
    ("pair exchanged", "\\left( 3, \\frac{\\pi}{2} \\right)", "(\\frac{\\pi}{2}, 3)"),
    ("pair exchanged", "(3, 4)", "(4, 3)"),
    ("pair exchanged", "(3, 3)", None),
    ("point for comma", "1, 2", "1.2"),
    ("open end closed", "[0, 1)", "(0, 1)"),
    ("a thousand times the unit", "5 \\text{ eV}", "5 \\text{ keV}"),
    ("a thousand times the unit", "5 apples", None),
    ("next letter", "(E)", "A"),
]


@pytest.mark.parametrize(("name", "answer", "missed"), MISSES)
def test_a_near_miss_is_another_answer(name: str, answer: str, missed: str | None) -> None:
    assert NEAR_MISSES[name](answer) == missed


@pytest.mark.parametrize("answer", ["46", "-3", "4.5", "\\frac{9}{2}", "(3, 4)", "x = 5", "even"])
def test_no_near_miss_is_the_answer(answer: str) -> None:
    written = {name: miss(answer) for name, miss in NEAR_MISSES.items()}
    assert answer not in written.values()


def test_a_number_in_base_eight_is_no_number_in_base_ten() -> None:
    assert number_in("52_8") is None


def test_the_answer_of_an_object_stands_under_its_usual_names() -> None:
    assert answers_in({"target": ["46", "forty-six"]}) == ["46", "forty-six"]
    assert answers_in({"numbers": [1, 2]}) == []


def test_another_rows_answer_that_means_the_same_is_no_wrong_one(tmp_path: Path) -> None:
    truths = ["\\frac{1}{2}", "0.5", "50\\%", "3", "True", "yes"]
    lines = [json.dumps({"question": "?", "answer": truth}) for truth in truths]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    _, rows = read_audit_rows(tmp_path / "rows.jsonl", 10)
    assert set(rows[0].others) == {"3", "True", "yes"}
    assert "yes" not in rows[4].others
    always_yes = next(each for each in STRATEGIES if each.name == "always yes")
    assert [always_yes.write(row) for row in rows] == ["yes"] * 4 + [None, None]


@pytest.mark.parametrize(
    ("answer", "printed"),
    [("\\frac{9}{2}", "(9/2)"), ("p - q", "(p + -q)"), ("46", None), ("", None), ("52_8", None)],
)
def test_the_math_readers_own_spelling_is_tried(answer: str, printed: str | None) -> None:
    assert REWRITINGS["printed from its reading"](answer) == printed
