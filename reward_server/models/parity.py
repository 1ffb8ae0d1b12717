"""The parity self-test: compare known inputs in a batch with the same inputs one by one.

A difference above the tolerance means that padding, positions or masks are handled wrongly; the
model is then refused before it serves anything.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.models.packed import Ids

# The largest difference allowed, times the size of the scores if that is over 1. In half precision
# the order of sums alone changes the last bits in every layer.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 5e-3}
# Some models are more sensitive to half precision than that. Inputs one by one are then off from
# fp32 as well, and a batch may differ from them by this many times as much. Independent errors of
# the same size reach it for 3 models in 1,000; most faults in a layout give more.
ERRORS_ALLOWED = 3.0
RunLayout = Callable[[Sequence[Ids], str], torch.Tensor]
RunAlone = Callable[[Ids], torch.Tensor]

log = logging.getLogger(__name__)

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
            "dtype": _name(dtype),
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
    run_alone: RunAlone,
    dtype: torch.dtype,
) -> tuple[Parity, list[str]]:
    """Return the first layout whose outputs in one batch equal those of each input alone, and the
    reasons why earlier layouts were rejected.

    Nothing is timed: in half precision the layouts differ in the last bits, so the same machine
    must choose the same one at every start.

    Raises:
        ConfigError: no layout passes.
    """
    alone = _each(known, run_alone)
    if not bool(torch.isfinite(alone).all()):
        half = dtype is torch.float16
        why = "too large for float16; use bfloat16" if half else "the weights are broken"
        raise ConfigError(f"known samples get scores that are not finite: {why}")
    tolerance = TOLERANCE[dtype] * max(1.0, float(alone.abs().max()))
    is_measured = dtype is torch.float32
    rejected: list[str] = []
    for layout in layouts:
        try:
            drift = _drift(run(known, layout), alone)
        except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            rejected.append(f"{layout}: {type(error).__name__}: {error}"[:200])
            continue
        if drift > tolerance and not is_measured:
            is_measured = True
            tolerance = max(tolerance, ERRORS_ALLOWED * _error(alone, known, run_alone, dtype))
        parity = Parity(layout, drift, tolerance)
        if parity.holds:
            return parity, rejected
        rejected.append(f"{layout}: off by {drift:.2g}, {tolerance:.2g} is allowed")
    raise ConfigError(
        "parity self-test: scores in a batch differ from scores one by one "
        f"({'; '.join(rejected)}); refusing to serve them"
    )


class InFloat32(TorchFunctionMode):
    """A context in which torch computes in fp32 what a model in half precision would compute.

    Each operation's tensors are converted when it runs, weights too, so that no second copy of the
    model is needed.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        converted: Any = tree_map(_to_float32, (args, kwargs or {}))
        return func(*converted[0], **converted[1])


def _to_float32(value: Any) -> Any:
    half = isinstance(value, torch.Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if half else value


def _error(
    alone: torch.Tensor, known: Sequence[Ids], run_alone: RunAlone, dtype: torch.dtype
) -> float:
    """Return by how much the outputs of inputs one by one differ from the same in fp32; 0 for a
    model that cannot run in fp32."""
    try:
        with InFloat32():
            exact = _each(known, run_alone)
    except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        log.warning("the model does not run in float32: %s", f"{error}"[:200])
        return 0.0
    found = _drift(alone, exact)
    log.warning("in %s the model's outputs differ from float32 by up to %.2g", _name(dtype), found)
    return found if math.isfinite(found) else 0.0


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _each(known: Sequence[Ids], run_alone: RunAlone) -> torch.Tensor:
    return torch.stack([run_alone(one) for one in known]).float().cpu()


def _drift(found: torch.Tensor, expected: torch.Tensor) -> float:
    drift = float((found.float().cpu() - expected).abs().max())
    return math.inf if math.isnan(drift) else drift
