"""The letter of a choice, in a sentence or alone."""

from __future__ import annotations

import pytest

from touchstone_rewards.reward_server.scorers.math import math_check

HOLDS: list[tuple[str, str]] = [
    ("<|begin_of_box|>A<|end_of_box|>", "A"),
    ("The answer is C because the others fail.", "C"),
    ("Answer: D, not B", "D"),
    ("ANSWER IS D. A is incorrect.", "D"),
    ("The answer is (b).", "B"),
    ("The answer is (B) because it is bigger.", "B"),
    ("Therefore option B is correct.", "B"),
    ("Final answer - B", "B"),
    ("**B**", "B"),
    ("some talk here.\n\nB", "B"),
    ("some talk here.\n\n(B)", "B"),
    ("The correct option is (B).", "B"),
    ("The correct answer is option B.", "B"),
    ('{"answer": "C"}', "C"),
    ("Answer: It is not B, the answer is D", "D"),
    ("The correct answer is C.", "C"),
    ("The correct answer is: C", "C"),
    ("The correct answer is (C) 42.", "C"),
    ("Correct answer: C", "C"),
    ("**Answer: C**", "C"),
    ("**Answer:** C", "C"),
    ("Answer: **C**", "C"),
    ("Answer: $\\textbf{(C)}$", "C"),
    ("Answer: (C)", "C"),
    ("Answer: C.", "C"),
    ("Answer: C) 42", "C"),
    ("Answer: C: because of this", "C"),
    ("Answer: [C]", "C"),
    ('The answer is "C".', "C"),
    ("The answer is option (C).", "C"),
    ("The answer is choice C.", "C"),
    ("The best answer is C, since the rest are wrong.", "C"),
    ("Therefore, the answer is C - the derivative is positive.", "C"),
    ("So the answer is C, the third option.", "C"),
    ("Hence, option (C) is correct.", "C"),
    ("I would choose C.", "C"),
    ("The answer is C. D is wrong since it has a sign error.", "C"),
    ("The answer is clearly C.", "C"),
    ("The answer should be C.", "C"),
    ("Answer C", "C"),
    ("C", "C"),
    ("C.", "C"),
    ("(C)", "C"),
    ("c)", "C"),
    ("Option C", "C"),
    ("Option (C)", "C"),
    ("\\boxed{C}", "C"),
    ("\\boxed{\\textbf{(C)}}", "C"),
    ("\\boxed{c)}", "C"),
    ("\\boxed{(c)}", "C"),
    ("\\boxed{\\text{C. } 42}", "C"),
    ("Answer – C", "C"),
]
DOES_NOT_HOLD: list[tuple[str, str]] = [
    ("The answer is C because B is wrong.", "B"),
    ("Answer: D, not B", "B"),
    ("ANSWER IS D. A is incorrect.", "A"),
    ("The answer is A or B.", "A"),
    ("The answer is A and C", "A"),
    ("The answer is a mystery.", "A"),
    ("Actually this one is tricky, I'm unsure", "A"),
    ("I cannot determine the answer.", "A"),
    ("Error: rate limited", "E"),
    ("The answer is B. Note that A is a common distractor.", "A"),
    ("The answer is not C.", "C"),
    ("The answer is B or C.", "C"),
    ("Answer: B, C", "C"),
    ("Option C is incorrect.", "C"),
    ("The answer is D because C is wrong.", "C"),
    ("The answer is D. C is close.", "C"),
    ("Answer: not C", "C"),
    ("I would not choose C.", "C"),
    ("The answer is A, B.", "B"),
    ("Answer: A/B", "B"),
    ("Answer: (A)(B)", "B"),
    ("Answer: AB", "B"),
    ("Answer: AB", "A"),
    ("A good answer would be hard.", "A"),
]


@pytest.mark.parametrize(("response", "truth"), HOLDS)
def test_the_answer_is_found(response: str, truth: str) -> None:
    assert math_check(response, truth).equal


@pytest.mark.parametrize(("response", "truth"), DOES_NOT_HOLD)
def test_no_other_text_is_taken_for_it(response: str, truth: str) -> None:
    assert not math_check(response, truth).equal
