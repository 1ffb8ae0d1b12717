"""Shares with confidence intervals, means, and shortened texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import msgspec

from touchstone_rewards.reward_server.audit.report import AuditShare, Shown
from touchstone_rewards.reward_server.audit.rows import AuditRow
from touchstone_rewards.reward_server.schemas import SampleResult

Z_95 = NormalDist().inv_cdf(0.975)
SHOWN_CHARS, EXPLANATION_CHARS = 300, 600


def share(count: int, of: int) -> AuditShare:
    """Return a share with its 95% interval, which is (0, 1) if `of` is 0.

    Source: Wilson (1927), "Probable inference, the law of succession, and statistical inference".

    Example:
        >>> found = share(0, 100)
        >>> found.share, found.low, round(found.high, 3)
        (0.0, 0.0, 0.037)
    """
    if of == 0:
        return AuditShare(0, 0, 0.0, 0.0, 1.0)
    rate, spread = count / of, Z_95**2 / of
    middle = (rate + spread / 2) / (1 + spread)
    half = Z_95 / (1 + spread) * math.sqrt(rate * (1 - rate) / of + spread / of / 4)
    return AuditShare(count, of, rate, max(0.0, middle - half), min(1.0, middle + half))


def mean(values: Sequence[float]) -> float | None:
    """Return the mean, or None for no values."""
    return math.fsum(values) / len(values) if values else None


def mean_scores(results: Sequence[SampleResult]) -> dict[str, float | None]:
    """Return the mean of each scorer's scores, ignoring nulls."""
    keys = results[0].scores if results else {}
    return {
        key: mean([s for each in results if (s := each.scores.get(key)) is not None])
        for key in keys
    }


def shown(row: AuditRow, response: str, result: SampleResult) -> Shown:
    """Return a scored text in the form shown in reports."""
    explained = result.explanation if result.error is None else result.error
    return Shown(
        row.number,
        cut(row.answer or str(row.truth)),
        cut(response),
        result.reward,
        result.scores,
        msgspec.json.encode(explained).decode()[:EXPLANATION_CHARS] if explained else "",
    )


def cut(text: str) -> str:
    """Return the beginning of a text and the number of characters left out."""
    rest = len(text) - SHOWN_CHARS
    return text if rest <= 0 else f"{text[:SHOWN_CHARS]} … ({rest} more characters)"
