"""GRPO that measures, before the rewards are asked for, what the history told the model.

In: what `GrpoTrainer` takes, with `SignalArguments`; rows with `prompt` and, as `history_rows` adds
it, `prompt_without_history`. Out: the signals of each sample. Nothing is generated twice: the same
response tokens are forced through the policy once more, after the prompt without its history. The
pass with the history is the one that TRL makes for its ratio, where it makes one.

Each rank measures its own rows, every rank in as many passes. A pass goes through TRL's fused head,
which works in tiles of positions and of the vocabulary: logits of a whole batch are never held. The
log-probs and entropies are those at the temperature of the rollout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from datasets import Dataset
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor, nn
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import pad

from touchstone_rewards.trainer.data.chats import is_begun
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.grpo.trainer import GrpoTrainer
from touchstone_rewards.trainer.story.signals import (
    Measured,
    PerToken,
    SignalArguments,
    information_flow,
    signals_of,
)

WITHOUT_HISTORY = "prompt_without_history"


def history_rows(rows: Dataset) -> Dataset:
    """The rows with the column `prompt_without_history`: their own, or made of the chat.

    Raises:
        InputError: the prompts are texts, and there is no such column.
    """
    if WITHOUT_HISTORY in rows.column_names:
        return rows
    if isinstance(rows[0]["prompt"], str):
        raise InputError(
            f"signals: prompts that are texts need a column {WITHOUT_HISTORY!r}; of a chat the "
            "history is known"
        )
    return rows.map(lambda row: {WITHOUT_HISTORY: without_history(row["prompt"])})


def without_history(prompt: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A chat's system messages and its last message, with what is begun of the answer to it."""
    last = 2 if is_begun(list(prompt)) else 1
    return [turn for turn in prompt[:-last] if turn["role"] == "system"] + list(prompt[-last:])


class HistoryTrainer(GrpoTrainer):
    """`GrpoTrainer` with the signals of `touchstone_rewards.trainer.story.signals`."""

    def __init__(self, *args: Any, signals: SignalArguments, **kwargs: Any) -> None:
        self.constants = signals
        self.own_pass_due = False
        self.own_pass: Measured | None = None
        self.prompt_ids: list[list[int]] = []
        super().__init__(*args, **kwargs)

    def signals_of(
        self, rows: list[dict[str, Any]], completion_ids: list[list[int]]
    ) -> list[dict[str, float]]:
        with_history = self.prompt_ids
        # TRL's own method: the prompts without history are no prompts that could be too long.
        prompts = [row[WITHOUT_HISTORY] for row in rows]
        without, _, _ = GRPOTrainer._tokenize_prompts(self, prompts)
        told = self.own_pass or self._forced(with_history, completion_ids)
        untold = self._forced(without, completion_ids)
        found = signals_of(
            told,
            untold,
            self._padded(completion_ids, "right")[1].bool(),
            [_tokens_of_history(*each) for each in zip(with_history, without, strict=True)],
            self.constants,
        )
        self._log_means(found)
        return found

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self.own_pass_due = self._scores_its_own_rollout()
        try:
            return super()._generate_and_score_completions(inputs)
        finally:
            self.own_pass_due, self.own_pass = False, None

    def _tokenize_prompts(self, prompts: list[Any]) -> Any:
        found = super()._tokenize_prompts(prompts)
        self.prompt_ids = found[0]
        return found

    def _scores_its_own_rollout(self) -> bool:
        """Does TRL's first pass after a rollout give the policy's own log-probs, as ours would?

        Not with dropout, which its pass does not switch off, nor where it masks whole responses.
        """
        args = cast(GRPOConfig, self.args)
        cycle = cast(int, args.steps_per_generation) * self.num_iterations
        corrects = self.use_vllm and self.vllm_importance_sampling_correction
        drops = any(
            isinstance(part, nn.Dropout) and part.p > 0 for part in cast(Any, self.model).modules()
        )
        scores = args.gradient_accumulation_steps % cycle != 0 or corrects
        return scores and not drops and not self.mask_truncated_completions

    def _get_per_token_logps_and_entropies(
        self,
        model: object,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        *args: object,
        **kwargs: object,
    ) -> Any:
        give = super()._get_per_token_logps_and_entropies
        if not self.own_pass_due:
            return give(model, input_ids, attention_mask, logits_to_keep, *args, **kwargs)
        self.own_pass_due = False
        kwargs["compute_entropy"] = True
        with self._hearing_flow(attention_mask[:, -logits_to_keep:]) as flow:
            found = give(model, input_ids, attention_mask, logits_to_keep, *args, **kwargs)
        self.own_pass = Measured(found[0], found[1], torch.cat(flow))
        return found

    @torch.no_grad()
    def _forced(self, prompts: list[list[int]], completions: list[list[int]]) -> Measured:
        """The policy's log-probs, entropies and flow of given responses to given prompts."""
        policy = cast(nn.Module, self.model)
        before, before_mask = self._padded(prompts, "left")
        tokens, mask = self._padded(completions, "right")
        training, args = policy.training, self.args
        policy.eval()
        try:
            with self._hearing_flow(mask) as flow:
                logps, entropies, _ = super()._get_per_token_logps_and_entropies(
                    policy,
                    torch.cat([before, tokens], dim=1),
                    torch.cat([before_mask, mask], dim=1),
                    tokens.shape[1],
                    args.per_device_train_batch_size
                    if training
                    else args.per_device_eval_batch_size,
                    compute_entropy=True,
                )
        finally:
            policy.train(training)
        return Measured(logps, cast(Tensor, entropies), torch.cat(flow))

    def _padded(self, ids: list[list[int]], side: str) -> tuple[Tensor, Tensor]:
        """Token ids and their mask, padded as TRL pads them."""
        width: Any = {"padding_side": side, "pad_to_multiple_of": self.pad_to_multiple_of}
        rows = [torch.tensor(each, dtype=torch.long) for each in ids]
        masks = [torch.ones_like(each) for each in rows]
        device = self.accelerator.device
        filler = cast(int, self._tokenizer.pad_token_id)
        return (
            pad(rows, padding_value=filler, **width).to(device),
            pad(masks, padding_value=0, **width).to(device),
        )

    @contextmanager
    def _hearing_flow(self, mask: Tensor) -> Iterator[list[PerToken]]:
        """The information flow of each batch of the passes inside the block, in their order."""
        heard: list[PerToken] = []

        def hear(module: nn.Module, inputs: Any, output: Any) -> None:
            hidden: Float[Tensor, "rows positions size"] = output.last_hidden_state
            first = sum(map(len, heard))
            here = mask[first : first + len(hidden)].bool()
            heard.append(information_flow(hidden[:, -mask.shape[1] :].detach(), here))

        policy: Any = self.accelerator.unwrap_model(self.model)
        base: Any = policy.get_base_model() if isinstance(policy, PeftModel) else policy
        hook = base.base_model.register_forward_hook(hear)
        try:
            yield heard
        finally:
            hook.remove()

    def _log_means(self, signals: Sequence[dict[str, float]]) -> None:
        for name in sorted({name for row in signals for name in row} - {"history_tokens"}):
            values = [row[name] for row in signals if name in row]
            self._log_metric(f"signals/{name}", sum(values) / len(values))


def _tokens_of_history(with_history: Sequence[int], without: Sequence[int]) -> int:
    """0 only without a history: a prompt that was shortened may have no more tokens than other."""
    if list(with_history) == list(without):
        return 0
    return max(1, len(with_history) - len(without))
