"""The reward functions that `functions.py` serves: the smallest useful ones."""

from __future__ import annotations


def short_and_right(response: str, ground_truth: str, most_chars: int = 4000) -> float:
    return float(len(response) <= most_chars and response.endswith(ground_truth))


def in_batches(responses: list[str], ground_truths: list[str]) -> list[float]:
    return [float(r.endswith(t)) for r, t in zip(responses, ground_truths, strict=True)]


def for_trl(completions: list[str], answer: list[str], **_: object) -> list[float]:
    return [float(c.endswith(a)) for c, a in zip(completions, answer, strict=True)]


async def awaited(response: str, ground_truth: str) -> float:
    return float(response.endswith(ground_truth))


def of_a_pair(pair: tuple[str, str]) -> float:
    """Score a pair, for pools that pass one argument."""
    return short_and_right(*pair)
