"""`trainer merge`: merge a LoRA adapter into its base model.

The adapter comes from `sft`, `dpo`, `grpo` or `ppo`. The result is a plain model folder with the
tokenizer and the chat template that the adapter was trained with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from touchstone_rewards.trainer.config import parse_config, require
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.running.merging import base_of, is_adapter, merge_adapter


@dataclass
class MergeArguments:
    """The adapter, its base, and the output folder."""

    model: str | None = field(
        default=None,
        metadata={"help": "Folder of the adapter; or the base model, with adapter_name_or_path."},
    )
    adapter_name_or_path: str | None = field(
        default=None, metadata={"help": "The adapter, if model is its base."}
    )
    output: str | None = field(default=None, metadata={"help": "New folder for the result."})
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = field(
        default="auto", metadata={"help": "Data type of the merged weights; auto: as the base."}
    )


OPTIONS = MergeArguments


def run(argv: Sequence[str]) -> None:
    """Merge one adapter.

    Raises:
        InputError: the adapter or its base is missing, or the output exists.
    """
    arguments = parse_config(MergeArguments, argv, "trainer merge")
    model = require(arguments.model or arguments.adapter_name_or_path, "model")
    output = Path(require(arguments.output, "output"))
    adapter = arguments.adapter_name_or_path or model
    if not is_adapter(adapter):
        raise InputError(f"no adapter at {adapter} (no adapter_config.json)")
    base = model if model != adapter else base_of(adapter)
    merge_adapter(base, adapter, output, dtype=arguments.dtype)
    print(f"{output}: {base} with {adapter} merged in, a plain model folder")
