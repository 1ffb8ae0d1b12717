"""pass@k and maj@k against every subset, taken one by one."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations
from statistics import fmean

import pytest

from touchstone_rewards.trainer.evaluation.at_k import Votes, maj_at_k, pass_at_k

Response = tuple[str | None, float]  # its answer, its reward


def pass_by_subsets(rewards: list[float], k: int) -> float:
    return fmean(max(chosen) == 1.0 for chosen in combinations(rewards, k))


def maj_by_subsets(responses: list[Response], k: int) -> float:
    """Let every subset vote: ties are shared, and the rewards of the winning responses averaged."""
    totals = []
    for chosen in combinations(responses, k):
        votes = Counter(answer for answer, _ in chosen if answer is not None)
        most = max(votes.values(), default=0)
        winners = [answer for answer, count in votes.items() if count == most] or [None]
        totals.append(fmean(fmean(r for a, r in chosen if a == winner) for winner in winners))
    return fmean(totals)


def as_votes(responses: list[Response]) -> tuple[list[Votes], Votes]:
    rewards: dict[str | None, list[float]] = {}
    for answer, reward in responses:
        rewards.setdefault(answer, []).append(reward)
    silent = rewards.pop(None, [])
    classes = [Votes(len(each), fmean(each)) for each in rewards.values()]
    return classes, Votes(len(silent), fmean(silent) if silent else 0.0)


@pytest.mark.parametrize("seed", range(12))
def test_both_are_the_mean_over_all_subsets(seed: int) -> None:
    rng = random.Random(seed)
    answers = [None, "a", "b", "c", "d"][: rng.randint(2, 5)]
    responses = [(rng.choice(answers), float(rng.random() < 0.5)) for _ in range(rng.randint(2, 9))]
    rewards = [reward for _, reward in responses]
    for k in range(1, len(responses) + 1):
        classes, silent = as_votes(responses)
        assert maj_at_k(classes, silent, k) == pytest.approx(maj_by_subsets(responses, k))
        right = rewards.count(1.0)
        assert pass_at_k(len(rewards), right, k) == pytest.approx(pass_by_subsets(rewards, k))


def test_two_of_four_right_by_hand() -> None:
    assert pass_at_k(4, 2, 2) == pytest.approx(1 - 1 / 6)
    # Right twice, wrong in two ways: of six pairs one is all right, one all wrong, four tie.
    assert maj_at_k([Votes(2, 1.0), Votes(1, 0.0), Votes(1, 0.0)], Votes(0, 0.0), 2) == 0.5


def test_more_votes_help_the_most_frequent_answer_and_no_other() -> None:
    often, rare = ([Votes(40, each), Votes(24, 1 - each)] for each in (1.0, 0.0))
    silent = Votes(0, 0.0)
    rising = [maj_at_k(often, silent, k) for k in (1, 9, 33, 64)]
    falling = [maj_at_k(rare, silent, k) for k in (1, 9, 33, 64)]
    assert rising == sorted(rising)
    assert rising[0] == pytest.approx(40 / 64)
    assert rising[-1] == 1.0
    assert [1 - each for each in rising] == pytest.approx(falling)


def test_a_thousand_responses_neither_overflow_nor_lose_a_subset() -> None:
    classes = [Votes(300, 1.0), Votes(300, 0.0)] + [Votes(10, 0.0)] * 39
    at_all = maj_at_k(classes, Votes(10, 0.0), 1000)
    assert at_all == pytest.approx(0.5)
    assert pass_at_k(1000, 500, 500) == pytest.approx(1.0)


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="pass@3 needs at least 3 responses, not 2"):
        pass_at_k(2, 1, 3)
    with pytest.raises(ValueError, match="maj@3 needs at least 3 responses, not 2"):
        maj_at_k([Votes(2, 1.0)], Votes(0, 0.0), 3)
