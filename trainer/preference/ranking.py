"""Ranking accuracy of a reward model on pairs: by length, by subset, and its calibration.

Input are lines with `chosen` and `rejected` scores and token counts; output are figures, and lines
of text that show them. Pure: no model, no files.

A score difference claims a probability: chosen wins with sigmoid(chosen - rejected), or with Φ((μc
- μr) / √(σc² + σr²)) for a distributional model. The calibration compares the claims with the
outcomes (expected calibration error: Naeini et al. 2015, over equal bins of the claimed probability
of the preferred side, 0.5 to 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import NormalDist, fmean
from typing import Any

from touchstone_rewards.trainer.running.intervals import rate

PairLine = Mapping[str, Any]
LEAST_BUCKET_TOKENS = 32
BINS = 5  # of the probability of the preferred side, 0.5 to 1


def ranking_of(lines: Sequence[PairLine]) -> dict[str, Any]:
    """Return the figures of pairs; lines with `subset` also give a table by subset.

    A pair is right if chosen scores strictly above rejected. `by_tokens` groups pairs by the length
    of the longer side, in powers of two; `by_longer_side` shows whether the model prefers long
    texts.

    Example: `ranking_of([{"chosen": 1.0, "rejected": 0.0, "chosen_tokens": 9, "rejected_tokens":
    4}])["accuracy"]` is 1.0.
    """
    buckets = [_bucket_name(upper) for upper in sorted({_bucket(line) for line in lines})]
    figures = {
        **_share(lines),
        "ties": sum(line["chosen"] == line["rejected"] for line in lines),
        "by_tokens": _by(lines, "tokens", buckets, lambda line: _bucket_name(_bucket(line))),
        "by_longer_side": _by(lines, "longer", ("chosen", "neither", "rejected"), _longer_side),
        "calibration": calibration(lines),
    }
    if subsets := sorted({line["subset"] for line in lines if line.get("subset")}):
        figures["by_subset"] = _by(lines, "subset", subsets, lambda line: line.get("subset"))
    return figures


def calibration(lines: Sequence[PairLine]) -> dict[str, Any]:
    """Return the claimed and the observed share of right pairs, and the expected calibration error.

    A tie claims one half and counts one half.

    Example: for two pairs, a tie and one with a very large difference the wrong way round, the
    expected share is 0.75, the observed one 0.25, and the error 0.5.
    """
    claims = [(max(p, 1 - p), 1.0 if p > 0.5 else 0.5 * (p == 0.5)) for p in map(claimed, lines)]
    bins: list[list[tuple[float, float]]] = [[] for _ in range(BINS)]
    for claim in claims:
        bins[min(BINS - 1, int((claim[0] - 0.5) * 2 * BINS))].append(claim)
    rows = [
        {
            "from": 0.5 + place / (2 * BINS),
            "to": 0.5 + (place + 1) / (2 * BINS),
            "pairs": len(each),
            "expected": fmean(expected for expected, _ in each),
            "observed": fmean(observed for _, observed in each),
        }
        for place, each in enumerate(bins)
        if each
    ]
    gaps = [row["pairs"] * abs(row["expected"] - row["observed"]) for row in rows]
    return {
        "expected": fmean(expected for expected, _ in claims),
        "observed": fmean(observed for _, observed in claims),
        "ece": math.fsum(gaps) / len(claims),
        "bins": rows,
    }


def claimed(line: PairLine) -> float:
    """Return the probability that chosen is better, as claimed by the scores of a pair.

    >>> claimed({"chosen": 1.0, "rejected": 1.0})
    0.5
    """
    difference = line["chosen"] - line["rejected"]
    if line.get("chosen_std") is not None:
        return NormalDist().cdf(difference / math.hypot(line["chosen_std"], line["rejected_std"]))
    return 1 / (1 + math.exp(-difference)) if difference > -700 else 0.0


def told(figures: Mapping[str, Any], what: str = "pairs") -> list[str]:
    """Return the figures as lines of text."""
    ties = f", {figures['ties']} with equal scores" if figures["ties"] else ""
    sure = figures["calibration"]
    over = sure["expected"] - sure["observed"]
    return [
        f"{figures['pairs']} {what}: {percent(figures['accuracy'], figures['interval'])} ranked "
        f"right{ties}",
        *_table("by subset", "subset", figures.get("by_subset", ())),
        *_table("by tokens of the longer side", "tokens", figures["by_tokens"]),
        *_table("by which side is longer", "longer", figures["by_longer_side"]),
        f"calibration: the scores expect {sure['expected']:.1%} right, {sure['observed']:.1%} are: "
        f"{'over' if over > 0 else 'under'}confident by {abs(over) * 100:.1f} points; expected "
        f"calibration error {sure['ece']:.3f}",
        *(
            f"  expects {row['from']:.0%} to {row['to']:.0%}: {row['pairs']} pairs, mean "
            f"{row['expected']:.1%}, right {row['observed']:.1%}"
            for row in sure["bins"]
        ),
    ]


def percent(share: float, interval: Sequence[float] | None) -> str:
    """Format a share in percent, with its interval."""
    wide = f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else ""
    return f"{share:.1%}{wide}"


def _table(title: str, name: str, rows: Iterable[Mapping[str, Any]]) -> list[str]:
    found = [
        f"  {row[name]:<14} {row['pairs']:>6} pairs  {percent(row['accuracy'], row['interval'])}"
        for row in rows
    ]
    return [f"{title}:", *found] if found else []


def _by(
    lines: Sequence[PairLine], title: str, names: Sequence[str], key: Callable[[PairLine], object]
) -> list[dict[str, Any]]:
    """Return the accuracy for each of the names that occur."""
    parts = {name: [line for line in lines if key(line) == name] for name in names}
    return [{title: name, **_share(part)} for name, part in parts.items() if part]


def _share(lines: Sequence[PairLine]) -> dict[str, Any]:
    right = [float(line["chosen"] > line["rejected"]) for line in lines]
    return {"pairs": len(lines), "accuracy": fmean(right), "interval": rate(right, len(right))}


def _bucket(line: PairLine) -> int:
    """Return the power of two at or above the token count of the longer side."""
    longer = max(line["chosen_tokens"], line["rejected_tokens"])
    return max(LEAST_BUCKET_TOKENS, 1 << (longer - 1).bit_length())


def _bucket_name(upper: int) -> str:
    least = 1 if upper == LEAST_BUCKET_TOKENS else upper // 2 + 1
    return f"{least} to {upper}"


def _longer_side(line: PairLine) -> str:
    more = line["chosen_tokens"] - line["rejected_tokens"]
    return "chosen" if more > 0 else "rejected" if more < 0 else "neither"
