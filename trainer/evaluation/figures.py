"""Rates and means with 95% intervals from scored responses. No files, no server.

A group is the responses to one row. Every figure is a mean over rows, and its interval is over
rows, since responses to one prompt are not independent trials.
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
    """Return rates and means over the rows with a reward.

    `accuracy` is the share of responses with the full reward of 1, `format_rate` the share with a
    format score of 1, null if the profile has none. Rows without a scored response count in
    neither.
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
    """Return the mean over rows of the share of ones, with its interval."""
    shares = [row.count(1.0) / len(row) for row in rows]
    trials = sum(map(len, rows))
    return {
        name: fmean(shares) if shares else None,
        f"{name}_interval": rate(shares, trials),
    }


def full_reward_share(lines: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return each row's share of responses with the full reward of 1, from lines of
    `results.jsonl`.

    Responses without a reward are left out, and so are rows without any reward.
    """
    rewards: dict[str, list[float]] = {}
    for line in lines:
        if line["reward"] is not None:
            rewards.setdefault(line["group"] or line["id"], []).append(line["reward"])
    return {name: row.count(1.0) / len(row) for name, row in rewards.items()}


def default_ks(n: int) -> list[int]:
    """Return 1, 2, 4, ... and n itself."""
    return sorted({1 << power for power in range(n.bit_length()) if 1 << power <= n} | {n})


def pass_at(groups: Sequence[ResultGroup], ks: Sequence[int]) -> dict[str, object]:
    """Return pass@k for each k, over the rows with at least k scored responses."""
    rows = [(len(found), found.count(1.0)) for group in groups if (found := rewards_of(group))]
    return {
        str(k): mean_over_rows([(pass_at_k(n, right, k), n) for n, right in rows if n >= k])
        for k in ks
    }


def maj_at(
    groups: Sequence[ResultGroup], classes: Sequence[Sequence[str | None]], ks: Sequence[int]
) -> dict[str, object]:
    """Return maj@k for each k, over the rows with at least k scored responses; right means a reward
    of 1."""
    votes = [votes_of(group, names) for group, names in zip(groups, classes, strict=True)]
    rows = [(*each, len(rewards_of(group))) for each, group in zip(votes, groups, strict=True)]
    return {
        str(k): mean_over_rows(
            [(maj_at_k(answers, silent, k), n) for answers, silent, n in rows if n >= k]
        )
        for k in ks
    }


def votes_of(group: ResultGroup, classes: Sequence[str | None]) -> tuple[list[Votes], Votes]:
    """Return the answers of a row with their votes, and the responses without an answer."""
    right: dict[str | None, list[bool]] = {}
    for result, name in zip(group, classes, strict=True):
        if result is not None and result.reward is not None:
            right.setdefault(name, []).append(result.reward == 1.0)
    silent = right.pop(None, [])
    votes = [Votes(len(each), fmean(each)) for each in right.values()]
    return votes, Votes(len(silent), fmean(silent) if silent else 0.0)


def mean_over_rows(rows: Sequence[tuple[float, int]]) -> dict[str, object]:
    """Return the mean of the rows' values, its interval, and the number of rows.

    Each row is a value and its number of responses.
    """
    values = [value for value, _ in rows]
    return {
        "value": fmean(values) if values else None,
        "interval": rate(values, sum(responses for _, responses in rows)),
        "rows": len(rows),
    }
