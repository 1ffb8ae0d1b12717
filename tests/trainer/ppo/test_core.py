"""PPO's arithmetic by hand, and against a plain-Python reference that loops over tokens."""

from __future__ import annotations

import math
import random
import statistics
from typing import Any

import pytest
import torch
from torch import Tensor

from touchstone_rewards.trainer.ppo.core import (
    RunningScores,
    adapted_kl_coef,
    explained_variance,
    gae,
    moments,
    rewards_whitened,
    shaped_rewards,
    token_kl,
    value_loss,
    whitened,
)

F64 = torch.float64


def tensor(rows: Any) -> Tensor:
    return torch.tensor(rows, dtype=F64)


def slow_gae(
    rewards: list[float], values: list[float], gamma: float, lam: float
) -> tuple[list[float], list[float]]:
    """Return the advantages by definition: each the sum of all later deltas, no recursion."""
    n = len(rewards)
    deltas = [
        rewards[t] + gamma * (values[t + 1] if t + 1 < n else 0.0) - values[t] for t in range(n)
    ]
    advantages = [
        sum((gamma * lam) ** (later - t) * deltas[later] for later in range(t, n)) for t in range(n)
    ]
    return advantages, [a + v for a, v in zip(advantages, values, strict=True)]


def random_batch(seed: int, rows: int = 5, width: int = 9) -> tuple[list[int], list[Any]]:
    rng = random.Random(seed)
    lengths = [rng.randint(0, width) for _ in range(rows)]
    return lengths, [[[rng.gauss(0, 1) for _ in range(n)] for n in lengths] for _ in range(4)]


def padded(rows: list[list[float]], width: int = 9, junk: float = 7.7) -> Tensor:
    return tensor([row + [junk] * (width - len(row)) for row in rows])


def mask_of(lengths: list[int], width: int = 9) -> Tensor:
    return torch.tensor([[int(t < n) for t in range(width)] for n in lengths])


def test_advantages_by_hand() -> None:
    # deltas 0.5*0.8 - 0.2 = 0.2 and 1 - 0.8 = 0.2; A_0 = 0.2 + 0.5 * 0.5 * 0.2
    advantages, returns = gae(
        tensor([[0.0, 1.0]]), tensor([[0.2, 0.8]]), mask_of([2], 2), gamma=0.5, lam=0.5
    )
    assert advantages[0].tolist() == pytest.approx([0.25, 0.2])
    assert returns[0].tolist() == pytest.approx([0.45, 1.0])


def test_with_lambda_and_gamma_one_the_return_is_what_is_still_to_come() -> None:
    _, returns = gae(
        tensor([[0.1, 0.2, 1.0]]), tensor([[9.0, -3.0, 4.0]]), mask_of([3], 3), gamma=1.0, lam=1.0
    )
    assert returns[0].tolist() == pytest.approx([1.3, 1.2, 1.0])


def test_with_lambda_zero_only_the_next_value_counts() -> None:
    advantages, _ = gae(
        tensor([[0.0, 1.0]]), tensor([[0.3, 0.6]]), mask_of([2], 2), gamma=1.0, lam=0.0
    )
    assert advantages[0].tolist() == pytest.approx([0.3, 0.4])


@pytest.mark.parametrize("seed", range(20))
def test_advantages_and_returns_are_those_of_the_slow_reference(seed: int) -> None:
    lengths, (rewards, values, _, _) = random_batch(seed)
    advantages, returns = gae(
        padded(rewards, junk=0.0), padded(values), mask_of(lengths), gamma=0.97, lam=0.9
    )
    for row, n in enumerate(lengths):
        expected = slow_gae(rewards[row], values[row], 0.97, 0.9)
        assert advantages[row].tolist() == pytest.approx(expected[0] + [0.0] * (9 - n))
        assert returns[row].tolist() == pytest.approx(expected[1] + [0.0] * (9 - n))


def test_kl_estimates_by_hand() -> None:
    logps, ref = tensor([[-1.0, -2.0]]), tensor([[-1.5, -1.0]])
    assert token_kl(logps, ref, "k1")[0].tolist() == pytest.approx([0.5, -1.0])
    assert token_kl(logps, ref, "k3")[0].tolist() == pytest.approx(
        [math.exp(-0.5) + 0.5 - 1, math.exp(1.0) - 1.0 - 1]
    )


def test_both_kl_estimates_have_the_true_kl_as_their_mean() -> None:
    p, q = torch.tensor([0.5, 0.3, 0.2], dtype=F64), torch.tensor([0.2, 0.3, 0.5], dtype=F64)
    true = (p * (p / q).log()).sum()
    for estimator in ("k1", "k3"):
        mean = (p * token_kl(p.log()[None], q.log()[None], estimator)[0]).sum()
        assert mean == pytest.approx(float(true))


def test_the_score_stands_on_the_last_token_and_the_kl_on_all() -> None:
    rewards = shaped_rewards(
        tensor([2.0, -1.0]),
        tensor([[-1.0, -1.0, 5.0], [-2.0, -2.0, -2.0]]),
        tensor([[-1.5, -0.5, 9.0], [-2.0, -2.0, -2.0]]),
        mask_of([2, 3], 3),
        kl_coef=0.1,
        estimator="k1",
    )
    assert rewards[0].tolist() == pytest.approx([-0.05, 2.05, 0.0])
    assert rewards[1].tolist() == pytest.approx([0.0, 0.0, -1.0])


def test_a_response_without_tokens_earns_nothing() -> None:
    logps = torch.zeros(1, 3, dtype=F64)
    rewards = shaped_rewards(
        tensor([1.0]), logps, None, mask_of([0], 3), kl_coef=0.0, estimator="k3"
    )
    assert rewards.tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("estimator", ["k1", "k3"])
@pytest.mark.parametrize("seed", range(8))
def test_shaped_rewards_are_those_of_the_slow_reference(seed: int, estimator: Any) -> None:
    lengths, (logps, refs, scores, _) = random_batch(seed)
    scores = [row[0] if row else 0.3 for row in scores]
    rewards = shaped_rewards(
        tensor(scores),
        padded(logps),
        padded(refs),
        mask_of(lengths),
        kl_coef=0.3,
        estimator=estimator,
    )
    for row, n in enumerate(lengths):
        expected = []
        for t in range(n):
            d = logps[row][t] - refs[row][t]
            kl = d if estimator == "k1" else math.exp(-d) + d - 1
            expected.append(-0.3 * kl + (scores[row] if t == n - 1 else 0.0))
        assert rewards[row].tolist() == pytest.approx(expected + [0.0] * (9 - n))


def test_whitening_by_hand() -> None:
    # of 1, 3: mean 2, variance 1
    white = whitened(tensor([[1.0, 50.0], [3.0, 70.0]]), mask_of([1, 1], 2))
    assert white.tolist() == [pytest.approx([-1.0, 0.0]), pytest.approx([1.0, 0.0])]


@pytest.mark.parametrize("seed", range(8))
def test_whitening_and_explained_variance_are_those_of_the_slow_reference(seed: int) -> None:
    lengths, (values, returns, _, _) = random_batch(seed)
    flat = [number for row in returns for number in row]
    mean, deviation = statistics.fmean(flat), statistics.pstdev(flat)
    white = whitened(padded(returns), mask_of(lengths))
    for row, n in enumerate(lengths):
        expected = [(number - mean) / deviation for number in returns[row]]
        assert white[row].tolist() == pytest.approx(expected + [0.0] * (9 - n))
    guesses = [number for row in values for number in row]
    errors = [each - guess for each, guess in zip(flat, guesses, strict=True)]
    explained = explained_variance(padded(values), padded(returns), mask_of(lengths))
    assert float(explained) == pytest.approx(1 - statistics.pvariance(errors) / deviation**2)


@pytest.mark.parametrize("seed", range(8))
def test_the_adapted_coefficient_is_that_of_the_slow_reference(seed: int) -> None:
    rng = random.Random(seed)
    coef, kl, target = rng.random(), 10 * rng.random(), 1 + 5 * rng.random()
    error = (kl - target) / target
    error = -0.2 if error < -0.2 else 0.2 if error > 0.2 else error
    adapted = adapted_kl_coef(coef, kl, target=target, samples=64, horizon=1000)
    assert adapted == pytest.approx(coef + coef * error * 64 / 1000)


def test_whitening_in_two_parts_is_whitening_of_the_whole() -> None:
    x, mask = torch.randn(6, 5, dtype=F64) * 3 + 100, mask_of([5, 0, 3, 2, 5, 1], 5)
    whole = whitened(x, mask)
    parts = [(x[:2], mask[:2]), (x[2:], mask[2:])]
    # The sums of both parts, in the order in which they are asked for.
    mean, _ = moments(x, mask)
    live = mask.to(F64)
    sums = [torch.stack([(x * live).sum(), live.sum()]), (((x - mean) * live) ** 2).sum()]
    for (part, part_mask), rows in zip(parts, (whole[:2], whole[2:]), strict=True):
        answers = iter(sums)
        torch.testing.assert_close(whitened(part, part_mask, lambda _, a=answers: next(a)), rows)


def test_value_loss_by_hand() -> None:
    values = tensor([[0.5, 2.0, 0.0]])
    old, returns = tensor([[0.4, 0.0, 1.0]]), tensor([[1.0, 3.0, 0.0]])
    loss, clipped = value_loss(values, old, returns, clip=0.2)
    # inside the bound; bound 0.2, farther from 3 than 2 is; bound 0.8 where 0 would be right
    assert loss[0].tolist() == pytest.approx([0.125, 0.5 * 2.8**2, 0.5 * 0.8**2])
    assert clipped.tolist() == [[False, True, True]]
    assert value_loss(values, old, returns, clip=None)[0][0].tolist() == pytest.approx(
        [0.125, 0.5, 0.0]
    )


@pytest.mark.parametrize("seed", range(8))
def test_value_loss_is_that_of_the_slow_reference(seed: int) -> None:
    _, (values, old, returns, _) = random_batch(seed)
    loss, _ = value_loss(padded(values), padded(old), padded(returns), clip=0.2)
    for row in range(5):
        for t, v in enumerate(values[row]):
            bound = min(max(v, old[row][t] - 0.2), old[row][t] + 0.2)
            worst = max((v - returns[row][t]) ** 2, (bound - returns[row][t]) ** 2)
            assert float(loss[row, t]) == pytest.approx(worst / 2)


def test_a_clipped_value_beyond_its_bound_has_no_gradient() -> None:
    values = tensor([[1.0]]).requires_grad_()
    value_loss(values, tensor([[0.0]]), tensor([[2.0]]), clip=0.2)[0].sum().backward()
    assert values.grad is not None
    assert float(values.grad) == 0.0


def test_explained_variance_by_hand() -> None:
    mask = mask_of([2, 2], 2)
    returns = tensor([[0.0, 2.0], [0.0, 2.0]])
    assert float(explained_variance(returns, returns, mask)) == pytest.approx(1.0)
    assert float(explained_variance(returns * 0 + 5, returns, mask)) == pytest.approx(0.0)
    # errors 0, 1, 0, 1: variance 1/4 of a variance of 1
    half = tensor([[0.0, 1.0], [0.0, 1.0]])
    assert float(explained_variance(half, returns, mask)) == pytest.approx(0.75)
    assert float(explained_variance(-returns, returns, mask)) == pytest.approx(-3.0)
    assert float(explained_variance(half, returns * 0, mask)) == 0.0


def test_the_kl_coefficient_goes_where_the_target_is() -> None:
    up = adapted_kl_coef(0.1, 9.0, target=6.0, samples=256, horizon=10_000)
    assert up == pytest.approx(0.1 * (1 + 0.2 * 256 / 10_000))
    slightly_down = adapted_kl_coef(0.1, 5.4, target=6.0, samples=256, horizon=10_000)
    assert slightly_down == pytest.approx(0.1 * (1 - 0.1 * 256 / 10_000))
    assert adapted_kl_coef(0.1, 6.0, target=6.0, samples=256, horizon=10_000) == 0.1


def test_whitened_rewards_keep_their_mean_by_hand() -> None:
    # of 1, 3, 8: mean 4, variance with n - 1 (9 + 1 + 16) / 2 = 13
    white = rewards_whitened(tensor([[1.0, 3.0], [8.0, 70.0]]), mask_of([2, 1], 2))
    root = math.sqrt(13)
    expected = [[4 - 3 / root, 4 - 1 / root], [4 + 4 / root, 0.0]]
    assert white.tolist() == [pytest.approx(row) for row in expected]


def test_whitened_rewards_in_two_parts_are_those_of_the_whole() -> None:
    x, mask = tensor([[1.0, 3.0, 0.0], [8.0, 0.0, 0.0]]), mask_of([2, 1], 3)
    whole = rewards_whitened(x, mask)
    # The sums of both parts, in the order in which they are asked for: 3 tokens of mean 4.
    sums = [tensor([12.0, 3.0]), tensor(26.0), tensor(3.0)]
    for row in range(2):
        answers = iter(sums)
        part = rewards_whitened(x[row : row + 1], mask[row : row + 1], lambda _, a=answers: next(a))
        torch.testing.assert_close(part, whole[row : row + 1])


def test_running_scores_by_hand() -> None:
    running = RunningScores()
    running.update(tensor([1.0, 3.0]))
    assert (running.mean, running.variance, running.count) == (2.0, 1.0, 2.0)
    # std with n - 1 of 1, 3 is sqrt 2
    assert running.normalised(tensor([3.0])).tolist() == pytest.approx([1 / math.sqrt(2)])
    running.update(tensor([8.0]))
    assert running.mean == pytest.approx(4.0)
    assert running.variance == pytest.approx(26 / 3)
    assert running.normalised(tensor([8.0])).tolist() == pytest.approx([4 / math.sqrt(13)])


@pytest.mark.parametrize("seed", range(4))
def test_running_scores_are_those_of_all_scores_so_far(seed: int) -> None:
    rng = random.Random(seed)
    running, seen = RunningScores(), []
    for size in (5, 0, 1, 7):
        batch = [rng.gauss(1e3, 0.5) for _ in range(size)]
        seen += batch
        running.update(tensor(batch))
        if len(seen) > 1:
            expected = [(x - statistics.fmean(seen)) / statistics.stdev(seen) for x in seen]
            assert running.normalised(tensor(seen)).tolist() == pytest.approx(expected, abs=1e-6)


def test_scores_of_which_nothing_varies_are_only_centred() -> None:
    running = RunningScores()
    running.update(tensor([2.0]))
    assert running.normalised(tensor([2.0, 5.0])).tolist() == [0.0, 3.0]
