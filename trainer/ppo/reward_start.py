"""Start a critic from a reward model: its trunk, and its head as the initial value head.

The folder holds a plain reward model or one with a value head. The critic reads the policy's
tokens, so both need the same tokenizer.
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
    """Return the critic that `critic_model_name_or_path` names; None if it is not set.

    Raises:
        InputError: there is no reward model, or no mean and std to scale its head with.
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
        # A head with two outputs has the score first.
        critic.head.weight.copy_(model.score.weight[:1].float() / std)
        critic.head.bias.fill_((bias - mean) / std)
    return critic


def outputs_of(name: str) -> int:
    """Return the number of outputs of a reward model's head.

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
    """Return mean and standard deviation of the scores, as stored in a reward model's config.

    Raises:
        InputError: the config has none.
    """
    mean, std = getattr(config, "mean", None), getattr(config, "std", None)
    if not isinstance(mean, float) or not isinstance(std, float) or std <= 0:
        raise InputError(
            f"critic_normalize is set, but {name} has no numbers `mean` and `std` in config.json: "
            "train it with trainer rm, which writes them"
        )
    return mean, std


def check_tokenizers(policy: Any, critic: str | None) -> None:
    """Refuse a critic whose tokenizer differs from the policy's.

    Raises:
        InputError: the vocabularies differ.
    """
    if critic is None:
        return
    outputs_of(critic)
    if AutoTokenizer.from_pretrained(critic).get_vocab() != policy.get_vocab():
        raise InputError(
            f"critic_model_name_or_path: {critic} does not have the policy's tokenizer: train a "
            "reward model from the policy's base model"
        )
