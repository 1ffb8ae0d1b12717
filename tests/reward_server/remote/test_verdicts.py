"""A judge's text is read strictly: any form but the required one is no verdict."""

from __future__ import annotations

import math

import pytest

from touchstone_rewards.reward_server.remote.verdicts import (
    NoVerdict,
    VerdictForm,
    read_logprobs,
    read_verdict,
)

READ: list[tuple[VerdictForm, str, float]] = [
    ("yes_no", "Verdict: yes", 1.0),
    ("yes_no", "46 is not 47.\n**Verdict: no**\n", 0.0),
    ("yes_no", "<think>Verdict: yes</think>They differ.\nverdict: NO.", 0.0),
    ("scale", "Score: 1", 0.0),
    ("scale", "Fine.\nScore: 10", 1.0),
    ("scale", "Score: 7/10", 6 / 9),
    ("rubric", "Criteria: yes, no, yes", 0.75),
    ("pair", "Verdict: A", 1.0),
    ("pair", "verdict: b.", 0.0),
    ("pair", "**Verdict: tie**", 0.5),
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
    ("pair", "Verdict: C"),
    ("pair", "Verdict: A or B"),
    ("pair", "Verdict: yes"),
]
GUIDED: list[tuple[VerdictForm, str, float]] = [
    ("yes_no", '{"reasoning": "same", "verdict": "yes"}', 1.0),
    ("scale", ' {"reasoning": "", "score": 4}\n', 3 / 9),
    ("rubric", '{"reasoning": "", "criteria": ["no", "no", "yes"]}', 0.25),
    ("pair", '{"reasoning": "", "verdict": "tie"}', 0.5),
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
    ("pair", '{"reasoning": "", "verdict": "a"}'),
    ("pair", '{"reasoning": "", "verdict": ["A"]}'),
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


def tokens(**probabilities: float) -> list[dict[str, object]]:
    return [{"token": name, "logprob": math.log(share)} for name, share in probabilities.items()]


def test_log_probabilities_give_the_share_of_yes() -> None:
    assert read_logprobs(tokens(Yes=0.6, no=0.2, yes=0.1, Maybe=0.1), "yes_no", 0.5) == (
        pytest.approx(0.7 / 0.9)
    )
    assert read_logprobs([{"token": " B", "logprob": -0.01}], "pair", 0.5) == 0.0
    assert read_logprobs(tokens(A=0.3, B=0.1), "pair", 0.4) == pytest.approx(0.75)


NOT_SAID: dict[str, list[object]] = {
    "nothing": [],
    "something else": [*tokens(The=0.7, Yes=0.2)],
    "words of another form": [*tokens(A=0.9)],
    "no probability at all": [{"token": "yes", "logprob": -1e308}],
    "more than all": [*tokens(yes=0.9, Yes=0.9)],
    "a huge number": [{"token": "yes", "logprob": 1e308}],
    "no number": [{"token": "yes", "logprob": "0"}],
    "no token": [{"logprob": -0.1}],
    "no object": ["yes"],
}


@pytest.mark.parametrize("name", NOT_SAID)
def test_what_has_no_probability_to_speak_of_is_no_verdict(name: str) -> None:
    with pytest.raises(NoVerdict):
        read_logprobs(NOT_SAID[name], "yes_no", 0.5)
