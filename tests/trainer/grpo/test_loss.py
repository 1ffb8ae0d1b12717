"""A user's own loss replaces TRL's; one written like TRL's has TRL's gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.grpo.test_fields import train
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.grpo.config import GrpoArguments
from touchstone_rewards.trainer.grpo.loss import LossInputs, load_loss

HERE = "tests.trainer.grpo.test_loss"


def clipped(inputs: LossInputs) -> Tensor:
    """GRPO's loss (arXiv 2402.03300, equation 3) with epsilon 0.2, without a KL term."""
    ratio = (inputs.logps - inputs.old_logps).exp()
    gain = torch.min(ratio * inputs.advantages, ratio.clamp(0.8, 1.2) * inputs.advantages)
    return -((gain * inputs.mask).sum(-1) / inputs.mask.sum(-1)).mean()


def nothing(inputs: LossInputs) -> Tensor:
    return 0 * inputs.logps.sum()


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_loss_written_like_trls_has_trls_gradients(
    tiny_model: Path, tmp_path: Path, accumulation: int
) -> None:
    fields: dict[str, Any] = {
        "gradient_accumulation_steps": accumulation,
        "per_device_train_batch_size": 16 // accumulation,
        "num_iterations": 2,
        "beta": 0.0,
    }
    trls = train(tiny_model, tmp_path / "trl", {}, **fields, loss_type="grpo")
    own = train(tiny_model, tmp_path / "own", {"loss_function": f"{HERE}:clipped"}, **fields)
    assert len(own.updates) == len(trls.updates) == 2
    for (_, expected), (_, gradient) in zip(trls.updates, own.updates, strict=True):
        assert any(each.abs().max() > 0 for each in expected.values())
        for name, each in expected.items():
            torch.testing.assert_close(gradient[name], each, rtol=1e-4, atol=1e-7)


def test_the_loss_that_is_named_is_the_one_that_trains(tiny_model: Path, tmp_path: Path) -> None:
    trained = train(tiny_model, tmp_path, {"loss_function": f"{HERE}:nothing"})
    assert all(
        each.abs().max() == 0 for _, gradient in trained.updates for each in gradient.values()
    )


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("no_colon", "expected module:function"),
        ("no.such.module:loss", "No module named"),
        (f"{HERE}:absent", "absent"),
        (f"{HERE}:HERE", "is str, not a function"),
    ],
)
def test_a_path_that_leads_to_no_function_is_refused(path: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_loss(path)


@pytest.mark.parametrize("other", [{"clip": False}, {"length_normalization": "token_mean"}])
def test_a_loss_of_ones_own_is_the_whole_loss(other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the whole loss"):
        GrpoArguments(loss_function=f"{HERE}:clipped", **other)
