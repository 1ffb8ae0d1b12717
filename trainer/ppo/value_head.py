"""The critic: a value for each position of a text, computed in the policy's own forward pass.

The policy, to which TRL has attached its fused LM head, gets a submodule `critic`, so that DDP, the
optimizer and the checkpoints treat the critic as part of it. The critic is kept out of the saved
model and of the weights sent to vLLM, which do not know it. No loss is computed here.

shared     a linear head on the policy's last hidden states
separate   its own trunk, copied from the policy; with LoRA its own adapter on the same base model,
                      so that policy, reference policy and critic share one set of base weights
"""

from __future__ import annotations

import copy
import functools
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from trl.trainer.utils import FusedCausalLMOutput

from touchstone_rewards.trainer.errors import InputError

CriticKind = Literal["shared", "separate"]
NAME = "critic"
FILE = "critic.safetensors"

Trunk = Callable[..., Float[Tensor, "batch positions hidden"]]


@dataclass
class ScoredOutput(FusedCausalLMOutput):
    """The output of TRL's fused forward pass, plus the value of each position."""

    state_values: Float[Tensor, "batch positions"] | None = None


class Critic(nn.Module):
    """A linear value head, initialized to 0, so that the first values are 0 on every rank.

    `trunk` is the critic's own trunk, if any. Inside `listening`, it records the values of every
    scoring pass of the policy.
    """

    def __init__(self, hidden_size: int, trunk: nn.Module | None = None) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.heard: list[Tensor] | None = None

    def forward(
        self, hidden: Float[Tensor, "batch positions hidden"]
    ) -> Float[Tensor, "batch positions"]:
        # Single precision whatever the policy's dtype: values are sums of small changes.
        with torch.autocast(hidden.device.type, enabled=False):
            return self.head(hidden.float()).squeeze(-1)

    @contextmanager
    def listening(self) -> Iterator[list[Tensor]]:
        """Record the values of the scoring passes inside the block, one tensor per pass."""
        self.heard = []
        try:
            yield self.heard
        finally:
            self.heard = None


def attach_critic(
    policy: PreTrainedModel | PeftModel, kind: CriticKind, start: Critic | None = None
) -> Critic:
    """Attach a critic to the policy, and return it; it records values in the policy's scoring
    passes.

    `start` is an existing separate critic with its own trunk.
    """
    peft = isinstance(policy, PeftModel)
    base: Any = policy.get_base_model() if peft else policy
    hidden_size = base.config.get_text_config().hidden_size
    own = copy.deepcopy(base.base_model) if kind == "separate" and not (peft or start) else None
    critic = (start or Critic(hidden_size, own)).to(base.device)
    base.add_module(NAME, critic)
    ignored = getattr(base, "_keys_to_ignore_on_save", None) or ()
    base._keys_to_ignore_on_save = {*ignored, *(f"{NAME}.{key}" for key in critic.state_dict())}
    trunk: Trunk | None = None
    if kind == "separate":
        if isinstance(policy, PeftModel) and start is None:
            trunk = _adapter_trunk(policy, base)
        else:
            trunk = _own_trunk(critic.trunk)
    _listen(base, critic, trunk)
    return critic


def _listen(base: Any, critic: Critic, trunk: Trunk | None) -> None:
    """Wrap the policy's forward, so that the critic's values become part of its output.

    They must be: DDP treats parameters that the output does not depend on as unused.
    """
    scoring = base.forward

    @functools.wraps(type(base).forward)
    def forward(
        self: Any,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        fused_lm_head: bool = False,
        **kwargs: Any,
    ) -> Any:
        call = functools.partial(
            scoring,
            input_ids=input_ids,
            attention_mask=attention_mask,
            fused_lm_head=fused_lm_head,
            **kwargs,
        )
        if not fused_lm_head or critic.heard is None:
            return call()
        with _last_hidden_states(self.base_model) as hidden:
            output = call()
        seen = hidden[0] if trunk is None else trunk(input_ids, attention_mask)
        values = critic(seen)
        critic.heard.append(values)
        return ScoredOutput(**output, state_values=values)

    base.forward = types.MethodType(forward, base)


@contextmanager
def _last_hidden_states(backbone: nn.Module) -> Iterator[list[Tensor]]:
    hidden: list[Tensor] = []
    hook = backbone.register_forward_hook(
        lambda module, inputs, output: hidden.append(output.last_hidden_state)
    )
    try:
        yield hidden
    finally:
        hook.remove()


def _own_trunk(own: Any) -> Trunk:
    own.requires_grad_(True)
    return lambda input_ids, attention_mask: (
        own(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
    )


def _adapter_trunk(policy: PeftModel, base: Any) -> Trunk:
    policy.add_adapter(NAME, copy.deepcopy(policy.peft_config["default"]))
    train_adapter(policy)

    def trunk(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        with _active_adapter(base, NAME):
            return base.base_model(
                input_ids=input_ids, attention_mask=attention_mask, use_cache=False
            ).last_hidden_state

    return trunk


def train_adapter(policy: nn.Module) -> None:
    """Make the critic's adapter trainable; PEFT freezes all but the active adapter."""
    for name, parameter in policy.named_parameters():
        if is_critics(name):
            parameter.requires_grad_(True)


@contextmanager
def _active_adapter(base: nn.Module, adapter: str) -> Iterator[None]:
    """Run the block with another adapter; PEFT's own switch would freeze the inactive one."""
    layers: list[Any] = [each for each in base.modules() if isinstance(each, BaseTunerLayer)]
    before = [layer._active_adapter for layer in layers]
    for layer in layers:
        layer._active_adapter = [adapter]
    try:
        yield
    finally:
        for layer, active in zip(layers, before, strict=True):
            layer._active_adapter = active


def is_critics(name: str) -> bool:
    """Return whether the parameter of this name, in the policy or in a PEFT wrapper, is the
    critic's."""
    return name.startswith(f"{NAME}.") or f".{NAME}." in name


def without_critic(
    named_parameters: Callable[[], Iterable[tuple[str, Tensor]]],
) -> Callable[[], Iterator[tuple[str, Tensor]]]:
    """Return the same iterator over named weights without the critic's, for the sync to vLLM."""
    return lambda: (pair for pair in named_parameters() if not is_critics(pair[0]))


def save_critic(critic: Critic, folder: str | Path) -> None:
    """Write the critic's own weights beside the model's; PEFT writes the adapter of a LoRA
    critic."""
    state = {key: value.contiguous() for key, value in critic.state_dict().items()}
    save_file(state, Path(folder) / FILE)


def load_critic(critic: Critic, folder: str | Path) -> None:
    """Load the weights that `save_critic` wrote.

    Raises:
        InputError: there is no critic, or it is of the other kind.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise InputError(f"{folder} has no {FILE}: it was not saved by trainer ppo")
    try:
        critic.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise InputError(f"{path} holds another kind of critic: check `critic`") from error
