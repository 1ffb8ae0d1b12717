"""A text of any nesting gets a verdict, which depends on whose text it is."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.math import MathScorer, Verdict, math_check

AROUND = [
    ("{", "}"), ("(", ")"), ("[", "]"), ("\\{", "\\}"), ("\\left(", "\\right)"), ("|", "|"),
    ("\\|", "\\|"), ("\\lfloor ", "\\rfloor "), ("\\text{", "}"), ("\\boxed{", "}"),
    ("\\frac{", "}{2}"), ("\\frac{1}{", "}"), ("\\sqrt{", "}"), ("\\sqrt[3]{", "}"),
    ("\\overline{", "}"), ("\\sin(", ")"), ("\\binom{5}{", "}"), ("x^{", "}"), ("x_{", "}"),
    ("f(", ")"), ("\\begin{pmatrix}", "\\end{pmatrix}"), ("\\begin{cases}", "\\end{cases}"),
    ("**", "**"), ("$", "$"), ("\\(", "\\)"), ("\\{x|", "\\}"), ("<sup>", "</sup>"),
    ("((1,2),", ",(1,2))"),
]  # fmt: skip
BEHIND = [
    "!", "! ", "%", "\\%", "(A)", "(A) ", "A. ", "^2", "^", "_2", "^{\\circ}", "^\\circ", "'",
    "/2", "\\cup 5", "\\cap\\{5\\}", "\\setminus 5", "\\pm 1", "\\mp 1", "\\mod 2", "\\over 2",
    "\\choose 2", "=5", "<5", ":5", ",5", ";5", " and 5", " or 5", " million", " cm",
    " hour 30 minutes", " apples", "\\equiv 5", "\\in 5", "\\approx 5", "\\to 5", "\\cdot 5",
    "+5", "-5", "(5)", "\\text{ cm}", "\\text{ or }5", "e5", " 1/2", "\\frac12", "...",
    "\\ldots", "&5", "\\\\ 5",
]  # fmt: skip
BEFORE = [
    "-", "\\$", "\\sin ", "\\sqrt ", "\\forall ", "\\sum_{k=1}^{2}", "\\prod", "\\int ",
    "\\lim_{x\\to 0}", "\\frac", "\\frac1", "x^", "x_", "\\vec ", "the answer is ", "answer: ",
    "Area = ", "Area: ", "x is ", "option ", "x=", "\\log_", "\\angle ", "\\pm", "\\sqrt[",
    "\\overline", "(A) ", "A) ", "a(", "f'(", "\\det", "(", "[", "|", "\\{",
]  # fmt: skip
TEXTS: dict[str, Callable[[int], str]] = {
    **{f"{o}…{c}": lambda n, o=o, c=c: o * n + "5" + c * n for o, c in AROUND},
    **{f"5{s}…": lambda n, s=s: "5" + s * n for s in BEHIND},
    **{f"{s}…5": lambda n, s=s: s * n + "5" for s in BEFORE},
}


@pytest.mark.parametrize("depth", [40, 145, 600, 1_900])
@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_a_nested_answer_gets_a_score(text: Callable[[int], str], depth: int) -> None:
    responses = [f"\\boxed{{{text(depth)}}}", text(depth)]
    samples = [Sample(str(at), response, ground_truth="7") for at, response in enumerate(responses)]
    for score in MathScorer().score(samples, explain=True):
        assert score.value in (0.0, 1.0), score.error


@pytest.mark.parametrize("depth", [145, 600, 1_900])
@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_a_nested_ground_truth_is_read_or_refused(text: Callable[[int], str], depth: int) -> None:
    truth = text(depth)
    responses = ["\\boxed{7}", f"\\boxed{{{truth}}}", f"\\boxed{{{text(depth - 1)}}}"]
    samples = [Sample("1", response, ground_truth=truth) for response in responses]
    for score in MathScorer().score(samples):
        if score.value is None:
            assert score.error is not None
            assert score.error.code == "bad_ground_truth"


@pytest.mark.parametrize("kind", ["5\\%…", "{…}", "\\frac{…}{2}", "|…|", "5\\cup 5…"])
def test_depth_beyond_the_limit_is_undecided_and_says_so(kind: str) -> None:
    verdict = math_check(f"\\boxed{{{TEXTS[kind](160)}}}", "7")
    assert not verdict.equal
    assert verdict.undecided
    assert verdict.method.startswith("undecided: nested deeper than")
    score = MathScorer().score([Sample("1", "\\boxed{7}", ground_truth=TEXTS[kind](160))])[0]
    assert score.error is not None
    assert score.error.code == "bad_ground_truth"
    assert "nested deeper than" in score.error.message


COSTLY = "\\sum_{k=1}^{400}" * 3 + "k"


def test_work_that_the_response_causes_is_undecided() -> None:
    verdict = math_check(f"\\boxed{{{COSTLY}}}", "7")
    assert (verdict.equal, verdict.method) == (False, "undecided: too much work to decide")
    assert verdict.undecided


def test_work_that_the_ground_truth_causes_alone_is_its_error() -> None:
    for response in ("\\boxed{7}", f"\\boxed{{{COSTLY} + 1}}"):
        score = MathScorer().score([Sample("1", response, ground_truth=COSTLY)])[0]
        assert score.error is not None
        assert score.error.code == "bad_ground_truth"
        assert "too much work" in score.error.message
    assert math_check(f"\\boxed{{{COSTLY}}}", COSTLY).equal


def test_a_plain_no_is_not_undecided() -> None:
    assert not math_check("\\boxed{8}", "7").undecided
    assert not math_check("I do not know", "7").undecided


def _from_below(frames: int, response: str) -> Verdict:
    if frames:
        return _from_below(frames - 1, response)
    return math_check(response, "7")


def test_a_caller_whose_own_stack_is_deep_gets_a_verdict_too() -> None:
    used = len(_frames())
    for left in (300, 200):
        deep = sys.getrecursionlimit() - used - left
        assert _from_below(deep, "\\boxed{\\frac{14}{2}}").equal
        assert not _from_below(deep, f"\\boxed{{{'{' * 45}8{'}' * 45}}}").equal


def _frames() -> list[object]:
    found: list[object] = []
    frame = sys._getframe()
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found
