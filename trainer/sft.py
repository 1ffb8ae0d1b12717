"""`trainer sft`: TRL's SFTTrainer with TRL's own fields, on prompts and responses.

The rows have one of the shapes of `data/sft_formats.py`; the run folder gets the model, `run.json`,
curves and a report. The loss covers responses only, unless the fields say otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from datasets import Dataset
from transformers import AutoConfig
from trl.chat_template_utils import get_training_chat_template
from trl.trainer.model_config import ModelConfig
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from touchstone_rewards.trainer.config import parse_config, require
from touchstone_rewards.trainer.data.rows import (
    DataArguments,
    PromptArguments,
    ensure_sample_ids,
    with_prompts,
)
from touchstone_rewards.trainer.data.sft_formats import Scope, sft_rows
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.preference.rows import check_prompts_fit
from touchstone_rewards.trainer.running.lora import (
    AdapterArguments,
    model_for_trl,
    settle_adapter,
)
from touchstone_rewards.trainer.running.run import (
    check_model_path,
    checkpoint_to_resume,
    model_init_kwargs,
    tokenizer_of,
    train_on_rows,
)

# Possible response columns of rows whose prompt is made by a template.
RESPONSES = ("response", "completion", "answer", "solution", "output")


class SftConfigs(NamedTuple):
    """The options of `trainer sft`."""

    data: DataArguments
    prompts: PromptArguments
    adapter: AdapterArguments
    args: SFTConfig
    model: ModelConfig


OPTIONS = SftConfigs


def run(argv: Sequence[str]) -> None:
    """Parse the options, train, and save.

    Raises:
        InputError: the options or the data cannot be used.
    """
    configs = parse_config(SftConfigs, argv, "trainer sft")
    data, prompts, adapter, args, model = configs
    check_model_path(model)
    settle_adapter(model, adapter, args, resuming=checkpoint_to_resume(args) is not None)
    how: dict[str, Any] = {"skip_bad_rows": data.skip_bad_rows, "prompts": prompts}
    build = partial(build_trainer, model, adapter, args, **how)
    train_on_rows(data, args, model, configs, build, [adapter.adapter_name_or_path])


def templated(prompts: PromptArguments, rows: Dataset, *, skip_bad_rows: bool = False) -> Dataset:
    """Return the rows with prompts made by the template, as in GRPO and evaluation; unchanged if no
    template is given.

    Raises:
        InputError: no column holds the response.
    """
    if prompts.prompt_template is None and prompts.system_prompt is None:
        if prompts.assistant_prefill:
            raise InputError("assistant_prefill needs prompt_template or system_prompt for SFT")
        return rows
    response = next((name for name in RESPONSES if name in rows.column_names), None)
    if response is None:
        raise InputError(
            f"no column with the response, one of {', '.join(RESPONSES)}; the data has "
            f"{rows.column_names}"
        )
    rows = ensure_sample_ids(with_prompts(rows, prompts, skip_bad_rows=skip_bad_rows))
    rows = rows.select_columns(["id", "prompt", response])
    return rows if response == "response" else rows.rename_column(response, "response")


def build_trainer(
    model: ModelConfig,
    adapter: AdapterArguments,
    args: SFTConfig,
    rows: Dataset,
    eval_rows: Dataset | None,
    *,
    prompts: PromptArguments | None = None,
    skip_bad_rows: bool = False,
) -> SFTTrainer:
    """Return TRL's trainer on rows of a recognised shape.

    Raises:
        InputError: the rows cannot be trained on.
    """
    name = require(model.model_name_or_path, "model_name_or_path")
    args.model_init_kwargs = model_init_kwargs(args, model)
    tokenizer = tokenizer_of(model, args.chat_template_path, adapter.adapter_name_or_path)
    config = AutoConfig.from_pretrained(name, revision=model.model_revision)
    reading: dict[str, Any] = {"scope": scope_of(args), "skip_bad_rows": skip_bad_rows}
    reading["has_template"] = bool(tokenizer.chat_template)
    made = {}
    for part, given in (("train", rows), ("eval", eval_rows)):
        if given is not None:
            asked = templated(prompts or PromptArguments(), given, skip_bad_rows=skip_bad_rows)
            read, seen = sft_rows(asked, **reading)
            fitting = check_prompts_fit(read, tokenizer, config, skip_bad_rows=skip_bad_rows)
            made[part] = fitting.remove_columns("id")
            if args.process_index == 0:
                print(seen)
    check_marks(args, tokenizer)
    trainer = SFTTrainer(
        **model_for_trl(name, adapter, model, args),
        args=args,
        train_dataset=made["train"],
        eval_dataset=made.get("eval"),
        processing_class=tokenizer,
    )
    check_kept(len(made["train"]), trainer, args)
    return trainer


def check_marks(args: SFTConfig, tokenizer: Any) -> None:
    """Check that the chat template marks the assistant's parts if the loss is limited to them.

    Raises:
        InputError: it does not, and TRL cannot patch it.
    """
    if not args.assistant_only_loss or not tokenizer.chat_template:
        return
    try:
        get_training_chat_template(tokenizer)
    except ValueError as error:
        raise InputError(
            "assistant_only_loss needs a chat template with {% generation %} around what the "
            "assistant says, and this one has none: leave it out (the loss goes over responses "
            "only without it), or set chat_template_path to such a file"
        ) from error


def scope_of(args: SFTConfig) -> Scope:
    """Return which tokens the loss covers, from TRL's two fields."""
    if args.assistant_only_loss:
        return "marked"
    return "all" if args.completion_only_loss is False else "responses"


def check_kept(given: int, trainer: SFTTrainer, args: SFTConfig) -> None:
    """Print how many rows have no room for a response under `max_length`.

    Raises:
        InputError: no row has.
    """
    rows: Any = trainer.train_dataset
    kept = len(rows)
    if kept == 0:
        raise InputError(f"no prompt leaves room for a response under max_length {args.max_length}")
    if kept < given and not args.packing and args.process_index == 0:
        print(f"{given - kept} of {given} prompts fill max_length and are left out")
