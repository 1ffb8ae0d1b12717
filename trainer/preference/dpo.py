"""`trainer dpo`: TRL's DPOTrainer with TRL's own fields and losses, on preference pairs.

Rows have `prompt`, `chosen` and `rejected` (or `chosen_response`, `rejected_response`). The run
folder gets the model, `run.json`, curves and a report. With LoRA the reference policy is the same
model with its adapter disabled. No reward server is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from jaxtyping import Float
from torch import Tensor
from transformers import AutoConfig
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.model_config import ModelConfig

from touchstone_rewards.trainer.config import parse_config, require
from touchstone_rewards.trainer.data.rows import DataArguments
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.preference.rows import read_pairs
from touchstone_rewards.trainer.running.lora import (
    AdapterArguments,
    model_for_trl,
    settle_adapter,
)
from touchstone_rewards.trainer.running.run import (
    check_model_path,
    checkpoint_to_resume,
    model_init_kwargs,
    tokenizer_of,
    train_on_rows,
)


@dataclass
class TemplateArguments:
    """The chat template; named as in TRL's other configs."""

    chat_template_path: str | None = field(
        default=None,
        metadata={"help": "A .jinja file, or a model whose chat template to use."},
    )


class DpoConfigs(NamedTuple):
    """The options of `trainer dpo`."""

    data: DataArguments
    template: TemplateArguments
    adapter: AdapterArguments
    args: DPOConfig
    model: ModelConfig


OPTIONS = DpoConfigs
LOSSES = (
    *("sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot"),
    *("aot_unpaired", "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm"),
)
METRICS_NOTE = (
    "logps/accuracies: share of pairs whose chosen side has the higher likelihood under the policy "
    "(summed log-probabilities, so the shorter side has an advantage). rewards/accuracies: share "
    "whose chosen side gained more over the reference policy than the rejected one; starts at 0."
)


def run(argv: Sequence[str]) -> None:
    """Parse the options, train, and save.

    Raises:
        InputError: the options or the data cannot be used.
    """
    configs = parse_config(DpoConfigs, argv, "trainer dpo")
    data, template, adapter, args, model = configs
    check_model_path(model)
    settle_adapter(model, adapter, args, resuming=checkpoint_to_resume(args) is not None)
    if args.process_index == 0:
        print(METRICS_NOTE)
    if unknown := [each for each in args.loss_type if each not in LOSSES]:
        raise InputError(f"loss_type must be one of {', '.join(LOSSES)}, not {unknown[0]!r}")
    build = partial(
        build_trainer,
        model,
        adapter,
        args,
        chat_template_path=template.chat_template_path,
        skip_bad_rows=data.skip_bad_rows,
    )
    train_on_rows(data, args, model, configs, build, [adapter.adapter_name_or_path])


def build_trainer(
    model: ModelConfig,
    adapter: AdapterArguments,
    args: DPOConfig,
    rows: Dataset,
    eval_rows: Dataset | None,
    *,
    chat_template_path: str | None = None,
    skip_bad_rows: bool = False,
) -> DpoTrainer:
    """Return TRL's trainer on checked rows.

    Raises:
        InputError: the rows cannot be trained on.
    """
    name = require(model.model_name_or_path, "model_name_or_path")
    args.model_init_kwargs = model_init_kwargs(args, model)
    tokenizer = tokenizer_of(model, chat_template_path, adapter.adapter_name_or_path)
    config = AutoConfig.from_pretrained(name, revision=model.model_revision)
    read = partial(read_pairs, tokenizer, config, args, skip_bad_rows=skip_bad_rows)
    rows, eval_rows = read(rows), eval_rows and read(eval_rows)
    trainer = DpoTrainer(
        **model_for_trl(name, adapter, model, args),
        args=args,
        train_dataset=rows,
        eval_dataset=eval_rows,
        processing_class=tokenizer,
    )
    if len(trainer.train_dataset) == 0:
        raise InputError(f"no prompt leaves room for a response under max_length {args.max_length}")
    return trainer


class DpoTrainer(DPOTrainer):
    """TRL's trainer, which also logs the accuracy of the policy's own likelihoods."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        seen: list[Tensor] = []

        def watched(**kwargs: Any) -> Any:
            output = model(**kwargs)
            if "log_probs" in output:
                seen.append(output.log_probs.detach())
            return output

        # TRL only calls the model it is given, and does not keep the log-probabilities of single
        # pairs.
        policy: Any = watched
        loss = super().compute_loss(policy, inputs, return_outputs, num_items_in_batch)
        mode = "train" if model.training else "eval"
        gathered: Any = self.accelerator.gather(policy_accuracy(seen[0]).mean())
        self._metrics[mode]["logps/accuracies"].append(gathered.mean().item())
        return loss


def policy_accuracy(log_probs: Float[Tensor, "n t"]) -> Float[Tensor, " pairs"]:
    """Return 1 for each pair whose chosen response has the higher summed log-probability, else 0.

    `log_probs` are those of the response tokens, 0 elsewhere; the first half of the batch is
    chosen, the second rejected.

    Source: wenjia5767/GRPO, the validation metric of its DPO script.
    """
    chosen, rejected = log_probs.sum(dim=1).chunk(2)
    return (chosen > rejected).to(torch.float32)
