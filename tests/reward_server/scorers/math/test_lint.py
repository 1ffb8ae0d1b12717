"""Doubtful ground truths, each with a similar one that is fine."""

from __future__ import annotations

from typing import Any

import pytest

from touchstone_rewards.reward_server.scorers.math import math_equal
from touchstone_rewards.reward_server.scorers.math.lint import KINDS, lint_truth, read_as


def kinds(truth: Any) -> list[str]:
    return [finding.kind for finding in lint_truth(truth)]


FINE = [
    "46", 46, 0.5, "-3", "1,000", "12{,}345", "\\frac{1}{2}", "x^2 + 1", "(1, 2)", "[0, 1)",
    "(-\\infty, 2) \\cup (3, \\infty)", "x < 3", "\\{1, 2\\}", "1, 2", "even", "\\text{(C)}", "Yes",
    "no solution", "\\mathbb{R}", "2:3", "4:30 pm", "20\\%", "90^\\circ", "y = 2x + 1",
    "\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}", "#### 46", "so \\boxed{46}", ["1/2", "0.5"],
    "0.333333", "\\sqrt{2}", "(1, 234)", "a\nb", "1.5", "3.14159", "2\\pi", "\\text{Even}",
]  # fmt: skip
DOUBTFUL: list[tuple[Any, str]] = [
    (None, "missing"),
    ("", "missing"),
    (" \n", "missing"),
    ([], "missing"),
    (float("nan"), "missing"),
    (True, "not_text"),
    ({"value": 3}, "not_text"),
    ("\\frac{1}{", "unreadable"),
    ("1 = 1", "unreadable"),
    ("(" * 60 + "1" + ")" * 60, "beyond_limits"),
    ("\\sum_{k=1}^{400}" * 3 + "k", "beyond_limits"),
    ('["34"]', "encoded_list"),
    ('["1/2", "0.5"]', "encoded_list"),
    ("\x0crac{1}{2}", "lost_backslash"),
    ("2\x08eta", "lost_backslash"),
    ("3 \text{ cm}", "lost_backslash"),
    ("frac{1}{2}", "lost_backslash"),
    ("2sqrt{3}", "lost_backslash"),
    ("x &lt; 3", "html"),
    ("3,7", "list_or_decimal"),
    ("$58,50$", "list_or_decimal"),
    ("1{,}5", "list_or_decimal"),
    ("(1,234)", "list_or_thousands"),
    ("5 \\text{ or } 6", "alternatives"),
    ("x = 2 or x = -2", "alternatives"),
    ("x \\approx 3.14", "approximation"),
    ("≈ 3.14", "approximation"),
    ("15 \\text{ cm}^2", "unit"),
    ("\\$5", "unit"),
    ("42 \\text{ apples}", "words"),
    ("\\text{The midpoints form a hexagon}", "prose"),
    ("0.30000000000000004", "float_digits"),
    ("A polygenic risk score", "prose"),
    ("\\int e^{-x^2} dx", "unread_part"),
    ("\\int_0^1 e^{-tx^2} dx", "unread_part"),
    ("1, 2, 5, \\ldots", "ellipsis"),
    ("221_3 + 1", "itself_only"),
    (["1/2", "3,7"], "list_or_decimal"),
]


@pytest.mark.parametrize("truth", FINE)
def test_a_plain_ground_truth_has_no_finding(truth: Any) -> None:
    assert lint_truth(truth) == []


@pytest.mark.parametrize(("truth", "kind"), DOUBTFUL)
def test_a_doubtful_ground_truth_has_its_kind(truth: Any, kind: str) -> None:
    assert kind in kinds(truth)
    assert all(finding.said for finding in lint_truth(truth))


def test_every_kind_has_a_case() -> None:
    assert {kind for _, kind in DOUBTFUL} == set(KINDS)


@pytest.mark.parametrize(
    ("truth", "suggestion"),
    [
        ("\x0crac{1}{2}", "\\frac{1}{2}"),
        ("3 \text{ cm}", "3 \\text{ cm}"),
        ("2sqrt{3}", "2\\sqrt{3}"),
        ('["1/2", "0.5"]', ["1/2", "0.5"]),
        ("[\"34\"]", ["34"]),
        ("\\frac{1}{2", "\\frac{1}{2}"),
        ("0.30000000000000004", "0.3"),
        ("1.234.567", "1234567"),
        ("x &lt; 3", "x < 3"),
        (True, "True"),
        ("3,7", None),
        ("1 = 1", None),
        ("\\frac{1}{", None),
    ],
)  # fmt: skip
def test_a_suggestion_is_made_where_one_is_sure(truth: Any, suggestion: Any) -> None:
    [finding] = lint_truth(truth)
    assert finding.suggestion == suggestion
    if suggestion is not None and isinstance(truth, str):
        assert math_equal(suggestion if isinstance(suggestion, str) else suggestion[0], suggestion)
        assert not [k for k in kinds(suggestion) if k in ("unreadable", "lost_backslash")]


def test_what_a_ground_truth_is_read_as_is_said() -> None:
    assert read_as("15 \\text{ cm}^2") == "15 cm^2"
    assert read_as(0.5) == "1/2"
    assert read_as(None) is None
    assert read_as("") is None
