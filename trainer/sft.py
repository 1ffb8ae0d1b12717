"""`trainer sft`: TRL's SFTTrainer with TRL's own fields, on prompt/response rows.

In: a model, rows of `prompt` and `response` (or whatever else TRL's SFT reads: `completion`,
`messages`, `text`). Out: a run folder with the model, `run.json`, curves and a report. No rewards.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset
from trl.trainer.model_config import ModelConfig
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer
from trl.trainer.utils import get_peft_config, get_quantization_config

from trainer.config import parse_config, require
from trainer.data import DataArguments
from trainer.errors import InputError
from trainer.launch import (
    check_model_path,
    checkpoint_to_resume,
    evaluation_rows,
    model_init_kwargs,
    train_and_finish,
    training_rows,
)
from trainer.provenance import command_line, write_provenance

TYPES = (DataArguments, SFTConfig, ModelConfig)


def run(argv: Sequence[str]) -> None:
    """Parse, train, save.

    Raises:
        InputError: what was typed cannot work.
    """
    data, args, model = parse_config(TYPES, argv, "trainer sft")
    output = Path(require(args.output_dir, "output_dir"))
    name = check_model_path(model)
    rows = _as_trl_names(training_rows(data))
    eval_rows = evaluation_rows(data, args)
    checkpoint = checkpoint_to_resume(args)
    args.model_init_kwargs = model_init_kwargs(args, model)
    trainer = SFTTrainer(
        model=name,
        args=args,
        train_dataset=rows,
        eval_dataset=None if eval_rows is None else _as_trl_names(eval_rows),
        quantization_config=get_quantization_config(model),
        peft_config=get_peft_config(model),
    )
    if trainer.is_world_process_zero():
        write_provenance(output, command_line(), [data, args, model], data=rows._fingerprint)
    train_and_finish(trainer, checkpoint)


def _as_trl_names(rows: Dataset) -> Dataset:
    """`response` becomes TRL's `completion`; rows in a form that TRL knows are left alone.

    Raises:
        InputError: nothing in the rows can be trained on.
    """
    names = set(rows.column_names)
    if {"prompt", "response"} <= names and "completion" not in names:
        return rows.select_columns(["prompt", "response"]).rename_column("response", "completion")
    if {"prompt", "completion"} <= names or names & {"messages", "text"}:
        return rows
    raise InputError(
        "SFT needs the columns prompt and response (or messages, or text); "
        f"the data has {rows.column_names}"
    )
