"""Compute the story signals of a response from its log-probs with and without the history.

Inputs are per-token log-probs, entropies and information flow of the same response tokens, once
after the full prompt and once after the prompt without the conversation history, and a mask of the
response tokens. All sums run over response tokens only, so padding changes nothing.

Source: the story-generation fork of EasyR1 that the formulas of `docs/story.md` come from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

PerToken = Float[Tensor, "batch tokens"]
TokenMask = Bool[Tensor, "batch tokens"]
Rows = Float[Tensor, " batch"]
D_LIMIT = 10.0


@dataclass
class SignalArguments:
    """Switch for the signals, and the constants of CRE; the defaults are the source's."""

    enabled: bool = field(
        default=False, metadata={"help": "Measure the signals and send them with every sample."}
    )
    beta: float = field(default=1.0, metadata={"help": "Weight of d_i, the change of entropy."})
    gamma: float = field(default=1.0, metadata={"help": "Weight of f_i, the information flow."})
    eps: float = field(default=1e-8, metadata={"help": "Keeps the divisions finite."})
    rho: float = field(
        default=0.2,
        metadata={"help": "Share of tokens in CRE: those of highest entropy without history."},
    )
    d_sign: int = field(
        default=1,
        metadata={"help": "1: d_i = (H_with - H_without)/H_without, as last run; -1: negated."},
    )

    def __post_init__(self) -> None:
        if not 0 < self.rho <= 1:
            raise ValueError(f"rho is {self.rho}; expected a share of the tokens in (0, 1]")
        if self.d_sign not in (1, -1):
            raise ValueError(f"d_sign is {self.d_sign}; expected 1 or -1")
        if self.eps <= 0:
            raise ValueError(f"eps is {self.eps}; expected a positive number")


class Measured(NamedTuple):
    """Log-prob and entropy in nats, and flow f_i, of each response token in one forced pass."""

    logps: PerToken
    entropies: PerToken
    flow: PerToken


def information_flow(hidden: Float[Tensor, "batch tokens size"], mask: TokenMask) -> PerToken:
    """Return f_i = max(0, mean of cos(h_i, h_j) over earlier response tokens j), 0 for the first.

    Uses a running sum of unit vectors, so memory is linear in the number of tokens.
    """
    unit = torch.nn.functional.normalize(hidden.float(), dim=-1) * mask[..., None]
    before = unit.cumsum(dim=1) - unit
    earlier = mask.cumsum(dim=1) - mask.long()
    return ((unit * before).sum(-1) / earlier.clamp(min=1)).clamp(min=0)


def entropy_change(
    with_history: PerToken, without: PerToken, constants: SignalArguments
) -> PerToken:
    """Return d_i = (H_with - H_without) / (H_without + eps), clamped to ±10, times `d_sign`."""
    change = (with_history - without) / (without + constants.eps)
    return constants.d_sign * change.clamp(-D_LIMIT, D_LIMIT)


def most_open(without: PerToken, mask: TokenMask, rho: float) -> TokenMask:
    """Mark the ceil(rho T) response tokens of highest entropy without history, ties by position."""
    order = without.masked_fill(~mask, -math.inf).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    # 0.2 * 15 is 3.0000000000000004 in double precision and would round up to 4.
    kept = (rho * mask.sum(dim=1, keepdim=True).double()).round(decimals=6).ceil()
    return mask & (rank < kept)


def token_weights(
    change: PerToken, flow: PerToken, chosen: TokenMask, constants: SignalArguments
) -> PerToken:
    """Return alpha_i: max(0, 1 + beta d_i + gamma f_i) over the chosen tokens, normalized to 1.

    Uniform if the sum is below eps. The source allows negative weights where beta d_i < -1, which
    reward unlikely tokens; here they are 0. With the defaults there are none.
    """
    raw = (1 + constants.beta * change + constants.gamma * flow).clamp(min=0)
    raw = raw.masked_fill(~chosen, 0)
    total = raw.sum(dim=1, keepdim=True)
    uniform = chosen / chosen.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.where(total < constants.eps, uniform, raw / total.clamp(min=constants.eps))


def cre(
    with_history: Measured, without: Measured, mask: TokenMask, constants: SignalArguments
) -> Rows:
    """Return CRE = -sum_i alpha_i log p_i in nats per token, with log-probs after the history."""
    change = entropy_change(with_history.entropies, without.entropies, constants)
    chosen = most_open(without.entropies, mask, constants.rho)
    weights = token_weights(change, with_history.flow, chosen, constants)
    return -(weights * with_history.logps.masked_fill(~mask, 0)).sum(dim=1)


def signals_of(
    with_history: Measured,
    without: Measured,
    mask: TokenMask,
    history_tokens: list[int],
    constants: SignalArguments,
) -> list[dict[str, float]]:
    """Return the signals of each row; an empty dict for a row without response tokens or with a
    value that is not finite.

    A row without history has `history_tokens` 0, and its pass with history stands for both.
    """
    told = torch.tensor(history_tokens, device=mask.device)[:, None] > 0
    without = Measured(
        *(torch.where(told, b, a) for a, b in zip(with_history, without, strict=True))
    )
    columns = {
        "logprob_gain": masked_mean(with_history.logps - without.logps, mask),
        "cre": (value := cre(with_history, without, mask, constants)),
        "exp_neg_cre": torch.exp(-value),
        "mean_entropy_with": masked_mean(with_history.entropies, mask),
        "mean_entropy_without": masked_mean(without.entropies, mask),
        "info_flow": masked_mean(with_history.flow, mask),
    }
    names, table = list(columns), torch.stack(list(columns.values()), dim=1).tolist()
    rows, lengths = [], mask.sum(dim=1).tolist()
    for values, tokens, history in zip(table, lengths, history_tokens, strict=True):
        whole = tokens > 0 and all(map(math.isfinite, values))
        row = dict(zip(names, values, strict=True)) | {"history_tokens": history}
        rows.append(row if whole else {})
    return rows


def masked_mean(values: PerToken, mask: TokenMask) -> Rows:
    """Return the mean over the response tokens of each row, 0 for a row without any."""
    return values.masked_fill(~mask, 0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
