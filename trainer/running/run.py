"""Steps shared by all training commands: check the input, train or resume, save and report.

The commands build TRL's trainers; a finished run folder has the model, `trainer_state.json`, curves
and a report.
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
# Trackers of `report_to`, with the module that each needs.
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
    """A progress bar with a few important metrics; the state file has all of them."""

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
    """Return the model's name after checking that it exists.

    Raises:
        InputError: no model is given, or the folder does not exist or holds no model.
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
    """Check that the model's config can be read from the hub or its cache.

    Raises:
        InputError: it cannot be read.
    """
    try:
        AutoConfig.from_pretrained(name, revision=revision)
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"no model {name!r}: there is no such folder, and {reason}") from error


def check_packages(args: Any) -> None:
    """Check that the packages which the run would use are installed.

    Raises:
        InputError: a package is missing; the message names it.
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
                f"{field} needs {module.replace('_', '-')}, which is not installed: install "
                "it, or leave the field out"
            )


def tokenizer_of(
    model: ModelConfig, chat_template_path: str | None = None, adapter: str | None = None
) -> Any:
    """Return the tokenizer of the model or its adapter, with the chat template of a file or model.

    Raises:
        InputError: the tokenizer or the template cannot be read.
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
    """Return TRL's arguments for `from_pretrained`; the config's own ones take precedence."""
    kwargs = {
        "revision": model.model_revision,
        "attn_implementation": model.attn_implementation,
        "dtype": model.dtype,
    }
    return {**kwargs, **(args.model_init_kwargs or {})}


def rows_of(data: DataArguments, args: TrainingArguments) -> tuple[Dataset, Dataset | None]:
    """Return the training rows, and the rows for `eval_strategy`; None if that is off.

    A single file without `eval_dataset_name` is split: the held-out rows do not depend on the run's
    seed, and their number is printed.

    Raises:
        InputError: no dataset is given, or it cannot be read.
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
    """Return the rows of files, folders or hub names; with `dataset_dir`, of names in its registry.

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
    """Split the rows into training and evaluation rows; `share` of them are for evaluation.

    Ids are assigned before the split.

    Raises:
        InputError: there is only one row.
    """
    if len(rows) < 2:
        raise InputError("eval_strategy needs evaluation rows: set eval_dataset_name")
    rows = ensure_sample_ids(rows)
    count = min(max(1, round(share * len(rows))), len(rows) - 1)
    places = sorted(Random(0).sample(range(len(rows)), count))
    if told:
        print(
            f"data: {count} of {len(rows)} rows are held out for eval_strategy (eval_share "
            f"{share:g}; set eval_dataset_name for other rows)"
        )
    kept = sorted(set(range(len(rows))) - set(places))
    return rows.select(kept), rows.select(places)


def free_output(data: DataArguments, args: TrainingArguments, *reads: str | None) -> Path:
    """Return the output folder after checking that this run may use it.

    `reads` are the inputs of the run, the model first.

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
    """Remove the run that this one replaces; call this right before training."""
    if data.overwrite and not is_resumed(args) and args.process_index == 0:
        remove_run(Path(args.output_dir or "."))


def is_resumed(args: TrainingArguments) -> bool:
    """Return whether `resume_from_checkpoint` is set, even if there is no checkpoint yet."""
    return str(args.resume_from_checkpoint or "false").lower() != "false"


def checkpoint_to_resume(args: TrainingArguments) -> str | None:
    """Return the checkpoint for `--resume_from_checkpoint PATH|true`; None for a run from scratch.

    `true` takes the last complete checkpoint in `output_dir`, or starts from scratch if there is
    none. A job that may be killed at any time can thus always be started with the same command.

    Raises:
        InputError: there is no such checkpoint.
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
    """Return whether a checkpoint is complete: its state file, which is written last, can be
    read."""
    try:
        return "global_step" in json.loads((checkpoint / TRAINER_STATE_NAME).read_text("utf-8"))
    except (OSError, ValueError):
        return False


def step_of(checkpoint: str | None) -> int:
    """Return the number of updates at which a checkpoint was saved; 0 for None."""
    return int(checkpoint.rstrip("/").rpartition("-")[2]) if checkpoint else 0


def train_on_rows(
    data: DataArguments,
    args: TrainingArguments,
    model: ModelConfig,
    configs: Sequence[object],
    build: Callable[[Dataset, Dataset | None], T],
    reads: Sequence[str | None] = (),
) -> T:
    """Run a command that needs no rewards: check, `build` a trainer on the rows, record, train,
    finish.

    `reads` are inputs of the run besides the model.

    Raises:
        InputError: the options or the data cannot be used.
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
    """Train, then save model, state, curves and report into `output_dir`.

    Raises:
        RunFailed: an alarm stopped the run.
    """
    for callback in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(callback)
    if not trainer.args.disable_tqdm:
        trainer.add_callback(ShortProgress())
    if checkpoint is not None and 0 < trainer.args.max_steps <= step_of(checkpoint):
        # The run ended after its last update: inside an epoch, transformers would make one more.
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
