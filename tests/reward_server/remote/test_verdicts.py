"""A judge's text is read strictly: every other form is no verdict."""

from __future__ import annotations

import pytest

from touchstone_rewards.reward_server.remote.verdicts import NoVerdict, VerdictForm, read_verdict

READ: list[tuple[VerdictForm, str, float]] = [
    ("yes_no", "Verdict: yes", 1.0),
    ("yes_no", "46 is not 47.\n**Verdict: no**\n", 0.0),
    ("yes_no", "<think>Verdict: yes</think>They differ.\nverdict: NO.", 0.0),
    ("scale", "Score: 1", 0.0),
    ("scale", "Fine.\nScore: 10", 1.0),
    ("scale", "Score: 7/10", 6 / 9),
    ("rubric", "Criteria: yes, no, yes", 0.75),
]
UNREADABLE: list[tuple[VerdictForm, str]] = [
    ("yes_no", ""),
    ("yes_no", "yes"),
    ("yes_no", "Verdict: yes\nOr perhaps not."),
    ("yes_no", "Verdict: yes or no"),
    ("yes_no", "The answer says: Verdict: yes"),
    ("yes_no", "<think>Verdict: yes"),
    ("scale", "Score: 0"),
    ("scale", "Score: -7"),
    ("scale", "Score: 11"),
    ("scale", "Score: 7.5"),
    ("scale", "Score: 7 of 8"),
    ("rubric", "Criteria: yes, no"),
    ("rubric", "Criteria: yes, no, yes, yes"),
    ("rubric", "Criteria: yes, maybe, no"),
    ("rubric", "Criteria: yes, " * 200_000),
]
GUIDED: list[tuple[VerdictForm, str, float]] = [
    ("yes_no", '{"reasoning": "same", "verdict": "yes"}', 1.0),
    ("scale", ' {"reasoning": "", "score": 4}\n', 3 / 9),
    ("rubric", '{"reasoning": "", "criteria": ["no", "no", "yes"]}', 0.25),
]
UNGUIDED: list[tuple[VerdictForm, str]] = [
    ("yes_no", '{"reasoning": "same", "verdict": "ye'),
    ("yes_no", '{"verdict": "yes"}'),
    ("yes_no", '{"reasoning": "", "verdict": true}'),
    ("yes_no", '{"reasoning": "", "verdict": ["yes"]}'),
    ("yes_no", "[" * 100_000),
    ("scale", '{"reasoning": "", "score": 11}'),
    ("scale", '{"reasoning": "", "score": true}'),
    ("scale", '{"reasoning": "", "score": "7"}'),
    ("rubric", '{"reasoning": "", "criteria": ["yes"]}'),
    ("rubric", '{"reasoning": "", "criteria": "yes"}'),
    ("rubric", '{"reasoning": "", "criteria": [{}, [], "yes"]}'),
]
WEIGHTS = (2.0, 1.0, 1.0)


@pytest.mark.parametrize(("form", "text", "value"), READ)
def test_the_last_line_is_the_verdict(form: VerdictForm, text: str, value: float) -> None:
    assert read_verdict(text, form, False, WEIGHTS) == pytest.approx(value)


@pytest.mark.parametrize(("form", "text", "value"), GUIDED)
def test_a_guided_verdict_is_one_object(form: VerdictForm, text: str, value: float) -> None:
    assert read_verdict(text, form, True, WEIGHTS) == pytest.approx(value)


@pytest.mark.parametrize(
    ("form", "text", "guided"),
    [(*row, False) for row in UNREADABLE] + [(*row, True) for row in UNGUIDED],
)
def test_everything_else_is_no_verdict(form: VerdictForm, text: str, guided: bool) -> None:
    with pytest.raises(NoVerdict):
        read_verdict(text, form, guided, WEIGHTS)


def test_what_counts_against_a_response_takes_away_and_never_below_0() -> None:
    weights = (2.0, -1.0, -4.0)
    said = {"yes, no, no": 1.0, "yes, yes, no": 0.5, "yes, yes, yes": 0.0, "no, yes, yes": 0.0}
    for words, value in said.items():
        assert read_verdict(f"Criteria: {words}", "rubric", False, weights) == value
