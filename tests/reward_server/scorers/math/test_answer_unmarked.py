"""Answers that nothing marks or announces: the last value of the text."""

from __future__ import annotations

import pytest

from touchstone_rewards.reward_server.scorers.math import math_check

HOLDS: list[tuple[str, str]] = [
    ("So x = 42.", "42"),
    ("So, $x = 42$.", "42"),
    ("The point is (3, 4).", "(3,4)"),
    ("The simplified expression is x + 1.", "x+1"),
    ("The simplified expression is x + y.", "x+y"),
    ("Altitude AD\n\nAD = h = 3 + 2√2.", "3+2\\sqrt{2}"),
    ("So it is <|begin_of_box|>42<|end_of_box|>.", "42"),
    ("The total is 72 clips, altogether.", "72"),
    ("The numbers are 3, 5 and 7.", "3,5,7"),
    ("x = 2 or x = 3.", "2,3"),
    ("It is 4, not 5.", "4"),
    ("It is $4$, not $5$.", "4"),
    ("The time is 4:30", "4:30"),
    ("So the value is -5.", "-5"),
    ("x = -5", "-5"),
    ("8 - 4 = 4, so 8", "8"),
    ("So x < 5.", "x<5"),
    ("The profit is $1,200 per year.", "1200"),
    ("Thus, x = 42", "42"),
    ("Therefore x=42.", "42"),
    ("Hence the value is 42.", "42"),
    ("It equals 42.", "42"),
    ("So the total is $42$ dollars.", "42"),
    ("= 42", "42"),
    ("6 * 7 = 42", "42"),
    ("$$42$$", "42"),
    ("\\(42\\)", "42"),
    ("`42`", "42"),
    ("**42**", "42"),
    ("*42*", "42"),
    ('"42"', "42"),
    ("f(x) = x^2 + 1", "x^2+1"),
    ("So f(x) = x^2 + 1.", "x^2+1"),
    ("The interval is [0, 1).", "[0,1)"),
    ("The set is {1, 2}.", "\\{1,2\\}"),
    ("The ratio is 3:2.", "3:2"),
    ("The probability is 3/4.", "\\frac{3}{4}"),
    ("The probability is 75%.", "75\\%"),
    ("The slope is -1/2.", "-\\frac{1}{2}"),
    ("The distance is √2.", "\\sqrt{2}"),
    ("The area is 2π.", "2\\pi"),
    ("The area is 2\\pi.", "2\\pi"),
    ("The solution is x = 2.", "x=2"),
    ("The equation of the line is y = 2x + 1.", "y=2x+1"),
    ("The equation of the line is 2x + y = 3.", "2x+y=3"),
    ("The solution is x > 2.", "x>2"),
    ("He has 10 apples left.", "10"),
    ("There are 10 of them.", "10"),
    ("She needs at most 10 minutes, exactly 10.", "10"),
    ("The chance is 1 in 3, or 1/3.", "1/3"),
]
DOES_NOT_HOLD: list[tuple[str, str]] = [
    ("It is not 5", "5"),
    ("It is not 5.", "5"),
    ("It isn't 5.", "5"),
    ("It is not $5$.", "5"),
    ("x is not equal to 5.", "5"),
    ("It is either 4 or 5", "5"),
    ("It is either 4 or 5.", "5"),
    ("It is either 4 or 5", "4"),
    ("It is either $4$ or $5$", "5"),
    ("It is 4 or 5 apples.", "5"),
    ("x = 4 or x = 5", "5"),
    ("The solutions are 4 and 5.", "5"),
    ("The point is (3, 4).", "4"),
    ("The simplified expression is x + 1.", "1"),
    ("Altitude AD\n\nAD = h = 3 + 2√2.", "2"),
    ("So n < 5.", "5"),
    ("So the value is $\\frac{14}{3", "3"),
    ("So the value is $\\frac{14}{3", "14"),
    ("So the total is 3 + 4 =", "4"),
    ("we get \\(x = 5", "5"),
    ("x ≠ 5", "5"),
    ("58,50", "50"),
    ("It is neither 4 nor 5.", "5"),
    ("It's not 5", "5"),
    ("It can't be 5.", "5"),
    ("It is never 5.", "5"),
    ("It is anything but 5", "5"),
    ("Either 4 or 5", "5"),
    ("4 or 5", "5"),
    ("maybe 4 or maybe 5", "5"),
    ("It is 5 or 6", "5"),
    ("It is 5 or 6", "6"),
    ("5 or 6?", "5"),
    ("It is 4, 5 or 6.", "5"),
    ("So we have $x = 12", "12"),
    ("Hence 3 + 4", "4"),
    ("The derivative is 3x.", "3"),
    ("The ratio is 3:2.", "2"),
    ("The interval is [0, 1).", "1"),
    ("The solution is x > 2.", "2"),
    ("The equation of the line is 2x + y = 3.", "3"),
    ("f(x) = x^2 + 1", "1"),
]


@pytest.mark.parametrize(("response", "truth"), HOLDS)
def test_the_answer_is_found(response: str, truth: str) -> None:
    assert math_check(response, truth).equal


@pytest.mark.parametrize(("response", "truth"), DOES_NOT_HOLD)
def test_no_other_text_is_taken_for_it(response: str, truth: str) -> None:
    assert not math_check(response, truth).equal
