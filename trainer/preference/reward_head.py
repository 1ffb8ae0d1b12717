"""The value head of a reward model: where it reads, what it gives, its distributional loss.

In: hidden states and attention masks, means and variances. Out: one score a sequence, losses. Pure
but for `score_at_last_token`, which changes a model's forward. It loads, saves and trains nothing.
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
    """What a reward model gives for N sequences: scores, and variances if its head has them."""

    logits: Float[Tensor, "n 1"] | None = None
    variance: Float[Tensor, " n"] | None = None


def head_facts(config: object) -> dict[str, Any]:
    """What the folder's `config.json` says about the head, under `reward_head`."""
    return dict(getattr(config, "reward_head", None) or {})


def name_outputs(config: Any, outputs: int) -> None:
    """Say in the config what each output of the head is."""
    config.id2label = dict(enumerate(OUTPUT_NAMES[outputs]))
    config.label2id = {name: place for place, name in config.id2label.items()}


def score_at_last_token(model: PreTrainedModel) -> None:
    """Make `model` read its head at the last token that the attention mask shows.

    Transformers looks for the last token that is not the padding token, which is one too early
    where a tokenizer pads with its end token, as many do.

    Raises:
        InputError: the model has no linear head `score`, so it is no decoder.
    """
    if not hasattr(model, "score"):
        raise InputError(f"{type(model).__name__} has no head `score`: take a decoder model")
    # A method and not a closure over the model: copies of the model must use their own weights.
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
    """The place of the last real token of each sequence, padded left or right."""
    places = torch.arange(attention_mask.shape[-1], device=attention_mask.device)
    return (attention_mask.to(places.dtype) * places).argmax(-1)


def read_head(
    head: torch.nn.Module, hidden: Float[Tensor, "n h"], facts: dict[str, Any]
) -> RewardModelOutput:
    """Scores, and variances from a head with two outputs; always outside autocast.

    Bfloat16 keeps three digits: pairs that differ by less would tie.
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
    """-log P(chosen > rejected) for two normal distributions, the first half of the batch chosen.

    `margin` is taken from the difference of the means; `center` weighs (sum of the means)², as in
    TRL's loss for scalar heads.

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
