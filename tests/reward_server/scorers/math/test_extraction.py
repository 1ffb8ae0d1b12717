"""The answer's place and span, and the fallback under each policy."""

from __future__ import annotations

import pytest

from tests.growth import HANG_S, at_most
from touchstone_rewards.reward_server.scorers.math import math_check
from touchstone_rewards.reward_server.scorers.math.extract import find_answer
from touchstone_rewards.reward_server.scorers.math.policy import make_policy

STRICT = make_policy({"answer_from": ["boxed"]})
# A million characters of each, and the text that may follow.
FLOODS = [
    "\\boxed{x}", "\\boxed{", "\\boxed{5} or ", "\\fboxx", "{", "}", " ", "\n", "1", "1,", "1 ",
    "- ", "$", "$x", "$1$ ", "\\(", "\\[ x \\] ", "<think>", "<think></think>", "<answer>",
    "####", "</s>", "[PAD]", "[PAD]</s>", "<|", "the answer is ", "the answer is 5. ", "answer:\n",
    "\nA: ", "this answer is correct. ", "antwort ist ", "答案是", "选", "答えは", "답은",
    "ответ — ", "not 5 ", "4 or ", "x = 5, ", "I choose A ", "is the answer ", "if n ", "= ", "(1",
    "3 + ", "\\frac{", "<|begin_of_box|>", "\\phantom{", "I cannot ", "actually ", "\"", "`",
    "*", "_", "。", "\u3000", "１", "\\", "\\quad ", "5% ", "\"answer\": ",
]  # fmt: skip


@pytest.mark.parametrize("tail", ["", "5", "\\boxed{5}"])
@pytest.mark.parametrize("piece", FLOODS)
def test_a_million_characters_are_not_worked_on_for_long(piece: str, tail: str) -> None:
    text = piece * (1_000_000 // len(piece)) + tail
    with at_most(HANG_S):
        math_check(text, "5")


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("\\boxed{12}" + 38 * " " + "or" + 38 * " " + "!\\boxed{12}", 12),
        ("\\boxed{" + 1_200 * " " + "x}", 12),
        (16_000 * "\n", 12),
        (66_000 * "\\fboxx", 12),
    ],
)
def test_texts_that_once_took_seconds(text: str, most: int) -> None:
    with at_most(HANG_S):
        math_check(text, str(most))


@pytest.mark.parametrize(
    ("response", "place", "text", "shown"),
    [
        ("so \\boxed{5}.", "boxed", "5", "\\boxed{5}"),
        ("<think>x</think> so \\boxed{5}.", "boxed", "5", "\\boxed{5}"),
        ("<|begin_of_box|>A<|end_of_box|>", "boxed", "A", "<|begin_of_box|>A<|end_of_box|>"),
        ("<answer> 5 </answer>", "answer_tag", "5", "<answer> 5 </answer>"),
        ("The answer is $5$, as asked.", "phrase", "5", "$5$"),
        ("The answer is 5, as asked.", "phrase", "5", "5"),
        ("Die Antwort lautet 1.234,5.", "phrase", "1234.5", "1.234,5"),
        ("The point is (3, 4).", "last_value", "(3, 4)", "(3, 4)."),
        ("He has 3 + 4 = 7 apples.", "last_value", "7", "7"),
    ],
)
def test_an_answer_comes_with_its_place_and_span(
    response: str, place: str, text: str, shown: str
) -> None:
    answer = find_answer(response)
    assert answer is not None
    assert (answer.place, answer.text) == (place, text)
    assert response[answer.start : answer.end] == shown


def test_text_that_ends_in_a_formula_has_no_answer() -> None:
    for cut in ("So it is $\\frac{14}{3", "We get 3 + 4 =", "so \\(x = 5", "\\begin{cases} 4"):
        assert find_answer(cut) is None, cut


def test_a_box_that_never_closes_is_no_answer_nor_is_one_before_it() -> None:
    assert not math_check("so \\boxed{4}, in all \\boxed{1", "4").equal
    assert not math_check("so \\boxed{4}, in all \\boxed{1", "1").equal
    assert math_check("\\boxed{1. The answer is 1.", "1").equal


@pytest.mark.parametrize(
    "later",
    ["Actually, the answer is 6.", "Answer: 6", "<answer>6</answer>", "#### 6", "It should be 6."],
)
def test_a_later_answer_replaces_a_box_or_where_it_is_not_looked_for_denies_it(later: str) -> None:
    response = f"\\boxed{{5}}\n{later}"
    assert not math_check(response, "5").equal
    assert not math_check(response, "5", STRICT).equal
    assert not math_check(response, "6", STRICT).equal
    if later != "It should be 6.":
        assert math_check(response, "6").equal


def test_a_later_answer_of_the_same_worth_denies_nothing() -> None:
    response = "\\boxed{\\frac{1}{2}}\n\nThe answer is 0.5."
    assert math_check(response, "0.5", STRICT).equal
    assert math_check(response, "0.5").equal


def test_what_stands_behind_a_thought_that_never_ends_is_not_said() -> None:
    assert find_answer("<think>a</think><think>\\boxed{5}", ("boxed",)) is None


@pytest.mark.parametrize(
    ("response", "right", "wrong"),
    [
        ("A: 5\nB: 6\nC: 7\n\nThe answer is B.", "B", "5"),
        ("A: 5\nB: 6\nC: 7\n\nB", "B", "5"),
        ("So 6 is the answer. If 7 is the answer, we get 7 = 8.", "6", "7"),
        ("We would choose B. If I choose A, nothing holds.", "B", "A"),
    ],
)
def test_a_list_of_choices_and_a_supposition_announce_nothing(
    response: str, right: str, wrong: str
) -> None:
    assert math_check(response, right).equal
    assert not math_check(response, wrong).equal


@pytest.mark.parametrize(
    "response",
    [
        "\\boxed{5}. Not!",
        "It is false that the answer is \\boxed{5}",
        "It is wrong to say \\boxed{5}",
        "It is not the case that the answer is $5$.",
    ],
)
def test_an_answer_that_is_denied_from_afar_is_none(response: str) -> None:
    assert not math_check(response, "5").equal
