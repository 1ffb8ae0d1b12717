"""pass@k and maj@k of one prompt from n responses, computed exactly over all subsets of size k.

Both are unbiased: if the n responses are independent, the mean over all subsets of size k estimates
the mean over k fresh responses. Subsets are counted, not sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import comb
from typing import NamedTuple

import numpy as np


class Votes(NamedTuple):
    """The number of responses that gave one answer, and the share of them that are right."""

    votes: int
    right: float


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Return the chance that at least one of k of the n responses is correct: 1 - C(n-c, k) / C(n,
    k).

    Raises:
        ValueError: there are fewer than k responses.

    Source: Chen et al. (2021), arXiv 2107.03374, equation 1.
    """
    if not 0 < k <= n:
        raise ValueError(f"pass@{k} needs at least {k} responses, not {n}")
    return 1.0 - comb(n - correct, k) / comb(n, k)


def maj_at_k(classes: Sequence[Votes], silent: Votes, k: int) -> float:
    """Return the chance that the majority answer among k of the n responses is right.

    `classes` has one entry per answer; `silent` counts responses without an answer, which do not
    vote. Answers with equally many votes are equally likely to win; if no response votes, a silent
    one is drawn. maj@1 is the accuracy. Responses with the same answer may differ in reward, for
    example if the format counts as well.

    A class wins with v votes in C(m, v) W(v) of the C(n, k) subsets. W(v) counts the choices of the
    other k - v responses in which no class has more than v votes; choices with t other classes at v
    count 1 / (1 + t).

    Raises:
        ValueError: there are fewer than k responses.

    Source: majority voting as in Wang et al. (2022), arXiv 2203.11171; the counting is ours.
    """
    n = sum(each.votes for each in classes) + silent.votes
    if not 0 < k <= n:
        raise ValueError(f"maj@{k} needs at least {k} responses, not {n}")
    total = silent.right * comb(silent.votes, k) / comb(n, k)
    for place, each in enumerate(classes):
        if each.right:
            others = tuple(sorted(c.votes for i, c in enumerate(classes) if i != place))
            total += each.right * chance_to_win(each.votes, others, silent.votes, k)
    return total


@lru_cache(maxsize=65536)
def chance_to_win(count: int, others: tuple[int, ...], silent: int, k: int) -> float:
    """Return the share of subsets of size k in which a class of `count` responses wins."""
    wins = 0.0
    for votes in range(1, min(count, k) + 1):
        ways = ways_below(others, silent, votes, k - votes)
        wins += comb(count, votes) * float(ways @ (1 / np.arange(1, len(ways) + 1)))
    return wins / comb(count + sum(others) + silent, k)


def ways_below(others: tuple[int, ...], silent: int, votes: int, size: int) -> np.ndarray:
    """Count the choices of `size` other responses in which no class has more than `votes`.

    Entry t counts the choices in which exactly t other classes have `votes` votes.
    """
    # ways[t, s]: s chosen so far, t classes at `votes`. All terms are positive: no cancellation.
    ways = np.zeros((size // votes + 1, size + 1))
    ways[0, : min(silent, size) + 1] = [
        float(comb(silent, s)) for s in range(min(silent, size) + 1)
    ]
    for count in others:
        new = ways.copy()
        for taken in range(1, min(count, votes, size) + 1):
            more = comb(count, taken) * ways[:, : size + 1 - taken]
            if taken < votes:
                new[:, taken:] += more
            else:
                new[1:, taken:] += more[:-1]
        ways = new
    return ways[:, size]
