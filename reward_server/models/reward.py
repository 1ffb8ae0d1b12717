"""A reward model: one score per prompt and response, in batches.

The backbone runs in the chosen dtype; the head always runs in fp32, without an activation, at the
token that is scored. The model is served only after it has passed the parity self-test.
"""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from msgspec import Struct
from transformers import PreTrainedTokenizerBase

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.models.checkpoint import (
    Checkpoint,
    baked_normalization,
    context_tokens,
    read_checkpoint,
    read_tokenizer,
    text_config,
)
from touchstone_rewards.reward_server.models.config import RewardModelConfig
from touchstone_rewards.reward_server.models.hardware import (
    layouts_for,
    memory_errors,
    pick_device,
    pick_dtype,
    place,
    prepare_thread,
)
from touchstone_rewards.reward_server.models.packed import LAYOUTS, Ids, pad
from touchstone_rewards.reward_server.models.parity import KNOWN_TEXTS, Parity, choose_layout
from touchstone_rewards.reward_server.models.text import Text, TextReader, TokenIds
from touchstone_rewards.reward_server.models.thread import Prepared

DEFAULT_MAX_TOKENS = 32_768

log = logging.getLogger(__name__)


class RewardOutput(Struct):
    """The model's output for one text. `cut`: tokens removed by truncation. `std`: the standard
    deviation that a distributional model gives; its mean is `score`."""

    score: float
    tokens: int
    cut: int
    std: float | None = None


class RewardModel:
    """A loaded reward model; `parity` holds its layout and the result of its self-test."""

    parity: Parity

    def __init__(
        self,
        checkpoint: Checkpoint,
        reader: TextReader,
        *,
        device: torch.device,
        dtype: torch.dtype,
        normalization: tuple[float, float] | None = None,
    ) -> None:
        self.reader = reader
        self.device = device
        self.checkpoint = checkpoint
        self.normalization = normalization
        self.convert(dtype)
        checkpoint.head.to(device=device)
        pad_id = text_config(checkpoint.whole).pad_token_id
        self._pad_id: int = cast(int, reader.tokenizer.pad_token_id if pad_id is None else pad_id)
        self._skipped_id = pad_id if checkpoint.skips_pad else None

    def convert(self, dtype: torch.dtype) -> None:
        """Convert the backbone to a dtype. The head keeps fp32: rounding it to bf16 first would not
        be undone."""
        whole = self.checkpoint.own_forward
        place(self.checkpoint.whole if whole else self.checkpoint.backbone, self.device, dtype)
        self.dtype = dtype

    @property
    def pads(self) -> bool:
        return self.parity.layout == "padded"

    @property
    def about(self) -> dict[str, Any]:
        """Device, dtype, layout and parity, for `GET /models`."""
        return self.parity.about(self.device, self.dtype)

    def prepare(self, inputs: Sequence[Text]) -> list[Any]:
        return [
            Prepared(len(one.ids), one, truncated=one.cut > 0) if isinstance(one, TokenIds) else one
            for one in self.reader.read(inputs)
        ]

    def run(self, batch: Sequence[Prepared]) -> list[RewardOutput]:
        tokens: list[TokenIds] = [one.content for one in batch]
        with torch.inference_mode(), memory_errors():
            found: Any = self.scores([one.ids for one in tokens], self.parity.layout)
            rows: list[Any] = found.tolist()
        return [self._output(row, one) for row, one in zip(rows, tokens, strict=True)]

    def scores(self, ids: Sequence[Ids], layout: str) -> torch.Tensor:
        """Return the head's outputs (sequences, outputs), in fp32, for one batch of sequences."""
        if self.checkpoint.own_forward:
            padded, mask = pad(ids, self._pad_id, self.device)
            return self.checkpoint.whole(padded, attention_mask=mask).logits.float()
        hidden = LAYOUTS[layout](self.checkpoint.backbone, ids, self._pad_id)
        ends = torch.tensor(_scored_positions(ids, self._skipped_id), device=self.device)
        return self.checkpoint.head(hidden[ends].float())

    def score_alone(self, ids: Ids) -> torch.Tensor:
        """Return the head's outputs (outputs,) for one sequence by transformers' own forward: no
        batch, no mask, no padding. All layouts are compared with this."""
        row = torch.tensor([list(ids)], device=self.device)
        if self.checkpoint.own_forward:
            return self.checkpoint.whole(row).logits[0].float()
        hidden = self.checkpoint.backbone(row).last_hidden_state
        end = _scored_positions([ids], self._skipped_id)[0]
        return self.checkpoint.head(hidden[0, end].float())

    def check_parity(self, layouts: Sequence[str]) -> None:
        """Compare the layouts with running sequences one by one; keep the first that agrees.

        Raises:
            ConfigError: none agrees.
        """
        known = [Text("Tell me a story.", text) for text in KNOWN_TEXTS]
        ids = [one.ids for one in self.reader.read(known) if isinstance(one, TokenIds)]
        if not ids:
            name = text_config(self.checkpoint.whole).name_or_path or "the reward model"
            raise ConfigError(f"{name}: max_tokens is too small for the texts of the self-test")
        with torch.inference_mode():
            self.parity, rejected = choose_layout(
                layouts, self.scores, ids, self.score_alone, self.dtype
            )
        for reason in rejected:
            log.warning("reward model: layout not used: %s", reason)

    def close(self) -> None:
        del self.checkpoint
        gc.collect()
        torch.cuda.empty_cache()

    def _output(self, row: Sequence[float], tokens: TokenIds) -> RewardOutput:
        made = self.checkpoint.made
        mean, scale = self.normalization or (0.0, 1.0)
        score = (row[0] + made.get("bias", 0.0) - mean) / scale
        std = None
        if len(row) == 2:
            variance = math.log1p(math.exp(-abs(row[1]))) + max(row[1], 0.0)  # softplus
            std = math.sqrt(variance + made["variance_floor"]) / scale
        return RewardOutput(score, len(tokens.ids), tokens.cut, std)


def _scored_positions(ids: Sequence[Ids], skipped_id: int | None) -> list[int]:
    """Return where in the packed row each score is read: at the sequence's last token, or, as in
    transformers' classifiers, at the last token that is not `skipped_id`."""
    positions: list[int] = []
    start = 0
    for one in ids:
        end = len(one) - 1
        while end > 0 and one[end] == skipped_id:
            end -= 1
        positions.append(start + end)
        start += len(one)
    return positions


def load_reward_model(config: RewardModelConfig) -> RewardModel:
    """Load the reward model that `config` describes, in this thread, and check it.

    Raises:
        ConfigError: it cannot be served; the message says why and what to do.
    """
    prepare_thread(config.threads)
    device = pick_device(config.device)
    folder = config.folder()
    normalization = baked_normalization(folder) if config.normalize else None
    remote = {"trust_remote_code": config.trust_remote_code}
    checkpoint = read_checkpoint(folder, base_model=config.base_model, **remote)
    _check_reading(config, checkpoint.made)
    tokenizer = read_tokenizer(folder, config.base_model, pad_token=config.pad_token, **remote)
    reader = TextReader(
        tokenizer,
        template=config.template,
        max_tokens=_max_tokens(config, checkpoint, tokenizer),
        truncation=config.truncation,
        append_eos=config.append_eos,
    )
    dtype = pick_dtype(config.dtype, device)
    with memory_errors():
        model = RewardModel(
            checkpoint, reader, device=device, dtype=dtype, normalization=normalization
        )
        model.check_parity(_layouts(config, model))
    log.info("%s: %s on %s, %s", config.label, dtype, device, model.parity)
    return model


def _check_reading(config: RewardModelConfig, made: Mapping[str, Any]) -> None:
    """Check that the texts are tokenized as in training; other tokens would give other scores."""
    wanted = {name: made[name] for name in ("template", "append_eos") if name in made}
    if any(getattr(config, name) != value for name, value in wanted.items()):
        words = ", ".join(f"{name}: {str(value).lower()}" for name, value in wanted.items())
        raise ConfigError(
            f"model {config.label} was trained with {words}; set the same in the profile"
        )


def _layouts(config: RewardModelConfig, model: RewardModel) -> list[str]:
    if config.layout != "auto":
        return [config.layout]
    if model.checkpoint.own_forward:
        return ["padded"]
    return layouts_for(model.device, model.dtype)


def _max_tokens(
    config: RewardModelConfig, checkpoint: Checkpoint, tokenizer: PreTrainedTokenizerBase
) -> int:
    context = context_tokens(checkpoint.backbone.config) or DEFAULT_MAX_TOKENS
    known: Any = tokenizer
    context = min(context, known.model_max_length)
    if config.max_tokens is not None and config.max_tokens > context:
        raise ConfigError(
            f"max_tokens is {config.max_tokens}, but model {config.label} reads {context} tokens"
        )
    return config.max_tokens or context
