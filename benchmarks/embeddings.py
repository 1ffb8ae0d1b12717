"""MiniLM on texts of 16 to 256 tokens: as served, against fp32 FIFO batches and encode().

Measures texts per second of CPU time on one thread (wall-clock time on a GPU), rounds in turn,
medians, including tokenization, with the cache off. Peers: transformers' forward in fp32 over
batches of 32 in order of arrival, and `SentenceTransformer.encode` (which sorts by length) in both
dtypes.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from benchmarks import record
from benchmarks._neural import (
    MINILM,
    forward_flops,
    matmul_rates,
    rounds_of,
    rows_line,
    run_as_served,
    texts_of,
)
from touchstone_rewards.reward_server.models import load as load_model
from touchstone_rewards.reward_server.models.config import EmbeddingConfig
from touchstone_rewards.reward_server.models.embedding import Embedder
from touchstone_rewards.reward_server.models.files import resolve
from touchstone_rewards.reward_server.models.hardware import pick_dtype

TEXTS, ROUNDS, FIFO_BATCH = 96, 3, 32


def load(dtype: Any) -> Embedder:
    model = load_model(EmbeddingConfig(dtype=dtype, cache_bytes=0))
    assert isinstance(model, Embedder)
    return model


def ours(model: Embedder, texts: list[str]) -> np.ndarray:
    return np.stack([one.vector for one in run_as_served(model, model.prepare(texts))])


def fifo(model: Embedder, texts: list[str]) -> np.ndarray:
    """Embed batches of 32 in order of arrival, padded to their longest text."""
    vectors: list[np.ndarray] = []
    with torch.inference_mode():
        for start in range(0, len(texts), FIFO_BATCH):
            prepared = model.prepare(texts[start : start + FIFO_BATCH])
            ids = [one.content.tokens.ids for one in prepared]
            vectors.append(model.vectors(ids, "padded").cpu().numpy())
    return np.concatenate(vectors)


def row(what: str, ours: float, peer: float, floor: Any) -> dict[str, Any]:
    return {"what": what, "ours": ours, "peer": peer, "ratio": ours / peer, "floor": floor}


def main() -> None:
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    best = str(pick_dtype("auto", device)).removeprefix("torch.")
    rates = matmul_rates(device)
    draw = random.Random(1)
    texts = texts_of([draw.randint(16, 254) for _ in range(TEXTS)])
    fp32, served = load("float32"), load("auto")
    encoders = {
        dtype: SentenceTransformer(str(resolve(MINILM))).to(getattr(torch, dtype))
        for dtype in ("float32", "bfloat16")
    }
    seconds = rounds_of(
        {
            "served": lambda: ours(served, texts),
            "fp32": lambda: ours(fp32, texts),
            "fp32 FIFO": lambda: fifo(fp32, texts),
            "encode float32": lambda: encoders["float32"].encode(texts),
            "encode bfloat16": lambda: encoders["bfloat16"].encode(texts),
        },
        ROUNDS,
    )
    rate = {name: TEXTS / took for name, took in seconds.items()}
    lengths = [one.tokens for one in served.prepare(texts)]
    flops = forward_flops(served.backbone, lengths)
    cosines = (ours(served, texts) * encoders["float32"].encode(texts)).sum(1)
    rows = [
        row(f"texts a second in {best}, against fp32 FIFO", rate["served"], rate["fp32 FIFO"], 10),
        row("texts a second in float32, against fp32 FIFO", rate["fp32"], rate["fp32 FIFO"], None),
        row(
            f"texts a second in {best}, against encode in {best}",
            rate["served"],
            rate[f"encode {best}"],
            1.5,
        ),
        row(
            "texts a second in float32, against encode in float32",
            rate["fp32"],
            rate["encode float32"],
            None,
        ),
        row(
            f"useful operations in {best}, over the measured {best} matmul rate",
            flops / seconds["served"],
            rates[best],
            0.38 if best == "bfloat16" else 0.7,
        ),
        row(
            "useful operations in float32, over the measured float32 matmul rate",
            flops / seconds["fp32"],
            rates["float32"],
            None,
        ),
        row("least cosine to fp32", float(cosines.min()), 1.0, 0.9998),
    ]
    rows_line(rows)
    record(
        "embeddings",
        rows,
        device=str(device),
        layout=served.parity.layout,
        matmul_rates=rates,
        tokens=sum(lengths),
        rounds=ROUNDS,
    )
