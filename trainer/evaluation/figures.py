"""Scored responses in, rates and means with 95% intervals out. No files, no server.

A group is the responses to one row. Every figure is the mean over rows of a figure of the row, and
its interval is over rows: responses to one prompt are no independent trials.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from touchstone_rewards.clients import ScoreResult
from touchstone_rewards.trainer.evaluation.at_k import Votes, maj_at_k, pass_at_k
from touchstone_rewards.trainer.running.intervals import normal, rate

ResultGroup = Sequence[ScoreResult | None]


def summarize(groups: Sequence[ResultGroup]) -> dict[str, object]:
    """Rates and means over the rows with a reward.

    `accuracy`: share with the full reward of 1. `format_rate`: share with a format score of 1; null
    where the profile has none. Rows without one response that could be scored are in none of them.
    """
    rewards = [found for group in groups if (found := rewards_of(group))]
    formats = [found for group in groups if (found := formats_of(group))]
    means = [fmean(row) for row in rewards]
    scored = [each for group in groups for each in group if each and each.reward is not None]
    total = sum(map(len, groups))
    return {
        "num_examples": len(groups),
        "num_samples": total,
        "num_failed": total - len(scored),
        **_share("format_rate", formats),
        **_share("accuracy", rewards),
        "avg_reward": fmean(means) if means else None,
        "avg_reward_interval": normal(means),
        "fingerprint": scored[0].fingerprint if scored else None,
    }


def rewards_of(group: ResultGroup) -> list[float]:
    return [each.reward for each in group if each is not None and each.reward is not None]


def formats_of(group: ResultGroup) -> list[float]:
    scored = [each for each in group if each is not None and each.reward is not None]
    return [value for each in scored if (value := each.scores.get("format")) is not None]


def _share(name: str, rows: Sequence[Sequence[float]]) -> dict[str, object]:
    """The share of ones in each row, averaged."""
    shares = [row.count(1.0) / len(row) for row in rows]
    trials = sum(map(len, rows))
    return {
        name: fmean(shares) if shares else None,
        f"{name}_interval": rate(shares, trials),
    }


def full_reward_share(lines: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The share of responses with the full reward of 1 by row, from the lines of `results.jsonl`.

    Responses without a reward are left out, and rows without one that has any.
    """
    rewards: dict[str, list[float]] = {}
    for line in lines:
        if line["reward"] is not None:
            rewards.setdefault(line["group"] or line["id"], []).append(line["reward"])
    return {name: row.count(1.0) / len(row) for name, row in rewards.items()}


def default_ks(n: int) -> list[int]:
    """1, 2, 4, ... and n itself."""
    return sorted({1 << power for power in range(n.bit_length()) if 1 << power <= n} | {n})


def pass_at(groups: Sequence[ResultGroup], ks: Sequence[int]) -> dict[str, object]:
    """pass@k by k, over the rows with k or more scored responses."""
    rows = [(len(found), found.count(1.0)) for group in groups if (found := rewards_of(group))]
    return {
        str(k): mean_over_rows([(pass_at_k(n, right, k), n) for n, right in rows if n >= k])
        for k in ks
    }


def maj_at(
    groups: Sequence[ResultGroup], classes: Sequence[Sequence[str | None]], ks: Sequence[int]
) -> dict[str, object]:
    """maj@k by k, over the rows with k or more scored responses; right is the full reward of 1."""
    votes = [votes_of(group, names) for group, names in zip(groups, classes, strict=True)]
    rows = [(*each, len(rewards_of(group))) for each, group in zip(votes, groups, strict=True)]
    return {
        str(k): mean_over_rows(
            [(maj_at_k(answers, silent, k), n) for answers, silent, n in rows if n >= k]
        )
        for k in ks
    }


def votes_of(group: ResultGroup, classes: Sequence[str | None]) -> tuple[list[Votes], Votes]:
    """The answers of a row with their votes, and the responses without one."""
    right: dict[str | None, list[bool]] = {}
    for result, name in zip(group, classes, strict=True):
        if result is not None and result.reward is not None:
            right.setdefault(name, []).append(result.reward == 1.0)
    silent = right.pop(None, [])
    votes = [Votes(len(each), fmean(each)) for each in right.values()]
    return votes, Votes(len(silent), fmean(silent) if silent else 0.0)


def mean_over_rows(rows: Sequence[tuple[float, int]]) -> dict[str, object]:
    """Of each row's value and number of responses: the mean, its interval, how many rows."""
    values = [value for value, _ in rows]
    return {
        "value": fmean(values) if values else None,
        "interval": rate(values, sum(responses for _, responses in rows)),
        "rows": len(rows),
    }
