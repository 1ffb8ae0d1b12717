"""`trainer ppo`: PPO with TRL's and PPO's own fields; rewards from a server, or from local rules.

Rows have a prompt (or a question and a template) and a ground truth. The run folder gets the model,
the critic, every scored sample, `run.json`, curves and a report.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset
from trl.trainer.model_config import ModelConfig

from touchstone_rewards.trainer.config import Section, parse_config, require
from touchstone_rewards.trainer.data.chats import rendered
from touchstone_rewards.trainer.data.rows import DataArguments, PromptArguments, ensure_sample_ids
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.grpo.command import (
    SAMPLES,
    build_trainer,
    check_enough,
    check_scores,
    open_samples,
    policy_tokenizer,
    prepare_rows,
    starting_model,
)
from touchstone_rewards.trainer.grpo.config import GrpoArguments, RolloutArguments
from touchstone_rewards.trainer.grpo.learning import LearningArguments
from touchstone_rewards.trainer.grpo.long_prompts import fit_prompts, template_options
from touchstone_rewards.trainer.grpo.loss import check_loss_type
from touchstone_rewards.trainer.limr.arguments import LimrArguments
from touchstone_rewards.trainer.ppo.config import PPOConfig
from touchstone_rewards.trainer.ppo.reward_start import check_tokenizers
from touchstone_rewards.trainer.ppo.trainer import PPOTrainer
from touchstone_rewards.trainer.reward_arguments import RewardArguments, ServeArguments
from touchstone_rewards.trainer.rewards import ServedProfile, check_server, connect, scoring_of
from touchstone_rewards.trainer.running.lora import AdapterArguments, settle_adapter
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
from touchstone_rewards.trainer.several_rewards import parts_of
from touchstone_rewards.trainer.workflow.local_server import served


class PpoConfigs(NamedTuple):
    """The options of `trainer ppo`."""

    data: DataArguments
    prompts: PromptArguments
    rewards: RewardArguments
    serve: ServeArguments
    adapter: AdapterArguments
    rollout: RolloutArguments
    learning: LearningArguments
    args: PPOConfig
    model: ModelConfig
    limr: Section[LimrArguments]


OPTIONS = PpoConfigs


def run(argv: Sequence[str]) -> None:
    """Parse the options, train, and save.

    Raises:
        InputError: the options or the data cannot be used.
        RunFailed: no reward server answers at the start, or too many rewards failed.
    """
    configs = parse_config(PpoConfigs, argv, "trainer ppo")
    data, _, rewards, serve, adapter, rollout, learning, args, model, limr = configs
    require(args.output_dir, "output_dir")
    check_loss_type(args.loss_type)
    reads = [adapter.adapter_name_or_path, args.critic_model_name_or_path]
    output = free_output(data, args, check_model_path(model), *reads)
    limr.check(rewards.reward_url, validation=args.eval_strategy != "no")
    check_rules(limr, rewards, serve)
    if limr.enabled and limr.reward_type == "remote":
        rewards.reward_url = [require(limr.reward_url, "limr.reward_url")]
    rollout.check_sampling(args)
    check_learning(learning, args)
    checkpoint = checkpoint_to_resume(args)
    settle_adapter(model, adapter, args, resuming=checkpoint is not None)
    parts = rows_of(data, args)
    check_enough(len(parts[0]), args)
    with served(serve, rewards.reward_url, output, args.world_size) as rewards.reward_url:
        train(configs, parts, output, checkpoint)


def train(
    configs: PpoConfigs,
    given: tuple[Dataset, Dataset | None],
    output: Path,
    checkpoint: str | None,
) -> None:
    """Prepare rows and rewards, train, and save; the reward server must be running."""
    data, prompts, rewards, _, adapter, rollout, learning, args, model, limr = configs
    rows, eval_rows = given
    parts = parts_of(rewards, args.reward_weights)
    infos: dict[str, ServedProfile] | None = None
    if limr.enabled and limr.reward_type == "rule":
        scoring, fingerprint = rule_scoring(limr, rewards.reward_profile)
        fingerprints = {rewards.reward_profile: fingerprint}
        rows = with_ground_truths(rows, scoring.truths, rewards)
    else:
        infos = check_server(rewards.reward_url, rewards.profiles)
        check_scores(parts, infos)
        fingerprints = {name: info.fingerprint for name, info in infos.items()}
        scoring = connect(rewards.reward_url, rewards.reward_timeout_s)
    tokenizer = policy_tokenizer(model, rollout, adapter)
    check_tokenizers(tokenizer, args.critic_model_name_or_path)
    prepare = partial(
        prepare_rows,
        prompts=prompts,
        rewards=rewards,
        infos=infos,
        skip_bad_rows=data.skip_bad_rows,
    )
    rows, eval_rows = (
        each and fit_prompts(prepare(each), rollout, tokenizer, args) for each in (rows, eval_rows)
    )
    assert rows is not None
    check_enough(len(rows), args)
    rendered(tokenizer, rows[0]["prompt"], template_options(args))
    folder = Path(limr.save_samples_path or output / SAMPLES)
    writer = open_samples(folder, args, limr.save_every_n_steps, overwrite=data.overwrite)
    own: dict[str, Any] = {"rollout": rollout, "learning": learning, "samples": writer.folder}
    start = starting_model(model, adapter, args)
    if rollout.chat_template or adapter.adapter_name_or_path:
        start["processing_class"] = tokenizer
    asked = scoring_of(scoring, parts)
    trainer = build_trainer(
        PPOTrainer, model, args, rewards, asked, writer, rows, eval_rows, start=start, **own
    )
    start_over(data, args)
    writer.rewind(step_of(checkpoint))
    if trainer.is_world_process_zero():
        facts = {"fingerprints": fingerprints, "data": rows._fingerprint}
        write_provenance(output, command_line(), configs, **facts)
    try:
        train_and_finish(trainer, checkpoint)
    finally:
        scoring.close()


def check_rules(limr: LimrArguments, rewards: RewardArguments, serve: ServeArguments) -> None:
    """Refuse options that need a server if the `limr` section provides the rewards.

    Raises:
        InputError: such an option is set.
    """
    if not limr.enabled:
        return
    if serve.serve:
        raise InputError("limr.enabled sets the source of the rewards: leave out serve")
    if limr.reward_type == "rule" and (rewards.also_reward_profile or rewards.reward_scores):
        raise InputError(
            "also_reward_profile and reward_scores need a server, but limr.reward_type is rule"
        )


def check_learning(learning: LearningArguments, args: PPOConfig) -> None:
    """Refuse options that have no meaning with a critic.

    Raises:
        InputError: such an option is set.
    """
    if learning.refill_groups:
        raise InputError("refill_groups: with a critic, groups of equal rewards do teach")
    if learning.skip_equal_retry is not None and args.num_generations == 1:
        raise InputError(
            "skip_equal_retry needs num_generations above 1: one response is always equal"
        )
    learning.check(args, GrpoArguments())


def rule_scoring(limr: LimrArguments, profile: str) -> tuple[Any, str]:
    """Return the rule-based reward model of the `limr` section, and its fingerprint."""
    # Imported here: a run that uses a server needs none of the server's libraries.
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
    """Return the rows with the ground truths of their ids.

    Raises:
        InputError: a row's id has no ground truth; the message names it.
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
