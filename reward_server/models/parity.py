"""The parity self-test: compare known inputs in a batch with the same inputs one by one.

A difference above the tolerance means that padding, positions or masks are handled wrongly; the
model is then refused before it serves anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.models.packed import Ids

# The largest difference allowed, times the size of the scores if that is over 1. In half precision
# the order of sums alone changes the last bits in every layer.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 5e-3}
RunLayout = Callable[[Sequence[Ids], str], torch.Tensor]

_SENTENCE = "the reward of a story is what it leaves with whoever reads it to its end"
_WORDS = _SENTENCE.split() * 10
# Texts of very different lengths, so that faults of padding, position or order show.
KNOWN_TEXTS = [
    " ".join(_WORDS[start : start + count])
    for start, count in ((0, 3), (5, 120), (2, 1), (9, 40), (1, 77), (3, 12), (8, 28))
]


class Parity(NamedTuple):
    """`drift`: the largest difference found; `tolerance`: the largest one allowed."""

    layout: str
    drift: float
    tolerance: float

    def about(self, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
        """Return the facts about a model's run that `GET /models` shows."""
        return {
            "device": str(device),
            "dtype": str(dtype).removeprefix("torch."),
            "layout": self.layout,
            "parity_drift": self.drift,
            "parity_tolerance": self.tolerance,
        }

    @property
    def holds(self) -> bool:
        return self.drift <= self.tolerance


def choose_layout(
    layouts: Sequence[str],
    run: RunLayout,
    known: Sequence[Ids],
    alone: Sequence[torch.Tensor],
    dtype: torch.dtype,
) -> tuple[Parity, list[str]]:
    """Return the first layout whose outputs in one batch equal those of each input alone, and the
    reasons why earlier layouts were rejected.

    Nothing is timed: in half precision the layouts differ in the last bits, so the same machine
    must choose the same one at every start.

    Raises:
        ConfigError: no layout passes.
    """
    expected = torch.stack(list(alone)).float().cpu()
    if not bool(torch.isfinite(expected).all()):
        raise ConfigError("known samples get scores that are not finite: the weights are broken")
    tolerance = TOLERANCE[dtype] * max(1.0, float(expected.abs().max()))
    rejected: list[str] = []
    for layout in layouts:
        try:
            parity = Parity(layout, _drift(run(known, layout), expected), tolerance)
        except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            rejected.append(f"{layout}: {type(error).__name__}: {error}"[:200])
            continue
        if parity.holds:
            return parity, rejected
        rejected.append(f"{layout}: off by {parity.drift:.2g}")
    raise ConfigError(
        "parity self-test: scores in a batch differ from scores one by one "
        f"({'; '.join(rejected)}); refusing to serve them"
    )


def _drift(found: torch.Tensor, expected: torch.Tensor) -> float:
    drift = float((found.float().cpu() - expected).abs().max())
    return math.inf if math.isnan(drift) else drift
