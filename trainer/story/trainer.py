"""GRPO that measures the story signals of each sample before it asks for rewards.

Nothing is generated twice: the same response tokens are forced through the policy once more, after
the prompt without its history (the column `prompt_without_history`, see `history_rows`). The pass
with the history is the one TRL makes for its ratio, where it makes one.

Each rank measures its own rows, all ranks in the same number of passes. A pass uses TRL's fused
head, which works in tiles of positions and vocabulary, so logits of a whole batch are never held.
Log-probs and entropies are at the temperature of the rollout.
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
    """Return the rows with the column `prompt_without_history`, derived from the chat if missing.

    Raises:
        InputError: the column is missing and the prompts are texts, not chats.
    """
    if WITHOUT_HISTORY in rows.column_names:
        return rows
    if isinstance(rows[0]["prompt"], str):
        raise InputError(
            f"signals: prompts that are plain text need a column {WITHOUT_HISTORY!r}; it can be "
            "derived only from chats"
        )
    return rows.map(lambda row: {WITHOUT_HISTORY: without_history(row["prompt"])})


def without_history(prompt: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a chat's system messages and last message, with the begun answer if there is one."""
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
        # Call TRL's method: the override records the prompts and acts on those that are too long.
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
        """Whether TRL's first pass after a rollout gives the same log-probs as a pass of ours.

        It does not with dropout, which TRL leaves on, or when TRL masks whole responses.
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
        """Measure given responses to given prompts in a forced pass of the policy."""
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
        """Return token ids and their mask, padded as TRL pads them."""
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
        """Collect the information flow of every batch that passes inside the block, in order."""
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
    """Return the number of history tokens, 0 only if there is no history.

    A shortened prompt may have no more tokens than the one without history; it counts as 1.
    """
    if list(with_history) == list(without):
        return 0
    return max(1, len(with_history) - len(without))
