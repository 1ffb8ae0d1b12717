"""`trainer ppo`: PPO with TRL's own fields and PPO's; rewards from a server, or by rule.

In: a model, rows with a prompt (or a question and a template) and a ground truth. Out: a run folder
with the model, the critic, every scored sample, `run.json`, curves and a report.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset
from trl.trainer.model_config import ModelConfig

from touchstone_rewards.trainer.config import parse_config, require
from touchstone_rewards.trainer.data.rows import DataArguments, PromptArguments, ensure_sample_ids
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.grpo.command import (
    SAMPLES,
    build_trainer,
    check_enough,
    open_samples,
    prepare_rows,
)
from touchstone_rewards.trainer.grpo.long_prompts import rendered
from touchstone_rewards.trainer.grpo.loss import check_loss_type
from touchstone_rewards.trainer.limr.arguments import LimrArguments
from touchstone_rewards.trainer.ppo.config import PPOConfig
from touchstone_rewards.trainer.ppo.trainer import PPOTrainer
from touchstone_rewards.trainer.rewards import (
    RewardArguments,
    check_server,
    connect,
)
from touchstone_rewards.trainer.running.provenance import command_line, write_provenance
from touchstone_rewards.trainer.running.run import (
    check_model_path,
    checkpoint_to_resume,
    free_output,
    rows_of,
    start_over,
    step_of,
    train_and_finish,
)

TYPES = (DataArguments, PromptArguments, RewardArguments, PPOConfig, ModelConfig)
SECTIONS = {"limr": LimrArguments}


def run(argv: Sequence[str]) -> None:
    """Parse, train, save.

    Raises:
        InputError: what was typed cannot work.
        RunFailed: no reward server at the start, or too many failed rewards.
    """
    data, prompts, rewards, args, model, limr = parse_config(TYPES, argv, "trainer ppo", SECTIONS)
    require(args.output_dir, "output_dir")
    check_loss_type(args.loss_type)
    output = free_output(data, args, check_model_path(model))
    limr.check(rewards.reward_url, validation=args.eval_strategy != "no")
    if limr.enabled and limr.reward_type == "remote":
        rewards.reward_url = [limr.reward_url]
    checkpoint = checkpoint_to_resume(args)
    rows, eval_rows = rows_of(data, args)
    if limr.enabled and limr.reward_type == "rule":
        scoring, fingerprint = rule_scoring(limr, rewards.reward_profile)
        rows = with_ground_truths(rows, scoring.truths, rewards)
    else:
        fingerprints = check_server(rewards.reward_url, [rewards.reward_profile])
        scoring, fingerprint = connect_server(rewards), fingerprints[rewards.reward_profile]
    prepare = partial(
        prepare_rows, prompts=prompts, rewards=rewards, skip_bad_rows=data.skip_bad_rows
    )
    rows, eval_rows = prepare(rows), eval_rows and prepare(eval_rows)
    check_enough(len(rows), args)
    rendered(rows[0]["prompt"], model, args)
    folder = Path(limr.save_samples_path or output / SAMPLES)
    writer = open_samples(folder, args, limr.save_every_n_steps, overwrite=data.overwrite)
    trainer = build_trainer(PPOTrainer, model, args, rewards, scoring, writer, rows, eval_rows)
    start_over(data, args)
    writer.rewind(step_of(checkpoint))
    if trainer.is_world_process_zero():
        configs = [data, prompts, rewards, args, model, limr]
        facts = {"fingerprints": {rewards.reward_profile: fingerprint}, "data": rows._fingerprint}
        write_provenance(output, command_line(), configs, **facts)
    try:
        train_and_finish(trainer, checkpoint)
    finally:
        scoring.close()


def connect_server(rewards: RewardArguments) -> Any:
    """A client of the servers that the config names."""
    return connect(rewards.reward_url, rewards.reward_timeout_s)


def rule_scoring(limr: LimrArguments, profile: str) -> tuple[Any, str]:
    """The rules of the section `limr`, and their fingerprint."""
    # Here, because a run that asks a server needs none of the server's libraries.
    from touchstone_rewards.trainer.rule_reward import RuleBasedRewardModel

    model = RuleBasedRewardModel(
        require(limr.ground_truth_dataset, "limr.ground_truth_dataset"),
        profile=profile,
        reward_correct=limr.reward_correct,
        reward_incorrect=limr.reward_incorrect,
        math_equal_normalize=limr.math_equal_normalize,
    )
    return model, model.fingerprint


def with_ground_truths(rows: Dataset, truths: dict[str, Any], rewards: RewardArguments) -> Dataset:
    """The rows with the ground truth of their id.

    Raises:
        InputError: a row whose id has none; it is named.
    """
    rows = ensure_sample_ids(rows)
    unknown = [name for name in rows["id"] if name not in truths]
    if unknown:
        raise InputError(
            f"limr.ground_truth_dataset has no answer for {len(unknown)} of {len(rows)} training "
            f"rows, such as id {unknown[0]!r}"
        )
    column = rewards.ground_truth_column
    if column in rows.column_names:
        rows = rows.remove_columns(column)
    return rows.add_column(column, [truths[name] for name in rows["id"]])  # pyright: ignore[reportCallIssue]
