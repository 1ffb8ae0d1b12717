"""`trainer rm`: TRL's RewardTrainer with TRL's own fields, on preference pairs.

Rows have `prompt`, `chosen` and `rejected`. The run folder is a plain
`AutoModelForSequenceClassification` folder, with `run.json`, curves, a report and, on request,
`predictions.jsonl`. A batch has shape (2B, T), chosen first; the score is read at the last real
token. `--eval` measures without training (`measure.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from datasets import Dataset
from transformers import PreTrainedModel
from trl.trainer.model_config import ModelConfig
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from touchstone_rewards.trainer.config import given_fields, parse_config, require
from touchstone_rewards.trainer.data.rows import DataArguments
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.preference.measure import PREDICTIONS, measure, pair_line
from touchstone_rewards.trainer.preference.ranking import ranking_of, told
from touchstone_rewards.trainer.preference.reward_folder import (
    load_reward_model,
    put_adapter_aside,
    write_moments,
    write_plain,
)
from touchstone_rewards.trainer.preference.reward_head import (
    disco_loss,
    head_facts,
    score_at_last_token,
)
from touchstone_rewards.trainer.preference.rows import read_pairs
from touchstone_rewards.trainer.preference.scoring import OUTPUTS, load_for_scores, scores_of
from touchstone_rewards.trainer.running.lora import peft_of, quantization_of
from touchstone_rewards.trainer.running.run import model_init_kwargs, tokenizer_of, train_on_rows

MOST_MEASURED = 2000  # pairs for the mean and standard deviation of the scores


@dataclass
class HeadArguments:
    """The head, its loss, and the evaluation."""

    eval: bool = field(
        default=False,
        metadata={
            "help": "Measure the reward model in model_name_or_path, without training, on the "
            "pairs or RewardBench 2 rows of eval_dataset_name."
        },
    )
    loss: Literal["pairwise", "disco"] = field(
        default="pairwise",
        metadata={
            "help": "pairwise: one score, -logsigmoid(chosen - rejected). disco: mean and "
            "variance, -log P(chosen > rejected)."
        },
    )
    variance_floor: float = field(
        default=1e-4, metadata={"help": "For disco: added to every variance, so that none is 0."}
    )
    margin_column: str | None = field(
        default=None,
        metadata={"help": "Column with the smallest score difference by which chosen should win."},
    )
    save_predictions: bool = field(
        default=False,
        metadata={
            "help": "Write predictions.jsonl: the saved model's scores of all evaluation pairs, "
            "or of all training pairs if there are none."
        },
    )

    def __post_init__(self) -> None:
        if self.variance_floor <= 0:
            raise ValueError(f"variance_floor must be positive, not {self.variance_floor}")


class RmConfigs(NamedTuple):
    """The options of `trainer rm`."""

    data: DataArguments
    head: HeadArguments
    args: RewardConfig
    model: ModelConfig


OPTIONS = RmConfigs


def run(argv: Sequence[str]) -> None:
    """Parse the options, then train and save; with `eval`, measure instead.

    Raises:
        InputError: the options or the data cannot be used.
    """
    configs = parse_config(RmConfigs, argv, "trainer rm")
    data, head, args, model = configs
    if head.eval:
        given = given_fields(argv, RmConfigs, "rm")
        output = Path(args.output_dir or ".") if "output_dir" in given else None
        limit = args.max_length if "max_length" in given else None
        measure(data, args, model, output, limit)
        return
    build = partial(build_trainer, model, args, head, skip_bad_rows=data.skip_bad_rows)
    trainer = train_on_rows(data, args, model, configs, build)
    if trainer.is_world_process_zero():
        finish(trainer, Path(require(args.output_dir, "output_dir")), head.save_predictions)
    trainer.accelerator.wait_for_everyone()


def build_trainer(
    model: ModelConfig,
    args: RewardConfig,
    head: HeadArguments,
    rows: Dataset,
    eval_rows: Dataset | None,
    *,
    skip_bad_rows: bool = False,
) -> PairwiseTrainer:
    """Return the trainer on checked rows; a new head is drawn from the seed.

    Raises:
        InputError: the rows cannot be trained on, or every pair is too long.
    """
    name = require(model.model_name_or_path, "model_name_or_path")
    tokenizer = tokenizer_of(model, args.chat_template_path)
    kwargs = {**model_init_kwargs(args, model), "quantization_config": quantization_of(model)}
    network = load_reward_model(name, OUTPUTS[head.loss], args.seed, **kwargs)
    own: dict[str, object] = {"margin_column": head.margin_column, "skip_bad_rows": skip_bad_rows}
    read = partial(read_pairs, tokenizer, network.config, args, **own)
    rows, eval_rows = read(rows), eval_rows and read(eval_rows)
    network.config.reward_head = {
        **head_facts(network.config),
        "loss": head.loss,
        "seed": args.seed,
        "max_length": args.max_length,
        **how_texts_are_read(rows),
        **({"variance_floor": head.variance_floor} if head.loss == "disco" else {}),
    }
    score_at_last_token(network)
    model.lora_task_type = "SEQ_CLS"
    # The model is already loaded; TRL would warn that it ignores these.
    args.model_init_kwargs = None
    trainer = PairwiseTrainer(
        model=network,
        args=args,
        train_dataset=rows,
        eval_dataset=eval_rows,
        processing_class=tokenizer,
        peft_config=peft_of(model),
    )
    report_dropped(len(rows), trainer, args.max_length)
    return trainer


def how_texts_are_read(rows: Dataset) -> dict[str, object]:
    """Return how TRL joins prompt and response, so that a server tokenizes in the same way."""
    chat = isinstance(rows[0]["chosen"], list)
    return {"template": "chat" if chat else "plain", "append_eos": not chat}


class PairwiseTrainer(RewardTrainer):
    """TRL's trainer, with the distributional loss for heads with two outputs."""

    def __init__(self, model: PreTrainedModel, **kwargs: Any) -> None:
        # TRL requires one label, but its loss and metrics only need one score per sequence.
        config, labels = model.config, dict(model.config.id2label or {})
        config.num_labels = 1
        super().__init__(model=model, **kwargs)
        config.id2label = labels

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        both: Any = super().compute_loss(model, inputs, True, num_items_in_batch)
        loss, output = both
        if output.variance is not None:
            args: Any = self.args
            loss = disco_loss(output, inputs.get("margin"), args.center_rewards_coefficient)
            std: Any = self.accelerator.gather(output.variance.detach().sqrt().mean())
            mode = "train" if model.training else "eval"
            self._metrics[mode]["std"].append(std.mean().item())
        return (loss, output) if return_outputs else loss

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # An adapter does not describe its head, so the config is saved with it. Every rank calls
        # this, and only the one that saved the model knows its class.
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            model: Any = self.model
            model.config.save_pretrained(output_dir or self.args.output_dir)


def report_dropped(given: int, trainer: PairwiseTrainer, max_length: int | None) -> None:
    """Print how many pairs are longer than `max_length`.

    Raises:
        InputError: all of them are.
    """
    rows: Any = trainer.train_dataset
    kept = len(rows)
    if kept == 0:
        raise InputError(f"every pair is longer than max_length ({max_length} tokens): raise it")
    if kept < given and trainer.is_world_process_zero():
        print(f"{given - kept} of {given} pairs are longer than max_length and left out")


def finish(trainer: PairwiseTrainer, output: Path, save_predictions: bool) -> None:
    """Complete the run folder after training.

    Make it a plain model if it holds an adapter; write mean and standard deviation of its scores
    into config.json, and the predictions if requested; print the accuracy on held-out pairs.
    """
    if (output / "adapter_config.json").is_file():
        write_plain(put_adapter_aside(output), output)
    held_out = trainer.eval_dataset is not None
    rows: Any = trainer.eval_dataset if held_out else trainer.train_dataset
    kind = "evaluation" if held_out else "training"
    if not save_predictions and len(rows) > MOST_MEASURED:
        rows = rows.select(range(MOST_MEASURED))
    batch = trainer.args.per_device_eval_batch_size
    lines = predictions(output, rows, batch, trainer.args.device)
    if save_predictions:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (output / PREDICTIONS).write_text(text, encoding="utf-8")
    if held_out:
        print("\n".join(told(ranking_of(lines), "held-out pairs")))
    scores = [line[side] for line in lines[:MOST_MEASURED] for side in ("chosen", "rejected")]
    mean, std = write_moments(output, scores)
    print(
        f"scores of {len(scores) // 2} {kind} pairs: mean {mean:.4g}, std {std:.4g}, in "
        "config.json for `normalize: true` of the reward server"
    )


def predictions(
    folder: Path, rows: Dataset, batch_size: int, device: torch.device
) -> list[dict[str, Any]]:
    """Score tokenized pairs with the reward model in `folder`; return one line per pair, in order.

    The saved model scores in its own dtype, as a server does.
    """
    model = load_for_scores(str(folder), dtype="auto").to(device)
    pairs = list(zip(rows["chosen_ids"], rows["rejected_ids"], strict=True))
    found = iter(scores_of(model, [ids for pair in pairs for ids in pair], 2 * batch_size))
    return [
        {"id": row_id, **pair_line([next(found), next(found)], [len(ids) for ids in pair])}
        for row_id, pair in zip(rows["id"], pairs, strict=True)
    ]
