"""The table of trainers: how each is run, and what of the samples its way of asking carries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

# What the server is given beside the response: the question; the chat template's text, the end
# token behind the response; no prompt at all.
Form = Literal["question", "rendered", "alone"]


@dataclass(frozen=True)
class Peer:
    """One trainer in one version.

    `way`: its code that asks, and what it holds. `environment`: the requirements file below
    tests/contract/environments. `checkout`: the repository's folder where the code is not in the
    environment. `left_out`: parts that this way cannot carry, and why.
    """

    name: str
    way: str
    script: str
    environment: str
    form: Form = "question"
    checkout: str | None = None
    left_out: dict[str, str] = field(default_factory=dict[str, str])


_TRL = "`GRPOTrainer.train`, two steps; `rewards_per_func`"
PEERS = (
    Peer("TRL, newest", _TRL, "with_trl", "trl_newest"),
    Peer("TRL 1.6", _TRL, "with_trl", "trl_1_6"),
    Peer("TRL 1.5", _TRL, "with_trl", "trl_1_5"),
    Peer("TRL 0.24", _TRL, "with_trl", "trl_0_24"),
)
# Trainers that are not run here, and why.
NOT_RUN: dict[str, str] = {}
