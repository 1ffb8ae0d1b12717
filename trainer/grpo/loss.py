"""GRPO's losses: those of TRL, one that TRL lacks, and an interface for your own.

Notation: rho = exp(logp - old_logp) of a token, A = advantage of its response, l = loss of a token,
o = tokens of a response, N = responses of a micro-batch. The token losses:

    grpo bnpo dr_grpo dapo luspo   l = -min(rho A, clip(rho, 1 - epsilon, 1 + epsilon_high) A)
    cispo (2506.13585)             l = -stop_gradient(min(rho, epsilon_high)) A logp
    sapo (2511.20347)              l = -4/t sigmoid(t (rho - 1)) A, t by the sign of A
    vespo (2602.10693)             l = -phi(rho of the response) A logp, phi a Gamma density

`--clip false` makes the first l = -rho A. The token losses of a batch are reduced to one number:

    loss_type           length_normalization  the sum                             source
    grpo, sapo          masked_mean           1/N sum_i 1/|o_i| sum_t l_it        2402.03300
    dr_grpo             constant              1/N sum_i 1/max_length sum_t l_it   2503.20783
    dr_grpo (scaled)    masked_normalize      1/N sum_i 1/longest sum_t l_it      CS336, no. 5
    dapo, cispo, vespo  token_mean            sum_it l_it / tokens of the update  2503.14476
    bnpo                                      sum_it l_it / tokens of the batch   TRL
    luspo                                     1/N sum_i sum_t l_it                2602.05261

`divided_by` does the scaling of masked_normalize.

With TRL's default `epsilon` and one update per rollout rho is 1, and the losses of the first row
differ only in the sum. Numbers such as 2402.03300 are arXiv identifiers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from touchstone_rewards.trainer.errors import InputError

NO_CLIP = 1e9
TRL_LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo")
CLIPPED_LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo")
LengthNormalization = Literal["masked_mean", "masked_normalize", "token_mean", "constant"]
LOSS_TYPES = {
    "masked_mean": "grpo",
    "masked_normalize": "dr_grpo",
    "token_mean": "dapo",
    "constant": "dr_grpo",
}
assert set(LOSS_TYPES) == set(get_args(LengthNormalization))


@dataclass(frozen=True)
class LossInputs:
    """One micro-batch, as passed to your own loss.

    `logps` are the policy's log-probabilities of the sampled tokens, with gradients; `old_logps`
    are those at rollout time; `ref_logps` those of the reference policy, None with `beta: 0`.
    `mask` is 1 where a token counts. `advantages` are 0 for a response without a reward.
    """

    logps: Float[Tensor, "responses tokens"]
    old_logps: Float[Tensor, "responses tokens"]
    ref_logps: Float[Tensor, "responses tokens"] | None
    mask: Float[Tensor, "responses tokens"]
    advantages: Float[Tensor, "responses 1"]


LossFunction = Callable[[LossInputs], Float[Tensor, ""]]


def check_loss_type(name: str) -> None:
    """Check that TRL has a loss of this name; TRL itself fails only after the first rollout.

    Raises:
        InputError: it has none.
    """
    if name not in TRL_LOSSES:
        near = get_close_matches(name, TRL_LOSSES, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"loss_type must be one of {', '.join(TRL_LOSSES)}, not {name!r}{meant}")


def load_loss(path: str) -> LossFunction:
    """Import the loss function `module:function`, also from the working directory.

    It takes `LossInputs` and returns a scalar: a mean over the responses of the micro-batch. The
    trainer divides it by the gradient accumulation steps.

    Example:
        def reinforce(inputs: LossInputs) -> Tensor:
            per_token = -inputs.logps * inputs.advantages * inputs.mask
            return per_token.sum() / len(inputs.logps)

    Raises:
        InputError: there is no such function.
    """
    module, colon, name = path.partition(":")
    if not (module and colon and name):
        raise InputError(f"loss_function is {path!r}; expected module:function")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"loss_function {path}: {error}") from error
    if not callable(found):
        raise InputError(f"loss_function {path} is {type(found).__name__}, not a function")
    return cast(LossFunction, found)


def loss_inputs(trainer: Any, model: Any, batch: dict[str, Any]) -> LossInputs:
    """Run the policy on one of TRL's micro-batches, and return the inputs for your own loss."""
    ids = [batch["prompt_ids"], batch["completion_ids"]]
    masks = [batch["prompt_mask"], batch["completion_mask"]]
    logps, *_ = trainer._get_per_token_logps_and_entropies(
        model,
        torch.cat(ids, dim=1),
        torch.cat(masks, dim=1),
        batch["completion_ids"].size(1),
    )
    old_logps = batch.get("old_per_token_logps")
    return LossInputs(
        logps=logps,
        old_logps=logps.detach() if old_logps is None else old_logps,
        ref_logps=batch.get("ref_per_token_logps"),
        mask=(batch["completion_mask"] * batch.get("tool_mask", 1)).to(logps.dtype),
        advantages=batch["advantages"].view(len(logps), -1),
    )


@contextmanager
def divided_by(trainer: Any, longest: Tensor | None) -> Iterator[None]:
    """Make TRL's `dr_grpo` divide by `longest` tokens instead of `max_completion_length`.

    This is `masked_normalize`. None changes nothing.
    """
    usual = trainer.max_completion_length
    if longest is not None:
        trainer.max_completion_length = int(longest)
    try:
        yield
    finally:
        trainer.max_completion_length = usual
