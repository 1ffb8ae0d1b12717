"""Count the prompts that are longer than `max_prompt_length`, and filter them if asked to.

Truncation on the left happens in the trainer, where TRL tokenizes the prompts.
"""

from __future__ import annotations

from collections.abc import Mapping

from datasets import Dataset
from trl.trainer.grpo_config import GRPOConfig

from touchstone_rewards.trainer.data.chats import prompt_tokens
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.grpo.config import RolloutArguments


def template_options(args: GRPOConfig) -> Mapping[str, object]:
    """Return the extra arguments of the chat template."""
    given = args.chat_template_kwargs
    assert not isinstance(given, str)  # the config has parsed a text into a mapping
    return given or {}


def fit_prompts(
    rows: Dataset, rollout: RolloutArguments, tokenizer: object, args: GRPOConfig
) -> Dataset:
    """Return the rows to train on by `long_prompts`; print how many prompts are too long.

    Raises:
        InputError: all prompts are too long and would be filtered.
    """
    limit = rollout.max_prompt_length
    if limit is None:
        return rows
    template = template_options(args)
    counts = [len(prompt_tokens(tokenizer, prompt, template)) for prompt in rows["prompt"]]
    fitting = [place for place, count in enumerate(counts) if count <= limit]
    long = len(counts) - len(fitting)
    filtered = rollout.long_prompts == "filter"
    if filtered and not fitting:
        raise InputError(f"every prompt is longer than max_prompt_length ({limit} tokens)")
    if args.process_index == 0:
        fate = "left out" if filtered else "cut on the left"
        print(f"{long} of {len(counts)} prompts are longer than {limit} tokens: {fate}")
    return rows.select(fitting) if filtered and long else rows
