"""Outputs in a batch are compared with outputs one by one, as exactly as the dtype allows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import pytest
import torch

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.models.parity import (
    TOLERANCE,
    InFloat32,
    Parity,
    choose_layout,
)

HALVES = [torch.bfloat16, torch.float16]
KNOWN = [list(range(count)) for count in (3, 12, 1, 10, 7, 9, 11)]
Outputs = Callable[[Sequence[Sequence[int]], str], torch.Tensor]


class Summing:
    """A model whose output is a sum, rounded after every step in half precision."""

    def __init__(self, dtype: torch.dtype) -> None:
        numbers = torch.rand(12, generator=torch.Generator().manual_seed(0))
        self.weights = (1 + numbers).to(dtype)
        self.dtype = dtype

    def alone(self, ids: Sequence[int]) -> torch.Tensor:
        total = torch.zeros(1, dtype=self.dtype)
        for one in ids:
            total = total + self.weights[one]
        return total

    def differing_by(self, errors: float) -> Outputs:
        """Return a layout that differs from `alone` by so many times the error of `alone`."""

        def run(ids: Sequence[Sequence[int]], layout: str) -> torch.Tensor:
            rounded = torch.stack([self.alone(one) for one in ids]).float()
            with InFloat32():
                exact = torch.stack([self.alone(one) for one in ids])
            return rounded + errors * (exact - rounded)

        return run

    def without_the_last(self, ids: Sequence[Sequence[int]], layout: str) -> torch.Tensor:
        return torch.stack([self.alone(one[:-1]) for one in ids])


def chosen(model: Summing, run: Outputs) -> Parity:
    return choose_layout(["packed"], run, KNOWN, model.alone, model.dtype)[0]


@pytest.mark.parametrize("dtype", HALVES)
def test_a_batch_may_be_off_by_three_times_the_error_of_the_dtype(
    dtype: torch.dtype, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOLERANCE, dtype, 1e-6)
    model = Summing(dtype)
    with caplog.at_level(logging.WARNING):
        parity = chosen(model, model.differing_by(2.9))
    assert 1e-3 < parity.drift <= parity.tolerance
    name = str(dtype).removeprefix("torch.")
    assert f"in {name} the model's outputs differ from float32 by" in caplog.text
    with pytest.raises(ConfigError, match=r"packed: off by .*, .* is allowed"):
        chosen(model, model.differing_by(3.1))


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
def test_a_fault_in_a_layout_is_found_in_every_dtype(dtype: torch.dtype) -> None:
    model = Summing(dtype)
    with pytest.raises(ConfigError, match=r"packed: off by .*, .* is allowed"):
        chosen(model, model.without_the_last)


def test_a_model_that_does_not_run_in_float32_gets_no_more_than_the_usual_tolerance() -> None:
    model = Summing(torch.bfloat16)
    in_half = model.alone

    def only_in_half(ids: Sequence[int]) -> torch.Tensor:
        if (model.weights[0] + 0).dtype is torch.float32:
            raise RuntimeError("this kernel takes half precision only")
        return in_half(ids)

    model.alone = only_in_half  # type: ignore[method-assign]
    assert chosen(model, lambda ids, _: torch.stack([in_half(one) for one in ids])).drift == 0
    with pytest.raises(ConfigError, match="parity self-test"):
        chosen(model, model.without_the_last)


@pytest.mark.parametrize(
    ("dtype", "weight", "why"),
    [
        (torch.float16, 60_000.0, "too large for float16; use bfloat16"),
        (torch.bfloat16, float("inf"), "the weights are broken"),
    ],
)
def test_scores_that_are_not_finite_are_refused_with_the_likely_reason(
    dtype: torch.dtype, weight: float, why: str
) -> None:
    model = Summing(dtype)
    model.weights = torch.full((12,), weight, dtype=dtype)
    with pytest.raises(ConfigError, match=f"not finite: {why}"):
        chosen(model, model.without_the_last)


@pytest.mark.parametrize("dtype", HALVES)
def test_in_float32_a_half_model_computes_what_its_weights_say(dtype: torch.dtype) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.LayerNorm(64)).to(dtype)
    inputs = torch.randn(3, 64, dtype=dtype)
    with torch.inference_mode(), InFloat32():
        found = model(inputs)
    assert found.dtype == torch.float32
    assert next(model.parameters()).dtype == dtype
    with torch.inference_mode():
        assert torch.equal(found, model.float()(inputs.float()))
