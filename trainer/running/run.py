"""Run TRL's trainer for every training command: check the input, train or resume, finish.

In: parsed arguments. Out: arguments for TRL's constructors, and at the end a run folder with the
model, `trainer_state.json`, curves and a report. How the model is trained is the trainer's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from datasets import Dataset
from transformers import (
    AutoTokenizer,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import TRAINER_STATE_NAME
from trl.trainer.model_config import ModelConfig

from touchstone_rewards.trainer.config import require
from touchstone_rewards.trainer.data.files import names_of
from touchstone_rewards.trainer.data.rows import DataArguments, load_rows
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.running.merging import base_of, is_adapter, tokenizer_folder
from touchstone_rewards.trainer.running.plots import is_meant
from touchstone_rewards.trainer.running.provenance import command_line, write_provenance
from touchstone_rewards.trainer.running.report import write_report

T = TypeVar("T", bound=Trainer)
SHOWN = (
    "loss",
    "reward",
    "rewards_failed_frac/",
    "rewards_wait_s/",
    "entropy",
    "eval_held_out/accuracy",
)


class ShortProgress(ProgressCallback):
    """The progress bar, with the few metrics that one watches; the rest is in the state file."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        shown = {
            key.rstrip("/"): value
            for key in SHOWN
            for name, value in (logs or {}).items()
            if value is not None and is_meant(key, name)
        }
        if state.is_world_process_zero and self.training_bar is not None and shown:
            self.training_bar.set_postfix({key: f"{value:.3g}" for key, value in shown.items()})


def check_model_path(model: ModelConfig) -> str:
    """The model's name, if it can be one.

    Raises:
        InputError: none was given, or it looks like a folder that is not there.
    """
    name = require(model.model_name_or_path, "model_name_or_path")
    if name.startswith((".", "/", "~")) and not Path(name).is_dir():
        raise InputError(f"no model folder at {name}")
    return name


def tokenizer_of(
    model: ModelConfig, chat_template_path: str | None = None, adapter: str | None = None
) -> Any:
    """The model's tokenizer, or that of the adapter on top of it, with the chat template of a
    .jinja file or of another model.

    Raises:
        InputError: there is no tokenizer, or no such template.
    """
    try:
        name = str(model.model_name_or_path)
        if adapter is None and is_adapter(name):
            name, adapter = base_of(name), name
        folder = tokenizer_folder(name, adapter)
        tokenizer = AutoTokenizer.from_pretrained(folder, revision=model.model_revision)
        if chat_template_path and chat_template_path.endswith((".jinja", ".j2")):
            tokenizer.chat_template = Path(chat_template_path).read_text(encoding="utf-8")
        elif chat_template_path:
            other = AutoTokenizer.from_pretrained(chat_template_path)
            tokenizer.chat_template = other.chat_template
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"cannot read the tokenizer or its chat template: {reason}") from error
    return tokenizer


def model_init_kwargs(args: Any, model: ModelConfig) -> dict[str, Any]:
    """What TRL passes to `from_pretrained`: the model fields, overridden by the config's own."""
    kwargs = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
    }
    return {**kwargs, **(args.model_init_kwargs or {})}


def training_rows(data: DataArguments) -> Dataset:
    """The rows to train on.

    Raises:
        InputError: no dataset was named, or it cannot be read.
    """
    name = require(data.dataset_name, "dataset_name")
    return load_rows(name, data.dataset_config, data.dataset_train_split)


def evaluation_rows(data: DataArguments, args: TrainingArguments) -> Dataset | None:
    """The rows for `eval_strategy`, None where it is off.

    Raises:
        InputError: a local training file is the only data named, so there is nothing to measure on.
    """
    if args.eval_strategy == "no":
        return None
    if data.eval_dataset_name:
        return load_rows(data.eval_dataset_name, data.dataset_config, data.dataset_test_split)
    name = require(data.dataset_name, "dataset_name")
    if any(Path(each).is_file() for each in names_of(name)):
        raise InputError(f"eval_strategy is {args.eval_strategy}: set eval_dataset_name as well")
    return load_rows(name, data.dataset_config, data.dataset_test_split)


def checkpoint_to_resume(args: TrainingArguments) -> str | None:
    """The checkpoint that `--resume_from_checkpoint PATH|true` means; None for a run from scratch.

    `true` takes the last whole one of `output_dir`, or starts from scratch where there is none yet,
    so that a job that may have been killed at any time is always started by the same command.

    Raises:
        InputError: no such checkpoint.
    """
    wanted = str(args.resume_from_checkpoint or "false")
    if wanted.lower() == "false":
        return None
    if wanted.lower() == "true":
        whole = [
            path for path in Path(args.output_dir or "").glob("checkpoint-*") if _is_whole(path)
        ]
        return max(map(str, whole), key=step_of, default=None)
    if not _is_whole(Path(wanted)):
        raise InputError(f"no checkpoint at {wanted}")
    return wanted


def _is_whole(checkpoint: Path) -> bool:
    """The state is written last: a run killed while it saved has left none, or half of one."""
    try:
        return "global_step" in json.loads((checkpoint / TRAINER_STATE_NAME).read_text("utf-8"))
    except (OSError, ValueError):
        return False


def step_of(checkpoint: str | None) -> int:
    """Updates done when a checkpoint was saved; 0 without one."""
    return int(checkpoint.rstrip("/").rpartition("-")[2]) if checkpoint else 0


def train_on_rows(
    data: DataArguments,
    args: TrainingArguments,
    model: ModelConfig,
    configs: Sequence[Any],
    build: Callable[[Dataset, Dataset | None], T],
    shape: Callable[[Dataset], Dataset] = lambda rows: rows,
) -> T:
    """What a command without rewards does: check, `shape` the rows, `build`, record, train, finish.

    Raises:
        InputError: what was typed cannot work.
    """
    output = Path(require(args.output_dir, "output_dir"))
    check_model_path(model)
    rows, eval_rows = shape(training_rows(data)), evaluation_rows(data, args)
    checkpoint = checkpoint_to_resume(args)
    trainer = build(rows, None if eval_rows is None else shape(eval_rows))
    if trainer.is_world_process_zero():
        write_provenance(output, command_line(), configs, data=rows._fingerprint)
    train_and_finish(trainer, checkpoint)
    return trainer


def train_and_finish(trainer: Trainer, checkpoint: str | None) -> None:
    """Train, then save the model, the state, the curves and the report into `output_dir`."""
    for callback in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(callback)
    if not trainer.args.disable_tqdm:
        trainer.add_callback(ShortProgress())
    if checkpoint is not None and 0 < trainer.args.max_steps <= step_of(checkpoint):
        # Killed after its last update: transformers would make one more of it inside an epoch.
        trainer._load_from_checkpoint(checkpoint)
        trainer.state = TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_NAME))
    else:
        trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model(trainer.args.output_dir)
    trainer.save_state()
    if trainer.is_world_process_zero():
        write_report(Path(trainer.args.output_dir or "."))
    trainer.accelerator.wait_for_everyone()
