"""Cases from public issues and graders' test suites: how many are decided right, by topic.

`python -m pytest -s` on this file prints the tables. The thresholds only go up.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.math import MathScorer

# Of the cases that no one disputes: the least share decided right. `math_strict` reads
# boxes alone, so of the cases that have one; what it refuses there are lists in another order,
# values without their unit, integers that are not worked out, and responses with several boxes.
LEAST_RIGHT = {"math": 1.0, "math_strict": 0.948, "math_lenient": 1.0}
# The least share in one topic, of those with at least `TOPIC_CASES` cases, under `math`.
LEAST_RIGHT_IN_A_TOPIC = 1.0
TOPIC_CASES = 10

FILE = Path(__file__).parents[4] / ".." / "shared" / "data" / "math_field_cases.jsonl"


class Judged(NamedTuple):
    """One case and the scorer's verdict; a ground truth that cannot be read counts as no."""

    id: str
    topic: str
    equal: bool
    accepted: bool
    boxed: bool


@cache
def judged(profile: str) -> list[Judged]:
    if not FILE.is_file():
        pytest.skip(f"{FILE.name} is not beside the checkout, under shared/data")
    rows = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if not row["debatable"]]
    samples = [Sample(row["id"], _response(row), ground_truth=row["ground_truth"]) for row in rows]
    scorer = next(
        each
        for each in load_profiles([])[profile].scorers.values()
        if each.runs_in == "worker" and isinstance(each, MathScorer)
    )
    scores = scorer.score(samples)
    return [
        Judged(
            row["id"], row["topic"], row["equal"], score.value == 1.0, "\\boxed" in sample.response
        )
        for row, sample, score in zip(rows, samples, scores, strict=True)
    ]


def _response(row: dict[str, str]) -> str:
    """Return the response; a bare answer is put into a box."""
    return f"\\boxed{{{row['response']}}}" if row["kind"] == "answer" else row["response"]


def table(profile: str) -> str:
    """Return lines of topic, right, all, and the cases that were decided wrongly."""
    total, right, wrong = Counter[str](), Counter[str](), dict[str, list[str]]()
    for case in judged(profile):
        total[case.topic] += 1
        right[case.topic] += case.equal == case.accepted
        if case.equal != case.accepted:
            sign = "+" if case.accepted else "-"
            wrong.setdefault(case.topic, []).append(sign + case.id)
    lines = [
        f"{right[topic]:4} of {total[topic]:3}  {topic:28} {' '.join(wrong.get(topic, [])[:8])}"
        for topic in sorted(total)
    ]
    share = right.total() / total.total()
    return "\n".join([f"{profile}: {share:.3f} (+ wrongly accepted, - refused)", *lines])


@pytest.mark.parametrize("profile", LEAST_RIGHT)
def test_the_field_cases_are_decided_right(profile: str) -> None:
    cases = [case for case in judged(profile) if case.boxed or profile != "math_strict"]
    print(table(profile))
    right = sum(case.equal == case.accepted for case in cases)
    assert right / len(cases) >= LEAST_RIGHT[profile], table(profile)


@pytest.mark.parametrize("profile", LEAST_RIGHT)
def test_no_wrong_answer_is_accepted(profile: str) -> None:
    assert not [case.id for case in judged(profile) if case.accepted and not case.equal]


def test_no_topic_is_left_behind() -> None:
    topics: dict[str, list[bool]] = {}
    for case in judged("math"):
        topics.setdefault(case.topic, []).append(case.equal == case.accepted)
    for right in topics.values():
        if len(right) >= TOPIC_CASES:
            assert sum(right) / len(right) >= LEAST_RIGHT_IN_A_TOPIC, table("math")


def test_there_are_as_many_cases_as_were_counted() -> None:
    assert len(judged("math")) == 413
