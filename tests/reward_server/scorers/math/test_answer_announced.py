"""Answers announced in English: what is told, what is a comment, what is hedged."""

from __future__ import annotations

import pytest

from touchstone_rewards.reward_server.scorers.math import math_check

HOLDS: list[tuple[str, str]] = [
    ("The answer is 5. This answer is correct.", "5"),
    ("The answer is False.\nThis answer is correct.", "False"),
    ("Some working.\nAnswer: `$13$`", "13"),
    ("The answer is `13`.", "13"),
    ('{"answer": 42}', "42"),
    ("Answer: m+n = 256+37 = 293", "293"),
    ("The answer is 46.[/INST]", "46"),
    ("**Final Answer**\n\n42", "42"),
    ("### Final Answer:\n$$42$$", "42"),
    ("## Answer\n\n$42$", "42"),
    ("The final answer is:\n\n42", "42"),
    ("The answer to the question is 42.", "42"),
    ("The answer, in simplest form, is 42.", "42"),
    ("The answer must be 42.", "42"),
    ("Thus 42 is the answer.", "42"),
    ("Therefore, $6$ is our answer.", "6"),
    ("The answer is 24. A common wrong answer is 12.", "24"),
    ("The answer is 24. If the answer is 12, then we get nonsense.", "24"),
    ("At first I thought the answer was 12. The answer is 24.", "24"),
    ("The answers are 42.", "42"),
    ("The answers are 2 and 3.", "2,3"),
    ("Answer: There are 3 + 4 = 7 apples in all.", "7"),
    ("Ans: 42", "42"),
    ("The result of this is 42.", "42"),
    ("The answer is $42$, which is even.", "42"),
    ("The answer is 42, since 6*7=42.", "42"),
    ("The answer is 42 (forty-two).", "42"),
    ("The answer is no solution.", "no solution"),
    ("The answer is Yes, because it holds.", "Yes"),
    ("Answer: No", "No"),
    ("The answer is 3^2.", "9"),
    ("The answer is 1/2.", "1/2"),
    ("Final Answer: The final answer is $5$. I hope it is correct.", "5"),
    ("The final answer is 5. I hope this helps!", "5"),
    ("The answer? 42.", "42"),
    ("Answer:42", "42"),
    ("answer is 42", "42"),
    ("ANSWER: 42", "42"),
    ("The answer is:42", "42"),
    ("Answer = 42", "42"),
    ("A: 42", "42"),
    ("Result: 42", "42"),
    ("The final result is 42.", "42"),
]
DOES_NOT_HOLD: list[tuple[str, str]] = [
    ("The answer is False.\nThis answer is correct.", "True"),
    ("The answer is No. This answer is correct.", "Yes"),
    ("The answer is False. The answer is correct.", "True"),
    ("My answer is False. My answer is right.", "True"),
    ("The answer is not 42.", "42"),
    ("The answer isn't 42.", "42"),
    ("The answer cannot be 42.", "42"),
    ("I don't think the answer is 42.", "42"),
    ("It is not true that the answer is 42.", "42"),
    ("A common wrong answer is 42.", "42"),
    ("The answer is $5 + ", "5"),
    ("The answer is $12 + 5", "17"),
    ("We have 3 apples. Answer: I cannot determine the value.", "3"),
    ("The answer is 5. This is wrong.", "5"),
    ("The answer is 5. This answer is incorrect.", "5"),
    ("The answer is 5 or 6.", "5"),
    ("The answer is $5$ or $6$.", "5"),
    ("The answer is $5$ or 6.", "5"),
    ("The answer is 5 if n is odd and 6 if n is even.", "5"),
    ("The answer is $5$ if n is odd and $6$ if n is even.", "5"),
    ("The answer is at least 5.", "5"),
    ("The answer is about 5.", "5"),
    ("I doubt the answer is 5.", "5"),
    ("The answer is definitely not 5.", "5"),
    ("The answer could be 5 or 6.", "5"),
    ("The answer is False. This is the correct answer.", "True"),
    ("False. The answer is correct.", "True"),
    ("The answer is No. That answer is right.", "Yes"),
    ("Answer: No. My answer is correct.", "Yes"),
    ("The answer is Yes. This answer is wrong?", "No"),
    ("The answer is $\\frac{14}{3", "3"),
    ("The answer is \\frac{1", "1"),
    ("The answer is 5 unless n is even.", "5"),
    ("The answer is less than 5.", "5"),
    ("The answer is between 4 and 5.", "5"),
    ("The answer is $x \\neq 5$.", "5"),
]


@pytest.mark.parametrize(("response", "truth"), HOLDS)
def test_the_answer_is_found(response: str, truth: str) -> None:
    assert math_check(response, truth).equal


@pytest.mark.parametrize(("response", "truth"), DOES_NOT_HOLD)
def test_no_other_text_is_taken_for_it(response: str, truth: str) -> None:
    assert not math_check(response, truth).equal
