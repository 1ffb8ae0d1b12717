"""`trainer merge`: a LoRA adapter and its base as one plain model folder.

In: an adapter of `sft`, `dpo`, `grpo` or `ppo`. Out: a folder that every loader reads, with the
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
    """What to merge and where to write."""

    model: str | None = field(
        default=None,
        metadata={"help": "The adapter's folder; or its base, with adapter_name_or_path."},
    )
    adapter_name_or_path: str | None = field(
        default=None, metadata={"help": "The adapter, where model is its base."}
    )
    output: str | None = field(default=None, metadata={"help": "A new folder."})
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = field(
        default="auto", metadata={"help": "Of the merged weights; auto is the base's own."}
    )


OPTIONS = MergeArguments


def run(argv: Sequence[str]) -> None:
    """Merge one adapter.

    Raises:
        InputError: there is no adapter, or not its base, or the output exists already.
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
