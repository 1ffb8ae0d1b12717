"""`trainer grpo`: TRL's GRPOTrainer with TRL's own fields; the rewards come from a reward server.

In: a model, rows with a prompt (or a question and a template) and a ground truth. Out: a run folder
with the model, every scored sample, `run.json`, curves and a report. Loss and rollout are TRL's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from datasets import Dataset
from datasets.features.features import require_decoding
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.model_config import ModelConfig

from touchstone_rewards.trainer.config import given_fields, parse_config, require
from touchstone_rewards.trainer.data.kept_samples import SampleWriter, step_files
from touchstone_rewards.trainer.data.rows import (
    DataArguments,
    PromptArguments,
    ensure_sample_ids,
    require_column,
    with_prompts,
)
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.grpo.config import GrpoArguments, RolloutArguments
from touchstone_rewards.trainer.grpo.learning import LearningArguments
from touchstone_rewards.trainer.grpo.long_prompts import fit_prompts, rendered
from touchstone_rewards.trainer.grpo.preflight import PreflightArguments, check_rewards
from touchstone_rewards.trainer.grpo.trainer import GrpoTrainer
from touchstone_rewards.trainer.rewards import (
    HoldWithoutRewards,
    RewardArguments,
    ServerReward,
    check_server,
    connect,
)
from touchstone_rewards.trainer.running.lora import peft_of, quantization_of
from touchstone_rewards.trainer.running.provenance import command_line, write_provenance
from touchstone_rewards.trainer.running.run import (
    check_model_path,
    checkpoint_to_resume,
    free_output,
    is_resumed,
    model_init_kwargs,
    rows_of,
    start_over,
    step_of,
    train_and_finish,
)
from touchstone_rewards.trainer.story.signals import SignalArguments
from touchstone_rewards.trainer.story.trainer import WITHOUT_HISTORY, HistoryTrainer, history_rows

SAMPLES = "samples"
TYPES = (
    DataArguments,
    PromptArguments,
    RewardArguments,
    PreflightArguments,
    RolloutArguments,
    GrpoArguments,
    LearningArguments,
    GRPOConfig,
    ModelConfig,
)
T = TypeVar("T", bound=GrpoTrainer)
SECTIONS = {"signals": SignalArguments}


def run(argv: Sequence[str]) -> None:
    """Parse, train, save.

    Raises:
        InputError: what was typed cannot work.
        RunFailed: no reward server at the start, or too many failed rewards.
    """
    configs = parse_config(TYPES, argv, "trainer grpo", SECTIONS)
    data, prompts, rewards, preflight, rollout, settings, learning, args, model, signals = configs
    require(args.output_dir, "output_dir")
    output = free_output(data, args, check_model_path(model))
    settings.apply(args, given_fields(argv, TYPES))
    rollout.check_sampling(args)
    learning.check(args, settings)
    checkpoint = checkpoint_to_resume(args)
    parts = []
    for part in rows_of(data, args):
        own = {"with_signals": signals.enabled, "skip_bad_rows": data.skip_bad_rows}
        part = part and prepare_rows(part, prompts, rewards, **own)
        parts.append(part and fit_prompts(part, rollout, model, args))
    check_enough(len(parts[0]), args)
    fingerprints = check_server(rewards.reward_url, [rewards.reward_profile])
    writer = open_samples(output / SAMPLES, args, overwrite=data.overwrite)
    scoring = connect(rewards.reward_url, rewards.reward_timeout_s)
    found = check_rewards(
        parts[0], scoring, rewards, preflight, lambda prompt: rendered(prompt, model, args)
    )
    if args.process_index == 0:
        print(found)
    own = {"settings": settings, "rollout": rollout, "learning": learning}
    own["samples"] = writer.folder
    kind = HistoryTrainer if signals.enabled else GrpoTrainer
    if signals.enabled:
        own["signals"] = signals
    trainer = build_trainer(kind, model, args, rewards, scoring, writer, *parts, **own)
    start_over(data, args)
    writer.rewind(step_of(checkpoint))
    if trainer.is_world_process_zero():
        facts = {"fingerprints": fingerprints, "data": parts[0]._fingerprint}
        facts["signals"] = vars(signals) if signals.enabled else None
        write_provenance(output, command_line(), list(configs[:-1]), **facts)
    train_and_finish(trainer, checkpoint)


def build_trainer(
    kind: type[T],
    model: ModelConfig,
    args: GRPOConfig,
    rewards: RewardArguments,
    scoring: Any,
    writer: SampleWriter,
    rows: Dataset,
    eval_rows: Dataset | None,
    **own: Any,
) -> T:
    """A trainer of this kind with its reward function and what watches over it.

    `scoring` has a client's `score`; `own` are the arguments that only this kind takes.
    """
    args.model_init_kwargs = model_init_kwargs(args, model)
    reward = ServerReward(
        scoring,
        rewards,
        writer,
        num_generations=args.num_generations or 1,
        is_training=lambda: bool(cast(Any, trainer.model).training),
    )
    trainer = kind(
        model=require(model.model_name_or_path, "model_name_or_path"),
        reward_funcs=reward,
        args=args,
        train_dataset=rows,
        eval_dataset=eval_rows,
        quantization_config=quantization_of(model),
        peft_config=peft_of(model),
        callbacks=[HoldWithoutRewards(reward)],
        **own,
    )
    return trainer


def check_enough(rows: int, args: GRPOConfig) -> None:
    """Nothing, if one rollout can be filled with different prompts.

    Raises:
        InputError: it cannot: TRL would train on nothing, or not start.
    """
    batch, each = args.generation_batch_size or 0, args.num_generations or 1
    if rows < batch // each:
        raise InputError(
            f"a rollout takes {batch // each} different prompts (generation_batch_size {batch} / "
            f"num_generations {each}) and there are {rows} rows: lower gradient_accumulation_steps "
            "or per_device_train_batch_size, or give more rows"
        )


def open_samples(
    folder: Path, args: GRPOConfig, save_every_n_steps: int = 1, *, overwrite: bool = False
) -> SampleWriter:
    """The store of the run in `folder`; it is wound back when the run begins.

    Raises:
        InputError: a run from scratch into a folder that has samples already.
    """
    if step_files(folder) and not is_resumed(args) and not overwrite:
        raise InputError(
            f"{folder} holds the samples of an earlier run: go on with it by "
            "--resume_from_checkpoint true, or choose another output_dir"
        )
    return SampleWriter(folder, args.world_size > 1, args.process_index, save_every_n_steps)


def prepare_rows(
    rows: Dataset,
    prompts: PromptArguments,
    rewards: RewardArguments,
    *,
    with_signals: bool = False,
    skip_bad_rows: bool = False,
) -> Dataset:
    """The columns that a rollout and its rewards need: prompt, id, ground truth, metadata.

    `with_signals`: and the prompt without its history.

    Raises:
        InputError: a column that was asked for is not there, or cannot be sent.
    """
    require_column(rows, rewards.ground_truth_column, "ground_truth_column")
    for column in rewards.metadata_columns or ():
        require_column(rows, column, "metadata_columns")
        if require_decoding(rows.features[column]):
            raise InputError(f"metadata_columns: {column} holds media, which no sample can carry")
    rows = ensure_sample_ids(with_prompts(rows, prompts, skip_bad_rows=skip_bad_rows))
    rows = history_rows(rows) if with_signals else rows
    columns: dict[str, Any] = dict.fromkeys(
        [
            "prompt",
            *([WITHOUT_HISTORY] if with_signals else []),
            "id",
            rewards.ground_truth_column,
            *(rewards.metadata_columns or ()),
        ]
    )
    return rows.select_columns(list(columns))
