"""A critic that starts from a reward model: its trunk, and its head as the first values.

In: a reward model's folder, plain or with a value head. Out: a critic. The reward model reads what
the policy reads, so that both must have one tokenizer.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer

from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.ppo.config import PPOConfig
from touchstone_rewards.trainer.ppo.value_head import Critic
from touchstone_rewards.trainer.preference.reward_folder import load_reward_model
from touchstone_rewards.trainer.preference.reward_head import head_facts


def starting_critic(args: PPOConfig, dtype: torch.dtype) -> Critic | None:
    """The critic that `critic_model_name_or_path` means, None where none is named.

    Raises:
        InputError: there is no reward model, or no mean and std to scale its head by.
    """
    name = args.critic_model_name_or_path
    if name is None:
        return None
    model: Any = load_reward_model(name, outputs_of(name), args.seed, dtype=dtype)
    mean, std = baked(model.config, name) if args.critic_normalize else (0.0, 1.0)
    hidden_size = model.config.get_text_config().hidden_size
    critic = Critic(hidden_size, model.base_model)
    bias = head_facts(model.config).get("bias", 0.0)
    with torch.no_grad():
        # Of a head with two outputs the first is the score.
        critic.head.weight.copy_(model.score.weight[:1].float() / std)
        critic.head.bias.fill_((bias - mean) / std)
    return critic


def outputs_of(name: str) -> int:
    """How many numbers the head of a reward model gives.

    Raises:
        InputError: there is no reward model.
    """
    try:
        config: Any = AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"critic_model_name_or_path: no reward model at {name}: {reason}"
        ) from error
    return 2 if head_facts(config).get("loss") == "disco" else 1


def baked(config: object, name: str) -> tuple[float, float]:
    """The mean and the standard deviation of its scores that a reward model's config carries.

    Raises:
        InputError: it carries none.
    """
    mean, std = getattr(config, "mean", None), getattr(config, "std", None)
    if not isinstance(mean, float) or not isinstance(std, float) or std <= 0:
        raise InputError(
            f"critic_normalize is set, but {name} has no numbers `mean` and `std` in config.json: "
            "train it by trainer rm, which writes them"
        )
    return mean, std


def check_tokenizers(policy: Any, critic: str | None) -> None:
    """Refuse a critic that would read other words into the policy's tokens.

    Raises:
        InputError: the vocabularies differ.
    """
    if critic is None:
        return
    outputs_of(critic)
    if AutoTokenizer.from_pretrained(critic).get_vocab() != policy.get_vocab():
        raise InputError(
            f"critic_model_name_or_path: {critic} has another tokenizer than the policy: train a "
            "reward model from the policy's own base"
        )
