"""A reward model on texts of 16 to 2,048 tokens: packed as served, against FIFO batches of 32.

Measures sequences per second of CPU time on one thread (wall-clock time on a GPU), rounds in turn,
medians. Both sides use the same weights and dtype, with the head in fp32; the peer is transformers'
own forward over batches in order of arrival, padded to their longest sequence.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks import record
from benchmarks._neural import (
    forward_flops,
    matmul_rates,
    rounds_of,
    rows_line,
    run_as_served,
    spread,
    texts_of,
    value_head_model,
)
from touchstone_rewards.reward_server.models import load as load_model
from touchstone_rewards.reward_server.models.config import RewardModelConfig
from touchstone_rewards.reward_server.models.reward import RewardModel
from touchstone_rewards.reward_server.models.text import Text

SEQUENCES, ROUNDS, FIFO_BATCH = 64, 3, 32


def fifo(model: RewardModel, prepared: list[Any]) -> list[float]:
    """Score batches of 32 in order of arrival, padded to their longest sequence."""
    scores: list[float] = []
    with torch.inference_mode():
        for start in range(0, len(prepared), FIFO_BATCH):
            ids = [one.content.ids for one in prepared[start : start + FIFO_BATCH]]
            scores += model.scores(ids, "padded").tolist()
    return scores


def alone(model: RewardModel, prepared: list[Any]) -> list[float]:
    with torch.inference_mode():
        return [float(model.score_alone(one.content.ids)) for one in prepared]


def measure(folder: Path, dtype: Any, rates: dict[str, float]) -> list[dict[str, Any]]:
    model = load_model(RewardModelConfig(model=str(folder), dtype=dtype, template="plain"))
    assert isinstance(model, RewardModel)
    draw = random.Random(0)
    lengths = spread((draw.lognormvariate(5.3, 1.0) for _ in range(SEQUENCES)), 16, 2048)
    prepared = model.prepare([Text(None, text) for text in texts_of(lengths)])
    seconds = rounds_of(
        {"ours": lambda: run_as_served(model, prepared), "fifo": lambda: fifo(model, prepared)},
        ROUNDS,
    )
    seconds |= rounds_of({"alone": lambda: alone(model, prepared)}, 1)
    found = [one.score for one in run_as_served(model, prepared)]
    drift = max(abs(a - b) for a, b in zip(found, alone(model, prepared), strict=True))
    tokens = sum(one.tokens for one in prepared)
    padded = sum(
        max(one.tokens for one in prepared[i : i + FIFO_BATCH]) * len(prepared[i : i + FIFO_BATCH])
        for i in range(0, SEQUENCES, FIFO_BATCH)
    )
    flops = forward_flops(model.checkpoint.backbone, [one.tokens for one in prepared])
    rate = {name: SEQUENCES / took for name, took in seconds.items()}
    use = flops / seconds["ours"] / rates[dtype]
    return [
        {
            "what": f"{dtype}: sequences a second, against FIFO batches of {FIFO_BATCH}",
            "ours": rate["ours"],
            "peer": rate["fifo"],
            "ratio": rate["ours"] / rate["fifo"],
            "floor": 6.5,
            "layout": model.parity.layout,
        },
        {
            "what": f"{dtype}: sequences a second, against one by one",
            "ours": rate["ours"],
            "peer": rate["alone"],
            "ratio": rate["ours"] / rate["alone"],
            "floor": None,
        },
        {
            "what": f"{dtype}: share of padding in what is computed, percent",
            "ours": 0.0 if not model.pads else None,
            "peer": 100 * (1 - tokens / padded),
            "ratio": 0.0,
            "floor": "at most 1" if not model.pads else None,
        },
        {
            "what": f"{dtype}: largest difference to one by one",
            "largest_score": max(map(abs, found)),
            "ours": drift,
            "peer": None,
            "ratio": drift / model.parity.tolerance,
            "floor": "at most 1e-5" if dtype == "float32" else None,
        },
        {
            "what": f"{dtype}: useful operations over the measured {dtype} matmul rate",
            "ours": flops / seconds["ours"],
            "peer": rates[dtype],
            "ratio": use,
            "floor": None,
        },
    ]


def main() -> None:
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rates = matmul_rates(device)
    with tempfile.TemporaryDirectory() as folder:
        path = value_head_model(Path(folder) / "model", layers=4, hidden=256, inner=1024)
        rows = [row for dtype in ("float32", "bfloat16") for row in measure(path, dtype, rates)]
    rows_line(rows)
    record("reward_model", rows, device=str(device), matmul_rates=rates, rounds=ROUNDS)
