"""Prompts longer than `max_prompt_length`: counted, and left out where that is wanted.

In: rows with prompts. Out: the rows that are trained on, and a line that says how many were too
long. Cutting on the left is the trainer's part, where TRL makes tokens of a prompt.
"""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.model_config import ModelConfig

from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.grpo.config import RolloutArguments
from touchstone_rewards.trainer.running.run import tokenizer_of


def fit_prompts(
    rows: Dataset, rollout: RolloutArguments, model: ModelConfig, args: GRPOConfig
) -> Dataset:
    """The rows, by `long_prompts`; how many were too long is printed.

    Raises:
        InputError: all of them, and they are to be left out.
    """
    limit = rollout.max_prompt_length
    if limit is None:
        return rows
    template: Any = args.chat_template_kwargs or {}
    counts = prompt_lengths(rows, tokenizer_of(model), template)
    fitting = [place for place, count in enumerate(counts) if count <= limit]
    long = len(counts) - len(fitting)
    filtered = rollout.long_prompts == "filter"
    if filtered and not fitting:
        raise InputError(f"every prompt is longer than max_prompt_length ({limit} tokens)")
    if args.process_index == 0:
        fate = "left out" if filtered else "cut on the left"
        print(f"{long} of {len(counts)} prompts are longer than {limit} tokens: {fate}")
    return rows.select(fitting) if filtered and long else rows


def rendered(prompt: Any, model: ModelConfig, args: GRPOConfig) -> str:
    """A prompt as the model reads it: a chat by the tokenizer's template.

    Raises:
        InputError: it is a chat, and the tokenizer has none.
    """
    if isinstance(prompt, str):
        return prompt
    tokenizer: Any = tokenizer_of(model)
    if not tokenizer.chat_template:
        raise InputError(
            "the prompts are chats, but the tokenizer has no chat template: add "
            "chat_template.jinja to the model's folder, or make the prompts plain text by "
            "--prompt_template"
        )
    template: Any = args.chat_template_kwargs or {}
    return tokenizer.apply_chat_template(
        prompt, add_generation_prompt=True, tokenize=False, **template
    )


def prompt_lengths(rows: Dataset, tokenizer: Any, template: dict[str, Any]) -> list[int]:
    """Tokens of each prompt, as TRL makes them; `template` goes to the chat template."""
    prompts = rows["prompt"][:]
    if not isinstance(prompts[0], list):
        return [len(ids) for ids in tokenizer(text=list(prompts))["input_ids"]]
    return [
        len(
            tokenizer.apply_chat_template(
                prompt, add_generation_prompt=True, tokenize=True, return_dict=True, **template
            )["input_ids"]
        )
        for prompt in prompts
    ]
