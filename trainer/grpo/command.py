"""`trainer grpo`: TRL's GRPOTrainer with TRL's own fields; the rewards come from a reward server.

Rows have a prompt (or a question and a template) and a ground truth. The run folder gets the model,
every scored sample, `run.json`, curves and a report. Rollout and loss are TRL's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from datasets import Dataset
from datasets.features.features import require_decoding
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.model_config import ModelConfig

from touchstone_rewards.trainer.config import Section, given_fields, parse_config, require
from touchstone_rewards.trainer.data.chats import rendered
from touchstone_rewards.trainer.data.kept_samples import SampleWriter, step_files
from touchstone_rewards.trainer.data.rows import (
    DataArguments,
    PromptArguments,
    ensure_sample_ids,
    require_column,
    with_prompts,
)
from touchstone_rewards.trainer.data.truths import with_truths
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.evaluation.generation import template_path
from touchstone_rewards.trainer.grpo.config import GrpoArguments, RolloutArguments
from touchstone_rewards.trainer.grpo.learning import LearningArguments
from touchstone_rewards.trainer.grpo.long_prompts import fit_prompts, template_options
from touchstone_rewards.trainer.grpo.preflight import PreflightArguments, check_rewards
from touchstone_rewards.trainer.grpo.trainer import GrpoTrainer
from touchstone_rewards.trainer.reward_arguments import RewardArguments, ServeArguments
from touchstone_rewards.trainer.rewards import (
    HoldWithoutRewards,
    ServedProfile,
    ServerReward,
    check_server,
    connect,
    language_lines,
    readers_of,
    scoring_of,
)
from touchstone_rewards.trainer.running.alarm import StopOnAlarm, run_name
from touchstone_rewards.trainer.running.lora import (
    AdapterArguments,
    model_for_trl,
    settle_adapter,
)
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
    tokenizer_of,
    train_and_finish,
)
from touchstone_rewards.trainer.several_rewards import RewardPart, column_functions, parts_of
from touchstone_rewards.trainer.story.signals import SignalArguments
from touchstone_rewards.trainer.story.trainer import WITHOUT_HISTORY, HistoryTrainer, history_rows
from touchstone_rewards.trainer.workflow.local_server import served

SAMPLES = "samples"
T = TypeVar("T", bound=GrpoTrainer)


class GrpoConfigs(NamedTuple):
    """The options of `trainer grpo`."""

    data: DataArguments
    prompts: PromptArguments
    rewards: RewardArguments
    serve: ServeArguments
    adapter: AdapterArguments
    preflight: PreflightArguments
    rollout: RolloutArguments
    settings: GrpoArguments
    learning: LearningArguments
    args: GRPOConfig
    model: ModelConfig
    signals: Section[SignalArguments]


OPTIONS = GrpoConfigs


def run(argv: Sequence[str]) -> None:
    """Parse the options, train, and save.

    Raises:
        InputError: the options or the data cannot be used.
        RunFailed: no reward server answers at the start, or too many rewards failed.
    """
    configs = parse_config(GrpoConfigs, argv, "trainer grpo")
    data, _, rewards, serve, adapter, _, rollout, settings, learning, args, model, _ = configs
    require(args.output_dir, "output_dir")
    output = free_output(data, args, check_model_path(model), adapter.adapter_name_or_path)
    settings.apply(args, given_fields(argv, GrpoConfigs))
    rollout.check_sampling(args)
    learning.check(args, settings)
    checkpoint = checkpoint_to_resume(args)
    settle_adapter(model, adapter, args, resuming=checkpoint is not None)
    parts = rows_of(data, args)
    check_enough(len(parts[0]), args)
    with served(serve, rewards.reward_url, output, args.world_size) as rewards.reward_url:
        train(configs, parts, output, checkpoint)


def train(
    configs: GrpoConfigs, given: Sequence[Dataset | None], output: Path, checkpoint: str | None
) -> None:
    """Prepare rows and rewards, train, and save; the reward server must be running."""
    data, prompts, rewards, _, adapter, preflight, rollout = configs[:7]
    settings, learning, args, model, signals = configs[7:]
    parts = parts_of(rewards, args.reward_weights)
    infos = check_server(rewards.reward_url, rewards.profiles)
    check_scores(parts, infos)
    tokenizer = policy_tokenizer(model, rollout, adapter)
    how = {"with_signals": signals.enabled, "skip_bad_rows": data.skip_bad_rows}
    rows, eval_rows = (
        each
        and fit_prompts(
            prepare_rows(each, prompts, rewards, infos, **how), rollout, tokenizer, args
        )
        for each in given
    )
    assert rows is not None
    check_enough(len(rows), args)
    writer = open_samples(output / SAMPLES, args, overwrite=data.overwrite)
    scoring = scoring_of(connect(rewards.reward_url, rewards.reward_timeout_s), parts)
    template = template_options(args)
    found = check_rewards(
        rows, scoring, rewards, preflight, lambda prompt: rendered(tokenizer, prompt, template)
    )
    if args.process_index == 0:
        print(found, *language_lines(infos), sep="\n")
    own: dict[str, Any] = {"settings": settings, "rollout": rollout, "learning": learning}
    own["samples"] = writer.folder
    kind = HistoryTrainer if signals.enabled else GrpoTrainer
    if signals.enabled:
        own["signals"] = signals
    start = starting_model(model, adapter, args)
    if rollout.chat_template or adapter.adapter_name_or_path:
        start["processing_class"] = tokenizer
    trainer = build_trainer(
        kind, model, args, rewards, scoring, writer, rows, eval_rows, start=start, **own
    )
    start_over(data, args)
    writer.rewind(step_of(checkpoint))
    if trainer.is_world_process_zero():
        fingerprints = {name: info.fingerprint for name, info in infos.items()}
        facts: dict[str, Any] = {"fingerprints": fingerprints, "data": rows._fingerprint}
        facts["signals"] = vars(signals) if signals.enabled else None
        write_provenance(output, command_line(), list(configs[:-1]), **facts)
    train_and_finish(trainer, checkpoint)


def check_scores(parts: Sequence[RewardPart], infos: Mapping[str, ServedProfile]) -> None:
    """Check that the profiles have the requested scores.

    Raises:
        InputError: a score is missing; the message lists the existing ones.
    """
    for part in parts:
        known = infos[part.profile].scores
        if part.score is not None and part.score not in known:
            raise InputError(
                f"reward_scores: profile {part.profile} has no score {part.score!r}; it has "
                f"{', '.join(known)}"
            )


def policy_tokenizer(
    model: ModelConfig, rollout: RolloutArguments, adapter: AdapterArguments
) -> Any:
    """Return the policy's tokenizer with the requested chat template, padding on the left as TRL
    does.

    Raises:
        InputError: there is no such tokenizer or template.
    """
    template = template_path(rollout.chat_template)
    path = None if template is None else str(template)
    tokenizer = tokenizer_of(model, path, adapter.adapter_name_or_path)
    tokenizer.padding_side = tokenizer.truncation_side = "left"
    return tokenizer


def starting_model(
    model: ModelConfig, adapter: AdapterArguments, args: GRPOConfig
) -> dict[str, object]:
    """Return TRL's arguments for the model to train, with or without an adapter."""
    name = require(model.model_name_or_path, "model_name_or_path")
    args.model_init_kwargs = model_init_kwargs(args, model)
    return model_for_trl(name, adapter, model, args)


def build_trainer(
    kind: type[T],
    model: ModelConfig,
    args: GRPOConfig,
    rewards: RewardArguments,
    scoring: Any,
    writer: SampleWriter,
    rows: Dataset,
    eval_rows: Dataset | None,
    start: Mapping[str, Any] | None = None,
    **own: Any,
) -> T:
    """Return a trainer of class `kind` with its reward functions and callbacks.

    `scoring` has a client's `score`. `start` holds TRL's arguments for the model to train; by
    default that is the model of `ModelConfig`. `own` holds the arguments that only this class
    takes.
    """
    start = start or starting_model(model, AdapterArguments(), args)
    reward = ServerReward(
        scoring,
        rewards,
        writer,
        num_generations=args.num_generations or 1,
        is_training=lambda: bool(cast(Any, trainer.model).training),
        run=run_name(args),
    )
    functions = column_functions(reward, scoring) if reward.several else [reward]
    trainer = kind(
        reward_funcs=functions,
        args=args,
        train_dataset=rows,
        eval_dataset=eval_rows,
        callbacks=[HoldWithoutRewards(reward), StopOnAlarm(lambda: reward.alarm)],
        **start,
        **own,
    )
    return trainer


def check_enough(rows: int, args: GRPOConfig) -> None:
    """Check that one rollout can be filled with different prompts.

    Raises:
        InputError: there are too few rows: TRL would not start, or train on nothing.
    """
    batch, each = args.generation_batch_size or 0, args.num_generations or 1
    if rows < batch // each:
        raise InputError(
            f"a rollout needs {batch // each} different prompts (generation_batch_size {batch} / "
            f"num_generations {each}) but there are {rows} rows: lower gradient_accumulation_steps "
            "or per_device_train_batch_size, or give more rows"
        )


def open_samples(
    folder: Path, args: GRPOConfig, save_every_n_steps: int = 1, *, overwrite: bool = False
) -> SampleWriter:
    """Return the store of the run in `folder`; `rewind` it when the run begins.

    Raises:
        InputError: a run from scratch would write into a folder that has samples already.
    """
    if step_files(folder) and not is_resumed(args) and not overwrite:
        raise InputError(
            f"{folder} holds the samples of an earlier run: continue it with "
            "--resume_from_checkpoint true, or choose another output_dir"
        )
    return SampleWriter(folder, args.world_size > 1, args.process_index, save_every_n_steps)


def prepare_rows(
    rows: Dataset,
    prompts: PromptArguments,
    rewards: RewardArguments,
    infos: Mapping[str, ServedProfile] | None = None,
    *,
    with_signals: bool = False,
    skip_bad_rows: bool = False,
) -> Dataset:
    """Return the columns that a rollout and its rewards need: prompt, id, ground truth, metadata.

    `infos` are the server's descriptions of the profiles; if none reads a ground truth, a missing
    column is filled with nulls. `with_signals` adds a column with the prompt without its history.

    Raises:
        InputError: a requested column is missing or cannot be sent.
    """
    readers = None if infos is None else readers_of("ground_truth", infos)
    rows = with_truths(rows, rewards.ground_truth_column, readers)
    for column in rewards.metadata_columns or ():
        require_column(rows, column, "metadata_columns")
        if require_decoding(rows.features[column]):
            raise InputError(f"metadata_columns: {column} holds media, which cannot be sent")
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
