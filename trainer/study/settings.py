"""The settings that a study of GRPO runs, and their comparisons. Data only.

The defaults are the five comparisons commonly made for GRPO: the baseline, the length
normalization, the division by the standard deviation, several epochs per rollout, and the clipping
that makes those safe.
"""

from __future__ import annotations

from typing import Any, NamedTuple

REFERENCE: dict[str, Any] = {
    "advantage": "group_std",
    "length_normalization": "masked_mean",
    "clip": True,
    "epochs_per_rollout": 1,
}
# Differences from the reference setting.
SETTINGS: dict[str, dict[str, Any]] = {
    "reference": {},
    "no_baseline": {"advantage": "none"},
    "masked_normalize": {"length_normalization": "masked_normalize"},
    "mean_only": {"advantage": "group_mean"},
    "off_policy": {"epochs_per_rollout": 4},
    "off_policy_no_clip": {"epochs_per_rollout": 4, "clip": False},
}


class Comparison(NamedTuple):
    """Two settings that differ in one thing."""

    question: str
    this: str
    other: str


COMPARISONS = (
    Comparison("a baseline or none", "reference", "no_baseline"),
    Comparison("masked_mean or masked_normalize", "reference", "masked_normalize"),
    Comparison("standard deviation or mean only", "reference", "mean_only"),
    Comparison("one epoch a rollout or four", "reference", "off_policy"),
    Comparison("off-policy: clip or none", "off_policy", "off_policy_no_clip"),
)
