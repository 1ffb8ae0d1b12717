"""Run TRL's trainer for every training command: check the input, train or resume, finish.

In: parsed arguments. Out: arguments for TRL's constructors, and at the end a run folder with the
model, `trainer_state.json`, curves and a report. How the model is trained is the trainer's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from datasets import Dataset
from transformers import (
    AutoConfig,
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
from touchstone_rewards.trainer.data.chat_templates import end_turns
from touchstone_rewards.trainer.data.files import names_of
from touchstone_rewards.trainer.data.registry import registered_rows
from touchstone_rewards.trainer.data.rows import DataArguments, ensure_sample_ids, load_rows
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.running.alarm import StopOnAlarm
from touchstone_rewards.trainer.running.earlier_run import claim_output, remove_run, remove_weights
from touchstone_rewards.trainer.running.merging import base_of, is_adapter, tokenizer_folder
from touchstone_rewards.trainer.running.plots import is_meant
from touchstone_rewards.trainer.running.provenance import command_line, write_provenance
from touchstone_rewards.trainer.running.report import write_report

T = TypeVar("T", bound=Trainer)
MODEL_FILES = ("config.json", "adapter_config.json")
# Of `report_to`, and the module that each wants.
TRACKERS = {
    **{name: name for name in ("wandb", "trackio", "mlflow", "comet_ml", "swanlab", "clearml")},
    **{"tensorboard": "tensorboard", "neptune": "neptune", "dvclive": "dvclive"},
}
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
        **kwargs: object,
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
    if Path(name).is_dir():
        if not any((Path(name) / each).is_file() for each in MODEL_FILES):
            raise InputError(f"no model in the folder {name} ({' or '.join(MODEL_FILES)})")
    elif name.startswith((".", "/", "~")):
        raise InputError(f"no model folder at {name}")
    else:
        check_hub_name(name, model.model_revision)
    return name


def check_hub_name(name: str, revision: str | None) -> None:
    """Nothing, if the model's config can be read from the hub or its cache.

    Raises:
        InputError: it cannot.
    """
    try:
        AutoConfig.from_pretrained(name, revision=revision)
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"no model {name!r}: no folder of that name here, and {reason}") from error


def check_packages(args: Any) -> None:
    """Nothing, if what the run would use is installed.

    Raises:
        InputError: a package is not; it is named.
    """
    trackers = args.report_to if isinstance(args.report_to, list) else [args.report_to]
    wanted = {f"report_to: {each}": TRACKERS[each] for each in trackers if each in TRACKERS}
    if getattr(args, "use_vllm", False):
        wanted["use_vllm: true"] = "vllm"
    if getattr(args, "use_liger_kernel", False):
        wanted["use_liger_kernel: true"] = "liger_kernel"
    for field, module in wanted.items():
        if find_spec(module) is None:
            raise InputError(
                f"{field} needs {module.replace('_', '-')}, which is not installed here: install "
                "it, or leave the field out"
            )


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
            end_turns(tokenizer, chat_template_path)
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


def rows_of(data: DataArguments, args: TrainingArguments) -> tuple[Dataset, Dataset | None]:
    """The rows to train on, and those for `eval_strategy`, None where it is off.

    A single file without `eval_dataset_name` is parted: the same rows are held out whatever the
    seed of the run, and their number is printed.

    Raises:
        InputError: no dataset was named, or it cannot be read.
    """
    names = require(data.dataset_name, "dataset_name")
    rows = named_rows(data, names, data.dataset_train_split)
    other = data.eval_dataset_name
    if args.eval_strategy == "no":
        if other and args.process_index == 0:
            print(
                f"data: {', '.join(other)} (eval_dataset_name) is not read, because eval_strategy "
                "is no: set it to steps or epoch"
            )
        return rows, None
    in_one_part = not data.dataset_dir and any(map(_has_one_split, names_of(names)))
    if other is None and (data.dataset_dir or in_one_part):
        return held_out(rows, data.eval_share, told=args.process_index == 0)
    return rows, named_rows(data, other or names, data.dataset_test_split)


def _has_one_split(name: str) -> bool:
    return Path(name).is_file() or (Path(name) / "state.json").is_file()


def named_rows(data: DataArguments, names: Sequence[str], split: str) -> Dataset:
    """The rows of a file, a folder or a hub name; with `dataset_dir`, of the names in its registry.

    Raises:
        InputError: there are none, or they cannot be read.
    """
    bad = {"skip_bad_rows": data.skip_bad_rows}
    if data.dataset_dir:
        listed = [part.strip() for name in names for part in name.split(",")]
        return registered_rows(listed, data.dataset_dir, split, data.max_rows, **bad)
    rows = load_rows(names, data.dataset_config, split, **bad)
    return rows.select(range(min(len(rows), data.max_rows or len(rows))))


def held_out(rows: Dataset, share: float, *, told: bool) -> tuple[Dataset, Dataset]:
    """The rows in two parts, with the ids that they have in the whole; the second is `share`.

    Raises:
        InputError: there is one row only.
    """
    if len(rows) < 2:
        raise InputError("eval_strategy needs rows to measure on: set eval_dataset_name")
    rows = ensure_sample_ids(rows)
    count = min(max(1, round(share * len(rows))), len(rows) - 1)
    places = sorted(Random(0).sample(range(len(rows)), count))
    if told:
        print(
            f"data: {count} of {len(rows)} rows are held out for eval_strategy (eval_share "
            f"{share:g}; eval_dataset_name names others)"
        )
    kept = sorted(set(range(len(rows))) - set(places))
    return rows.select(kept), rows.select(places)


def free_output(data: DataArguments, args: TrainingArguments, *reads: str | None) -> Path:
    """The output folder, which this run may have; `reads`: what it starts from, the model first.

    Raises:
        InputError: see `claim_output` and `check_packages`.
    """
    output = Path(require(args.output_dir, "output_dir"))
    check_packages(args)
    if args.process_index == 0:
        named = [*reads, *(data.dataset_name or ()), *(data.eval_dataset_name or ())]
        claim_output(output, named, resuming=is_resumed(args), overwrite=data.overwrite)
    return output


def start_over(data: DataArguments, args: TrainingArguments) -> None:
    """Remove the run that this one replaces; called when it is about to train."""
    if data.overwrite and not is_resumed(args) and args.process_index == 0:
        remove_run(Path(args.output_dir or "."))


def is_resumed(args: TrainingArguments) -> bool:
    """Does `resume_from_checkpoint` ask to go on, whether or not there is a checkpoint?"""
    return str(args.resume_from_checkpoint or "false").lower() != "false"


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
    configs: Sequence[object],
    build: Callable[[Dataset, Dataset | None], T],
    reads: Sequence[str | None] = (),
) -> T:
    """What a command without rewards does: check, `build` on the rows, record, train, finish.

    `reads`: what the run starts from beside the model.

    Raises:
        InputError: what was typed cannot work.
    """
    require(args.output_dir, "output_dir")
    output = free_output(data, args, check_model_path(model), *reads)
    rows, eval_rows = rows_of(data, args)
    checkpoint = checkpoint_to_resume(args)
    trainer = build(rows, eval_rows)
    start_over(data, args)
    if trainer.is_world_process_zero():
        write_provenance(output, command_line(), configs, data=rows._fingerprint)
    train_and_finish(trainer, checkpoint)
    return trainer


def train_and_finish(trainer: Trainer, checkpoint: str | None) -> None:
    """Train, then save the model, the state, the curves and the report into `output_dir`.

    Raises:
        RunFailed: an alarm stopped the run.
    """
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
    if trainer.is_world_process_zero():
        remove_weights(Path(trainer.args.output_dir or "."))
    trainer.save_model(trainer.args.output_dir)
    trainer.save_state()
    if trainer.is_world_process_zero():
        write_report(Path(trainer.args.output_dir or "."))
    trainer.accelerator.wait_for_everyone()
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, StopOnAlarm):
            callback.check()
