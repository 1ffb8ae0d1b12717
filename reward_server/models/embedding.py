"""An embedding model: one vector per text, with a cache for texts seen before.

The transformer runs in the chosen dtype, pooling in fp32. The model is served only after it has
passed the parity self-test.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerBase

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.models.backends import BACKENDS, backend_forward
from touchstone_rewards.reward_server.models.checkpoint import (
    context_tokens,
    read_model,
    read_tokenizer,
    refuse_non_finite,
)
from touchstone_rewards.reward_server.models.config import EmbeddingConfig
from touchstone_rewards.reward_server.models.files import read_json, weight_shapes
from touchstone_rewards.reward_server.models.hardware import (
    layouts_for,
    memory_errors,
    pick_device,
    pick_dtype,
    place,
    prepare_thread,
)
from touchstone_rewards.reward_server.models.packed import LAYOUTS, Ids
from touchstone_rewards.reward_server.models.parity import KNOWN_TEXTS, Parity, choose_layout
from touchstone_rewards.reward_server.models.sentence import Pooling, Step, read_pooling
from touchstone_rewards.reward_server.models.text import Text, TextReader, TokenIds
from touchstone_rewards.reward_server.models.thread import Prepared
from touchstone_rewards.reward_server.models.vector_cache import Embedding, VectorCache

log = logging.getLogger(__name__)


class _Content(NamedTuple):
    key: bytes
    tokens: TokenIds


class Embedder:
    """A loaded embedding model; `parity` holds its layout and the result of its self-test."""

    parity: Parity

    def __init__(
        self,
        backbone: PreTrainedModel,
        reader: TextReader,
        pooling: tuple[Pooling, list[Step]],
        cache: VectorCache,
        *,
        prefix: str = "",
    ) -> None:
        self.backbone = backbone
        self.reader = reader
        self.cache = cache
        self.prefix = prefix
        self._pool, self._steps = pooling
        pad_id = reader.tokenizer.pad_token_id
        assert isinstance(pad_id, int)
        self._pad_id = pad_id
        self.forwards = dict(LAYOUTS)

    @property
    def pads(self) -> bool:
        return self.parity.layout not in ("packed", "varlen")

    @property
    def about(self) -> dict[str, Any]:
        """Device, dtype, layout and parity, for `GET /models`."""
        return self.parity.about(self.backbone.device, self.backbone.dtype)

    def prepare(self, inputs: Sequence[str]) -> list[Any]:
        keys = [self.cache.key(text) for text in inputs]
        # The samples of a group share their history: a text is tokenized once.
        found: dict[bytes, Any] = {key: self.cache.get(key) for key in keys}
        texts = dict(zip(keys, inputs, strict=True))
        unknown = [key for key, answer in found.items() if answer is None]
        read = self.reader.read([Text(None, self.prefix + texts[key]) for key in unknown])
        for key, one in zip(unknown, read, strict=True):
            found[key] = (
                Prepared(len(one.ids), _Content(key, one), truncated=one.cut > 0)
                if isinstance(one, TokenIds)
                else one
            )
        return [found[key] for key in keys]

    def run(self, batch: Sequence[Prepared]) -> list[Embedding]:
        # The same text may be queued several times, or have been computed while it waited.
        todo: dict[bytes, TokenIds] = {
            one.content.key: one.content.tokens
            for one in batch
            if self.cache.get(one.content.key) is None
        }
        found: dict[bytes, Embedding] = {}
        if todo:
            with torch.inference_mode(), memory_errors():
                vectors = self.vectors([one.ids for one in todo.values()], self.parity.layout)
            rows = vectors.cpu().numpy()
            for (key, tokens), row in zip(todo.items(), rows, strict=True):
                found[key] = Embedding(row.copy(), len(tokens.ids), tokens.cut)
        answers = [found.get(p.content.key) or self.cache.get(p.content.key) for p in batch]
        for key, embedding in found.items():
            self.cache.put(key, embedding)
        return [answer for answer in answers if answer is not None]

    def vectors(self, ids: Sequence[Ids], layout: str) -> torch.Tensor:
        """Return the vectors (sequences, dimensions), in fp32, of the sequences in one batch."""
        hidden = self.forwards[layout](self.backbone, ids, self._pad_id)
        return self._pooled(hidden, [len(one) for one in ids])

    def vector_alone(self, ids: Ids) -> torch.Tensor:
        """Return the vector of one sequence by transformers' own forward: no batch, no padding."""
        row = torch.tensor([list(ids)], device=self.backbone.device)
        return self._pooled(self.backbone(row).last_hidden_state[0], [len(ids)])[0]

    def check_parity(self, layouts: Sequence[str]) -> None:
        """Compare the layouts with running sequences one by one; keep the first that agrees.

        Raises:
            ConfigError: none agrees.
        """
        read = self.reader.read([Text(None, self.prefix + text) for text in KNOWN_TEXTS])
        ids = [one.ids for one in read if isinstance(one, TokenIds)]
        with torch.inference_mode():
            self.parity, rejected = choose_layout(
                layouts, self.vectors, ids, self.vector_alone, self.backbone.dtype
            )
        for reason in rejected:
            log.warning("embedding model: layout not used: %s", reason)

    def close(self) -> None:
        del self.backbone
        gc.collect()
        torch.cuda.empty_cache()

    def _pooled(self, hidden: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        vectors = self._pool(hidden, lengths)
        for step in self._steps:
            vectors = step(vectors)
        return vectors


def load_embedder(config: EmbeddingConfig) -> Embedder:
    """Load the embedding model that `config` describes, in this thread, and check it.

    Raises:
        ConfigError: it cannot be served; the message says why and what to do.
    """
    prepare_thread(config.threads)
    device = pick_device(config.device)
    dtype = pick_dtype(config.dtype, device)
    folder = config.folder()
    remote = {"trust_remote_code": config.trust_remote_code}
    weight_shapes(folder)
    tokenizer = read_tokenizer(folder, None, pad_token=None, **remote)
    with memory_errors():
        backbone = read_model(AutoModel, folder, remote, unused=("pooler.",))
        refuse_non_finite(folder, backbone.named_parameters())
        backbone.eval()
        engine = config.layout if config.layout in BACKENDS else None
        forward = engine and backend_forward(engine, backbone, dtype, config.threads)
        place(backbone, device, dtype)
        reader = TextReader(
            tokenizer,
            template="plain",
            max_tokens=_max_tokens(config, folder, backbone, tokenizer),
            truncation=config.truncation,
        )
        cache = VectorCache(config.digest(), config.cache_bytes)
        pooling = read_pooling(folder, device)
        model = Embedder(backbone, reader, pooling, cache, prefix=config.prefix)
        if engine and forward:
            model.forwards[engine] = forward
        auto = config.layout == "auto"
        model.check_parity(layouts_for(device, dtype) if auto else [config.layout])
    log.info("%s: %s on %s, %s", config.label, dtype, device, model.parity)
    return model


def _max_tokens(
    config: EmbeddingConfig,
    folder: Path,
    backbone: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
) -> int:
    said = read_json(folder / "sentence_bert_config.json").get("max_seq_length")
    known: Any = tokenizer
    limits: list[Any] = [said, context_tokens(backbone.config), known.model_max_length]
    most = min(int(limit) for limit in limits if limit)
    if config.max_tokens is not None and config.max_tokens > most:
        raise ConfigError(
            f"max_tokens is {config.max_tokens}, but model {config.label} reads {most} tokens"
        )
    return config.max_tokens or most
