"""`trainer grpo`: TRL's GRPOTrainer with TRL's own fields; the rewards come from a reward server.

In: a model, rows with a prompt (or a question and a template) and a ground truth. Out: a run folder
with the model, every scored sample, `run.json`, curves and a report. Loss and rollout are TRL's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from torch.utils.data import Sampler
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.model_config import ModelConfig
from trl.trainer.utils import RepeatSampler, get_peft_config, get_quantization_config

from trainer.config import parse_config, require
from trainer.data import (
    DataArguments,
    PromptArguments,
    ensure_sample_ids,
    require_column,
    with_prompts,
)
from trainer.errors import InputError
from trainer.greedy import greedy
from trainer.launch import (
    check_model_path,
    checkpoint_to_resume,
    evaluation_rows,
    model_init_kwargs,
    step_of,
    train_and_finish,
    training_rows,
)
from trainer.provenance import command_line, write_provenance
from trainer.rewards import (
    HoldWithoutRewards,
    RewardArguments,
    ServerReward,
    check_server,
    connect,
)
from trainer.samples import SampleWriter, step_files

SAMPLES = "samples"
TYPES = (DataArguments, PromptArguments, RewardArguments, GRPOConfig, ModelConfig)


def run(argv: Sequence[str]) -> None:
    """Parse, train, save.

    Raises:
        InputError: what was typed cannot work.
        RunFailed: no reward server at the start, or too many failed rewards.
    """
    data, prompts, rewards, args, model = parse_config(TYPES, argv, "trainer grpo")
    output = Path(require(args.output_dir, "output_dir"))
    check_model_path(model)
    check_save_steps(args)
    checkpoint = checkpoint_to_resume(args)
    rows = prepare_rows(training_rows(data), prompts, rewards)
    eval_rows = evaluation_rows(data, args)
    fingerprints = check_server(rewards.reward_url, [rewards.reward_profile])
    writer = open_samples(output / SAMPLES, args, checkpoint)
    trainer = build_trainer(
        model, args, rewards, writer, rows, eval_rows and prepare_rows(eval_rows, prompts, rewards)
    )
    if trainer.is_world_process_zero():
        configs = [data, prompts, rewards, args, model]
        facts = {"fingerprints": fingerprints, "data": rows._fingerprint}
        write_provenance(output, command_line(), configs, **facts)
    train_and_finish(trainer, checkpoint)


def build_trainer(
    model: ModelConfig,
    args: GRPOConfig,
    rewards: RewardArguments,
    writer: SampleWriter,
    rows: Dataset,
    eval_rows: Dataset | None,
) -> GrpoTrainer:
    """TRL's trainer with the server's reward function and what watches over it."""
    args.model_init_kwargs = model_init_kwargs(args, model)
    reward = ServerReward(
        connect(rewards.reward_url, rewards.reward_timeout_s),
        rewards,
        writer,
        num_generations=args.num_generations or 1,
        is_training=lambda: trainer.model is not None and trainer.model.training,
    )
    trainer = GrpoTrainer(
        model=require(model.model_name_or_path, "model_name_or_path"),
        reward_funcs=reward,
        args=args,
        train_dataset=rows,
        eval_dataset=eval_rows,
        quantization_config=get_quantization_config(model),
        peft_config=get_peft_config(model),
        callbacks=[HoldWithoutRewards(reward)],
    )
    return trainer


class GrpoTrainer(GRPOTrainer):
    """TRL's trainer, except that every epoch's order depends on seed and epoch alone, and that it
    evaluates greedily.

    TRL draws the orders of the epochs from one generator that starts anew in a resumed run, which
    would then repeat the first epoch's order instead of going on with its own.
    """

    def _get_train_sampler(self, dataset: Dataset | None = None) -> Sampler[int]:
        sampler = super()._get_train_sampler(dataset)
        assert isinstance(sampler, RepeatSampler)
        return SeededEachEpoch(sampler, self.args.seed, lambda: int(self.state.epoch or 0))

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """TRL's, greedy unless `num_generations_eval` asks for several responses a prompt."""
        if (self.num_generations_eval or 1) > 1:
            return super().evaluate(*args, **kwargs)
        with greedy(self):
            return super().evaluate(*args, **kwargs)


class SeededEachEpoch(Sampler[int]):
    """TRL's sampler, its generator seeded at the start of each epoch."""

    def __init__(self, sampler: RepeatSampler, seed: int, epoch: Callable[[], int]) -> None:
        self.sampler = sampler
        self.seed = seed
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        if self.sampler.shuffle:
            self.sampler.generator.manual_seed(self.seed + self.epoch())
        return iter(self.sampler)

    def __len__(self) -> int:
        return len(self.sampler)


def check_save_steps(args: GRPOConfig) -> None:
    """A checkpoint between two generations could not be resumed exactly: TRL does not save them.

    Raises:
        InputError: `save_steps` falls inside a generation cycle; the message says what would not.
    """
    micro_steps = (args.steps_per_generation or 1) * args.num_iterations
    cycle = max(1, micro_steps // args.gradient_accumulation_steps)
    steps = args.save_steps
    if args.save_strategy == "steps" and steps >= 1 and steps % cycle:
        raise InputError(
            f"save_steps is {steps:g}, but one generation serves {cycle} updates: make it a "
            f"multiple of {cycle}, or a resumed run would not go on where it stopped"
        )


def open_samples(
    folder: Path, args: GRPOConfig, checkpoint: str | None, save_every_n_steps: int = 1
) -> SampleWriter:
    """The store of the run in `folder`, wound back to the checkpoint it goes on from.

    Raises:
        InputError: a run from scratch into a folder that has samples already.
    """
    resuming = str(args.resume_from_checkpoint or "false").lower() != "false"
    if step_files(folder) and not resuming:
        raise InputError(
            f"{folder} holds the samples of an earlier run: go on with it by "
            "--resume_from_checkpoint true, or choose another output_dir"
        )
    writer = SampleWriter(folder, args.world_size > 1, args.process_index, save_every_n_steps)
    writer.rewind(step_of(checkpoint))
    return writer


def prepare_rows(rows: Dataset, prompts: PromptArguments, rewards: RewardArguments) -> Dataset:
    """The columns that a rollout and its rewards need: prompt, id, ground truth, metadata.

    Raises:
        InputError: a column that was asked for is not there.
    """
    require_column(rows, rewards.ground_truth_column, "ground_truth_column")
    for column in rewards.metadata_columns or ():
        require_column(rows, column, "metadata_columns")
    rows = ensure_sample_ids(with_prompts(rows, prompts))
    columns: dict[str, Any] = dict.fromkeys(
        ["prompt", "id", rewards.ground_truth_column, *(rewards.metadata_columns or ())]
    )
    return rows.select_columns(list(columns))
