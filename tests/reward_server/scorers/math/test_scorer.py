"""The scorer: its config, ground truths of every kind, and errors that are not scores."""

from __future__ import annotations

from typing import Any

import pytest

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers import build_scorer
from touchstone_rewards.reward_server.scorers.math import (
    MathScorer,
    UnreadableGroundTruth,
    math_check,
    math_equal,
)


def _score(response: str, truth: Any, **config: Any) -> float | None:
    return MathScorer(**config).score([Sample("1", response, ground_truth=truth)])[0].value


@pytest.mark.parametrize(
    "truth",
    ["46", 46, 46.0, "#### 46", "working\n#### 46", "\\boxed{46}", "$46$", "so\nA: 46", ["x", 46]],
)
def test_a_ground_truth_may_come_in_any_usual_form(truth: Any) -> None:
    assert _score("\\boxed{46}", truth) == 1.0
    assert _score("\\boxed{47}", truth) == 0.0


@pytest.mark.parametrize("truth", [None, "", "  ", "NaN", [], "\\boxed{}", "\\frac{1}{", True])
def test_an_unreadable_ground_truth_is_an_error_and_no_score(truth: Any) -> None:
    score = MathScorer().score([Sample("1", "\\boxed{46}", ground_truth=truth)])[0]
    assert score.value is None
    assert score.error is not None
    assert score.error.code == "bad_ground_truth"


def test_a_ground_truth_that_is_not_understood_still_equals_its_own_text() -> None:
    truth = "\\oint_C \\mathbf{F}"
    assert math_equal("\\oint_C\\, \\mathbf{F}", truth)
    with pytest.raises(UnreadableGroundTruth):
        math_equal("3", truth)


def test_one_of_several_acceptable_answers_is_enough() -> None:
    assert _score("\\boxed{0.5}", ["1/3", "1/2"]) == 1.0
    assert _score("\\boxed{0.25}", ["1/3", "1/2"]) == 0.0


def test_an_unreadable_alternative_does_not_hide_a_right_one() -> None:
    assert _score("\\boxed{0.5}", ["\\frac{1}{", "1/2"]) == 1.0
    assert _score("\\boxed{0.25}", ["\\frac{1}{", "1/2"]) is None


def test_a_number_is_exact_however_large() -> None:
    assert _score("\\boxed{36893488147419103233}", 2**65 + 1) == 1.0
    assert _score("\\boxed{36893488147419103232}", 2**65 + 1) == 0.0


def test_the_explanation_says_what_was_found_and_what_decided() -> None:
    sample = Sample("1", "so $\\boxed{\\frac{1}{2}}$", ground_truth="0.5")
    explanation = MathScorer().score([sample], explain=True)[0].explanation
    assert explanation == {
        "equal": True,
        "method": "exact rationals",
        "answer": "\\frac{1}{2}",
        "place": "boxed",
        "span": [4, 23],
        "read_answer": "(1/2)",
        "read_ground_truth": "1/2",
    }


def test_answers_are_sought_only_where_the_config_says() -> None:
    assert _score("\\boxed{1} <answer>2</answer>", "2", answer_from=["answer_tag"]) == 1.0
    assert _score("\\boxed{2}", "2", answer_from=["answer_tag"]) == 0.0
    assert _score("<answer>so \\boxed{2}</answer>", "2", answer_from=["answer_tag"]) == 1.0
    assert _score("<answer>\\boxed</answer>", "2", answer_from=["answer_tag"]) == 0.0


@pytest.mark.parametrize(
    ("config", "answer", "truth", "without", "with_it"),
    [
        ({"boxes": "all_agree"}, "\\boxed{8} or rather \\boxed{7}", "7", 1.0, 0.0),
        ({"boxes": "all_agree"}, "\\boxed{14/2}, that is \\boxed{7}", "7", 1.0, 1.0),
        ({"rounding": "ground_truth_precision"}, "\\boxed{3.14159}", "3.14", 0.0, 1.0),
        ({"rounding": "ground_truth_precision"}, "\\boxed{\\pi}", "3.14", 0.0, 1.0),
        ({"rounding": "ground_truth_precision"}, "\\boxed{3.15}", "3.14", 0.0, 0.0),
        ({"rounding": "ground_truth_precision"}, "\\boxed{85.71}", "600/7", 0.0, 1.0),
        ({"rounding": "ground_truth_precision"}, "\\boxed{0.33}", "1/3", 0.0, 0.0),
        ({"order": "ordered"}, "\\boxed{2, 1}", "1, 2", 1.0, 0.0),
        ({"order": "ordered"}, "\\boxed{\\{2, 1\\}}", "\\{1, 2\\}", 1.0, 1.0),
        ({"units": "required"}, "\\boxed{3}", "3 \\text{ m}", 1.0, 0.0),
        ({"units": "required"}, "\\boxed{300 \\text{ cm}}", "3 \\text{ m}", 1.0, 1.0),
        ({"units": "ignored"}, "\\boxed{3 \\text{ km}}", "3 \\text{ m}", 0.0, 1.0),
        ({"percent": "value"}, "\\boxed{20}", "20\\%", 1.0, 0.0),
        ({"percent": "value"}, "\\boxed{0.2}", "20\\%", 1.0, 1.0),
        ({"angles": "strict"}, "\\boxed{90}", "90^\\circ", 1.0, 0.0),
        ({"angles": "strict"}, "\\boxed{\\pi/2}", "90^\\circ", 1.0, 1.0),
        ({"retractions": "ignore"}, "\\boxed{7}. No wait.", "7", 0.0, 1.0),
        ({"decimal_comma": False}, "\\boxed{1,22}", "1.22", 1.0, 0.0),
    ],
)
def test_what_is_a_matter_of_opinion_is_configured(
    config: dict[str, Any], answer: str, truth: str, without: float, with_it: float
) -> None:
    assert _score(answer, truth) == without
    assert _score(answer, truth, **config) == with_it


@pytest.mark.parametrize(
    "config",
    [
        {"tolerance": 1e-6},
        {"boxes": "first"},
        {"answer_from": "boxed"},
        {"answer_from": []},
        {"answer_from": ["box"]},
        {"decimal_comma": "yes"},
    ],
)
def test_a_config_that_cannot_be_meant_is_refused_by_name(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(config))):
        build_scorer("math", config)


def test_the_same_pair_is_decided_the_same_way_each_time() -> None:
    pair = ("\\sin(x + y)", "\\sin x \\cos y + \\cos x \\sin y")
    assert math_check(f"\\boxed{{{pair[0]}}}", pair[1]) == math_check(
        f"\\boxed{{{pair[0]}}}", pair[1]
    )


@pytest.mark.parametrize(
    ("answer", "undecided"),
    [(".", None), (",", None), (":", None), ("— …", None), ("\\boxed{46@@}", "response")],
)
def test_signs_alone_are_wrong_and_no_question_for_another_scorer(
    answer: str, undecided: str | None
) -> None:
    scorer = build_scorer("math", {})
    assert scorer.runs_in == "worker"
    [score] = scorer.score([Sample("a", answer, ground_truth="3")])
    assert (score.value, score.undecided) == (0.0, undecided)
