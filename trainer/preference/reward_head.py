"""The head of a reward model: the position it reads, its outputs, and its distributional loss.

Pure functions of tensors, except `score_at_last_token`, which replaces a model's forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from touchstone_rewards.trainer.errors import InputError

OUTPUT_NAMES = {1: ("score",), 2: ("mean", "raw_variance")}


@dataclass
class RewardModelOutput(ModelOutput):
    """Output of a reward model for N sequences: scores, and variances if its head has them."""

    logits: Float[Tensor, "n 1"] | None = None
    variance: Float[Tensor, " n"] | None = None


def head_facts(config: object) -> dict[str, Any]:
    """Return the entry `reward_head` of a model's config; empty if it has none."""
    return dict(getattr(config, "reward_head", None) or {})


def name_outputs(config: Any, outputs: int) -> None:
    """Name each output of the head in the config."""
    config.id2label = dict(enumerate(OUTPUT_NAMES[outputs]))
    config.label2id = {name: place for place, name in config.id2label.items()}


def score_at_last_token(model: PreTrainedModel) -> None:
    """Make `model` read its head at the last token that the attention mask shows.

    Transformers reads at the last token that is not the padding token, which is one too early if a
    tokenizer pads with its end token, as many do.

    Raises:
        InputError: the model has no linear head `score`, so it is not a decoder model.
    """
    if not hasattr(model, "score"):
        raise InputError(f"{type(model).__name__} has no head `score`: use a decoder model")
    # A method, not a closure over the model: copies of the model must use their own weights.
    model.forward = MethodType(_forward, model)


def _forward(
    model: Any,
    input_ids: Int[Tensor, "n t"],
    attention_mask: Int[Tensor, "n t"],
    **_: Any,
) -> RewardModelOutput:
    body = model.base_model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
    rows = torch.arange(len(input_ids), device=input_ids.device)
    hidden = body.last_hidden_state[rows, last_positions(attention_mask)]
    return read_head(model.score, hidden, head_facts(model.config))


def last_positions(attention_mask: Int[Tensor, "n t"]) -> Int[Tensor, " n"]:
    """Return the index of the last real token of each sequence, padded left or right."""
    places = torch.arange(attention_mask.shape[-1], device=attention_mask.device)
    return (attention_mask.to(places.dtype) * places).argmax(-1)


def read_head(
    head: torch.nn.Module, hidden: Float[Tensor, "n h"], facts: dict[str, Any]
) -> RewardModelOutput:
    """Return scores, and variances from a head with two outputs; always computed outside autocast.

    Bfloat16 has three digits, so pairs with smaller differences would tie.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        outputs = head(hidden.to(next(head.parameters()).dtype)).float()
    scores = outputs[:, :1] + facts.get("bias", 0.0)
    if outputs.shape[-1] == 1:
        return RewardModelOutput(logits=scores)
    variance = torch.nn.functional.softplus(outputs[:, 1]) + facts["variance_floor"]
    return RewardModelOutput(logits=scores, variance=variance)


def disco_loss(
    output: RewardModelOutput,
    margin: Float[Tensor, " pairs"] | None = None,
    center: float | None = None,
) -> Float[Tensor, ""]:
    """Return -log P(chosen > rejected) for two normal distributions; chosen is the batch's first
    half.

    `margin` is subtracted from the difference of the means; `center` weighs (sum of the means)², as
    in TRL's loss for scalar heads.

    Source: 1587causalai/DiscoRM-LLaMA-Factory: -log Φ((μc - μr) / √(σc² + σr²)).
    """
    assert output.logits is not None
    assert output.variance is not None
    chosen, rejected = output.logits.squeeze(-1).chunk(2)
    chosen_variance, rejected_variance = output.variance.chunk(2)
    difference = chosen - rejected if margin is None else chosen - rejected - margin
    z = difference / (chosen_variance + rejected_variance).sqrt()
    loss = -torch.special.log_ndtr(z).mean()
    return loss if center is None else loss + center * ((chosen + rejected) ** 2).mean()
