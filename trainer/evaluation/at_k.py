"""pass@k and maj@k of one prompt, from n responses to it: exact over all k of the n. Pure numbers.

Both are unbiased: the mean over all subsets of size k is the mean over k fresh responses, if the n
are independent. No subset is drawn: they are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import comb
from typing import NamedTuple

import numpy as np


class Votes(NamedTuple):
    """How many of the responses gave one answer, and the share of them that are right."""

    votes: int
    right: float


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The chance that one or more of k of the n responses are correct: 1 - C(n-c, k) / C(n, k).

    Raises:
        ValueError: fewer than k responses.

    Source: Chen et al. (2021), arXiv 2107.03374, equation 1.
    """
    if not 0 < k <= n:
        raise ValueError(f"pass@{k} needs {k} responses or more, not {n}")
    return 1.0 - comb(n - correct, k) / comb(n, k)


def maj_at_k(classes: Sequence[Votes], silent: Votes, k: int) -> float:
    """The chance that a response that bears the most frequent answer among k of the n is right.

    `classes`: one entry an answer; `silent`: responses without one, which have no vote. Of answers
    with equally many votes each is as likely to win; where nobody votes, a silent one is taken.
    maj@1 is the accuracy. Bearers of one answer may differ where the form counts as well.

    A class wins with v votes in C(m, v) W(v) of the C(n, k) subsets, where W counts the choices of
    k - v others in which no class has more than v, those with t others at v for 1 / (1 + t) each.

    Raises:
        ValueError: fewer than k responses.

    Source: majority voting as in Wang et al. (2022), arXiv 2203.11171; the counting is ours.
    """
    n = sum(each.votes for each in classes) + silent.votes
    if not 0 < k <= n:
        raise ValueError(f"maj@{k} needs {k} responses or more, not {n}")
    total = silent.right * comb(silent.votes, k) / comb(n, k)
    for place, each in enumerate(classes):
        if each.right:
            others = tuple(sorted(c.votes for i, c in enumerate(classes) if i != place))
            total += each.right * chance_to_win(each.votes, others, silent.votes, k)
    return total


@lru_cache(maxsize=65536)
def chance_to_win(count: int, others: tuple[int, ...], silent: int, k: int) -> float:
    """The share of the subsets of size k in which a class of `count` wins against `others`."""
    wins = 0.0
    for votes in range(1, min(count, k) + 1):
        ways = ways_below(others, silent, votes, k - votes)
        wins += comb(count, votes) * float(ways @ (1 / np.arange(1, len(ways) + 1)))
    return wins / comb(count + sum(others) + silent, k)


def ways_below(others: tuple[int, ...], silent: int, votes: int, size: int) -> np.ndarray:
    """Choices of `size` of the other responses with no class above `votes`, by the classes at it.

    Entry t counts those in which exactly t of the others have `votes` votes.
    """
    # ways[t, s]: s chosen so far, t classes at `votes`. Sums of positive terms: no cancellation.
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
