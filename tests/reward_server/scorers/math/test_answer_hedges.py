"""Two answers at once, an answer taken back, text that breaks off: none of them is an answer."""

from __future__ import annotations

import pytest

from touchstone_rewards.reward_server.scorers.math import math_check, math_equal

# Answers of many shapes, as they stand in dollars.
ANSWERS = [
    "\\frac{27}{512}", "13", "x^2+5x+4", "37\\pi", "(6,0,7)", "[2,5)", "1,234", "\\sqrt{2}", "-39",
    "\\text{Evelyn}", "\\text{(B)}", "4210_{5}", "2x - 1", "\\{1, 2\\}", "35^\\circ", "\\$18.90",
    "\\begin{pmatrix} 7 \\\\ 8 \\end{pmatrix}", "0.5", "x = 3", "25\\%",
]  # fmt: skip
# RIGHT is the ground truth, OTHER another answer.
HEDGED = [
    "\\boxed{RIGHT} or OTHER",
    "$\\boxed{RIGHT}$ or $OTHER$",
    "$OTHER$ or $\\boxed{RIGHT}$",
    "\\boxed{RIGHT} or \\boxed{OTHER}",
    "\\boxed{OTHER} or \\boxed{RIGHT}",
    "The answer is not $\\boxed{RIGHT}$.",
    "$\\boxed{RIGHT}$ is incorrect.",
    "\\boxed{RIGHT}. Actually, the answer is $OTHER$.",
    "\\boxed{RIGHT}\nAnswer: $OTHER$",
    "\\boxed{RIGHT}\n<answer>OTHER</answer>",
    "\\boxed{RIGHT}\n\nThe answer is $OTHER$ or $RIGHT$.",
    "\\boxed{RIGHT} if n is even and \\boxed{OTHER} if n is odd",
    "\\boxed{OTHER} if n is even and \\boxed{RIGHT} if n is odd",
    "It is not $RIGHT$.",
    "It is either $OTHER$ or $RIGHT$.",
    "It is either $RIGHT$ or $OTHER$.",
    "The answer is not $RIGHT$.",
    "The answer is not RIGHT.",
    "The answer is $RIGHT$ or $OTHER$.",
    "The answer is OTHER or RIGHT.",
    "The answer is $OTHER$ rather than $RIGHT$.",
    "It is $OTHER$, not $RIGHT$.",
    "So we get \\(RIGHT",
    "So \\boxed{RIGHT",
    "The answer is $RIGHT$. This answer is wrong.",
    "A common wrong answer is $RIGHT$.",
    "\\boxed{\\phantom{RIGHT}}",
    "<think>\\boxed{RIGHT}</think> I do not know.",
]
STATED = [
    "\\boxed{RIGHT}",
    "$\\boxed{RIGHT}$, not $OTHER$",
    "\\boxed{OTHER}? No. \\boxed{RIGHT}",
    "\\boxed{OTHER}. Actually, the answer is $RIGHT$.",
    "\\boxed{OTHER}\n<answer>RIGHT</answer>",
    "The answer is $RIGHT$.",
    "The answer is $RIGHT$, not $OTHER$.",
    "The answer is $RIGHT$ because of the above.",
    "The answer is RIGHT.",
    "**Answer:** $RIGHT$",
    "**Final Answer**\n\n$RIGHT$",
    "Therefore, the value is $RIGHT$.",
    "Die Antwort lautet $RIGHT$.",
    "故答案为：$RIGHT$。",
    "<answer>$RIGHT$</answer>",
    "#### RIGHT",
]
PAIRS = [(one, other) for one, other in zip(ANSWERS, ANSWERS[1:] + ANSWERS[:1], strict=True)]


def _filled(template: str, right: str, other: str) -> str:
    return template.replace("RIGHT", right).replace("OTHER", other)


@pytest.mark.parametrize("template", HEDGED)
def test_a_hedged_answer_is_right_for_no_truth(template: str) -> None:
    for right, other in PAIRS:
        response = _filled(template, right, other)
        assert not math_check(response, right).equal, response


@pytest.mark.parametrize("template", STATED)
def test_a_stated_answer_is_right_for_its_truth_alone(template: str) -> None:
    for right, other in PAIRS:
        if right == "1,234" and "Antwort" in template:
            continue  # in German 1.234
        response = _filled(template, right, other)
        assert math_check(response, right).equal, response
        assert not math_check(response, other).equal, response


def test_the_answers_differ() -> None:
    assert not any(math_equal(one, other) for one, other in PAIRS)
