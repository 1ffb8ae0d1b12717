"""Methods to score prompts by how their rewards changed over the epochs.

Each takes a matrix with one row per prompt and one column per epoch, NaN where an epoch is missing,
and returns one score per prompt, NaN if none can be computed. Pure functions without files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

Matrix = Float[np.ndarray, "prompts epochs"]
PromptScores = Float[np.ndarray, " prompts"]
Fill = Literal["none", "ffill", "bfill", "paper"]


@dataclass(frozen=True)
class Trajectories:
    """The input of the methods. `value` is accuracy or mean reward, as requested; `full` is its
    maximum."""

    value: Matrix
    accuracy: Matrix
    reward: Matrix
    full: float = 1.0
    band: tuple[float, float] = (0.2, 0.8)
    seed: int = 0


class Method(NamedTuple):
    """A scoring method. `threshold` is its default threshold; None means that the user must set
    one."""

    score: Callable[[Trajectories], PromptScores]
    threshold: float | None
    meaning: str


def filled(matrix: Matrix, fill: Fill) -> Matrix:
    """Return the matrix with missing epochs filled from their neighbours.

    `paper` does what LIMR's code does (its comment says otherwise): a missing epoch takes the value
    of the next epoch, if that exists.

    Source: GAIR-NLP/LIMR lim/lim_selection.py, `process_accuracy_sequences`.
    """
    matrix = matrix.copy()
    epochs = matrix.shape[1]
    if fill == "paper":
        for epoch in range(epochs - 1):
            missing = np.isnan(matrix[:, epoch])
            matrix[missing, epoch] = matrix[missing, epoch + 1]
    elif fill in ("ffill", "bfill"):
        order = range(epochs) if fill == "ffill" else range(epochs - 1, -1, -1)
        for before, epoch in pairwise(order):
            missing = np.isnan(matrix[:, epoch])
            matrix[missing, epoch] = matrix[missing, before]
    return matrix


def coverage(matrix: Matrix) -> PromptScores:
    """Return each prompt's share of existing epochs; 0 if there are no epochs."""
    if matrix.shape[1] == 0:
        return np.zeros(matrix.shape[0])
    return 1.0 - np.isnan(matrix).mean(axis=1)


def lim_scores(matrix: Matrix, full: float = 1.0) -> PromptScores:
    """Return `s_i = 1 - sum_k (r_ik - mean_k)^2 / sum_k (full - mean_k)^2` over a prompt's epochs.

    A prompt that follows the mean of all prompts has score 1. The score is NaN if the denominator
    is 0: all prompts were solved in all of this prompt's epochs, so there was nothing to learn.

    Source: Li et al. 2025, "LIMR: Less is More for RL Scaling", section 2.
    """
    mean = _mean(matrix, axis=0)
    seen = ~np.isnan(matrix)
    distance = np.where(seen, matrix - mean, 0.0) ** 2
    room = np.where(seen, full - mean, 0.0) ** 2
    room_sum = room.sum(axis=1)
    return 1.0 - np.divide(
        distance.sum(axis=1), room_sum, out=np.full(len(matrix), np.nan), where=room_sum > 0
    )


def linear_scores(matrix: Matrix) -> PromptScores:
    """Return how steadily each prompt improves: the R^2 of a rising straight line over the epochs.

    It is 0 for a falling or flat line, and NaN with fewer than two epochs. The paper names this
    baseline and its threshold of 0.7 but gives no formula; this formula is ours.

    Source: Li et al. 2025, "LIMR: Less is More for RL Scaling", section 3 (LINEAR).
    """
    seen = ~np.isnan(matrix)
    count = seen.sum(axis=1)
    times = np.where(seen, np.arange(matrix.shape[1], dtype=float), np.nan)
    t = np.where(seen, times - _mean(times, axis=1)[:, None], 0.0)
    r = np.where(seen, matrix - _mean(matrix, axis=1)[:, None], 0.0)
    covariance, t2, r2 = (t * r).sum(axis=1), (t * t).sum(axis=1), (r * r).sum(axis=1)
    product = t2 * r2
    explained = np.divide(covariance**2, product, out=np.zeros(len(matrix)), where=product > 1e-18)
    return np.where(count < 2, np.nan, np.where(covariance > 0, explained, 0.0))


def variance(matrix: Matrix) -> PromptScores:
    """Return the variance over a prompt's epochs: large where training changed the model's answers.

    Source: Wang et al. 2025, "Reinforcement Learning for Reasoning in Large Language Models with
    One Training Example", section 2.
    """
    seen = ~np.isnan(matrix)
    deviation = np.where(seen, matrix - _mean(matrix, axis=1)[:, None], 0.0)
    count = seen.sum(axis=1)
    squares = (deviation**2).sum(axis=1)
    return np.divide(squares, count, out=np.full(len(matrix), np.nan), where=count > 0)


def learnability(matrix: Matrix) -> PromptScores:
    """Return `p (1 - p)` for the mean p over the epochs: largest where half of the answers are
    right."""
    mean = _mean(matrix, axis=1)
    return mean * (1.0 - mean)


def inside_band(matrix: Matrix, low: float, high: float) -> PromptScores:
    """Return how far the mean over the epochs lies inside [low, high]; negative outside."""
    mean = _mean(matrix, axis=1)
    return np.minimum(mean - low, high - mean)


def random_scores(count: int, seed: int) -> PromptScores:
    """Return random numbers, the baseline for every other method."""
    return np.random.default_rng(seed).random(count)


def kept(
    scores: PromptScores, *, threshold: float | None = None, at_most: int | None = None
) -> Int[np.ndarray, " kept"]:
    """Return the rows with `score >= threshold`, at most the `at_most` best, in row order.

    Among equal scores at the cut the earlier row is kept. A prompt without a score is never kept.
    """
    wanted: Bool[np.ndarray, " prompts"] = ~np.isnan(scores)
    if threshold is not None:
        wanted &= np.nan_to_num(scores, nan=-np.inf) >= threshold
    rows = np.flatnonzero(wanted)
    if at_most is not None and len(rows) > at_most:
        best = np.argsort(-scores[rows], kind="stable")[:at_most]
        rows = np.sort(rows[best])
    return rows


def _mean(matrix: Matrix, axis: int) -> Float[np.ndarray, " n"]:
    seen = ~np.isnan(matrix)
    count = seen.sum(axis=axis)
    total = np.where(seen, matrix, 0.0).sum(axis=axis)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


METHODS: dict[str, Method] = {
    "lim": Method(lambda t: lim_scores(t.value, t.full), 0.6, "follows the mean of all prompts"),
    "mean_reward": Method(lambda t: _mean(t.reward, axis=1), None, "mean reward over the run"),
    "variance": Method(lambda t: variance(t.value), None, "variance over the epochs"),
    "band": Method(
        lambda t: inside_band(t.accuracy, *t.band), 0.0, "mean accuracy inside --band_low/_high"
    ),
    "learnability": Method(
        lambda t: learnability(t.accuracy), 0.16, "p(1-p) of the mean accuracy p"
    ),
    "linear": Method(
        lambda t: linear_scores(t.value), 0.7, "improves steadily (R^2 of a rising line)"
    ),
    "random": Method(
        lambda t: random_scores(len(t.value), t.seed), None, "a random sample of --keep prompts"
    ),
}
