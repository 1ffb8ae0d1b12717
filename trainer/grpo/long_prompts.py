"""Prompts longer than `max_prompt_length`: counted, and left out where that is wanted.

In: rows with prompts. Out: the rows that are trained on, and a line that says how many were too
long. Cutting on the left is the trainer's part, where TRL makes tokens of a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping

from datasets import Dataset
from trl.trainer.grpo_config import GRPOConfig

from touchstone_rewards.trainer.data.chats import prompt_tokens
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.grpo.config import RolloutArguments


def template_options(args: GRPOConfig) -> Mapping[str, object]:
    """Return what goes to the chat template beside the turns."""
    given = args.chat_template_kwargs
    assert not isinstance(given, str)  # the config has made a mapping of a text
    return given or {}


def fit_prompts(
    rows: Dataset, rollout: RolloutArguments, tokenizer: object, args: GRPOConfig
) -> Dataset:
    """The rows, by `long_prompts`; how many were too long is printed.

    Raises:
        InputError: all of them, and they are to be left out.
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
