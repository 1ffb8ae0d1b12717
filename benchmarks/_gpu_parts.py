"""The parts of `gpu_minutes`: each measures one thing on the device and yields its rows.

Weights are random but have the shapes of real models, so they cost the same. Both sides of a ratio
use the same weights and dtype. `dry` uses sizes for a CPU.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2Model

from benchmarks import ROOT
from benchmarks._neural import forward_flops, matmul_flops, rounds_of, run_as_served, spread
from touchstone_rewards.reward_server.models.checkpoint import Checkpoint
from touchstone_rewards.reward_server.models.embedding import Embedder
from touchstone_rewards.reward_server.models.fetchable import FETCHED_FILE, fetched_folder
from touchstone_rewards.reward_server.models.hardware import layouts_for, pick_device, pick_dtype
from touchstone_rewards.reward_server.models.parity import KNOWN_TEXTS
from touchstone_rewards.reward_server.models.reward import RewardModel
from touchstone_rewards.reward_server.models.sentence import mean
from touchstone_rewards.reward_server.models.text import Text, TextReader
from touchstone_rewards.reward_server.models.vector_cache import VectorCache
from touchstone_rewards.trainer.toy.tiny_model import train_tokenizer

Rows = Iterator[dict[str, Any]]
BATCH_TOKENS = (4096, 32_768)  # the server's default, and a budget for large devices
FIFO_BATCH, ROUNDS = 32, 3
# Operations per weight and token of a GRPO update: 2 to generate, 2 and 4 to train.
GRPO_OPERATIONS = 8


class Shape(NamedTuple):
    """The sizes of a Qwen2 model."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int = 151_936


SHAPES = {
    "0.5B": Shape(896, 4864, 24, 14, 2),
    "1.5B": Shape(1536, 8960, 28, 12, 2),
    "7B": Shape(3584, 18_944, 28, 28, 4, 152_064),
}
DRY_SHAPE = Shape(64, 128, 2, 4, 2, 1024)


def gpu_tests(dry: bool) -> Rows:
    """Run every test marked `gpu`; on a CPU the tests are collected and skipped."""
    report = ROOT / "runs" / "gpu_minutes_tests.xml"
    report.parent.mkdir(exist_ok=True)
    words = ["-q", "-n", "0", "-m", "gpu", f"--junitxml={report}", "tests/reward_server/models"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"tests failed: {done.stdout[-600:]}{done.stderr[-300:]}")
    suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    counts = {name: int(suite.get(name, 0)) for name in ("tests", "skipped")}
    ran = counts["tests"] - counts["skipped"]
    yield row("tests marked gpu: passed, of those there are", ran, counts["tests"])


def reward_model(size: str, dry: bool) -> Rows:
    """Measure a reward model as served (packed or varlen batches) against padded FIFO batches of
    32."""
    device = pick_device("auto")
    model = _reward_model(DRY_SHAPE if dry else SHAPES[size], device)
    draw = random.Random(0)
    count, most = (6, 64) if dry else (256, 2048)
    lengths = spread((draw.lognormvariate(5.3, 1.0) for _ in range(count)), 16, most)
    prepared = model.prepare([Text(None, text) for text in _texts(lengths)])
    yield from _served(f"reward model {size}", model, model.checkpoint.backbone, prepared, _padded)


def embeddings(size: str, dry: bool) -> Rows:
    """Measure an embedding model as served: mean pooling, texts of 16 to 256 tokens, no cache."""
    device = pick_device("auto")
    backbone, reader = _backbone(DRY_SHAPE if dry else SHAPES[size], device), _reader()
    cache = VectorCache("random", 0)
    normalize = torch.nn.functional.normalize
    model = Embedder(backbone, reader, (mean, [normalize]), cache)
    with torch.inference_mode():
        model.check_parity(layouts_for(device, backbone.dtype))
    draw = random.Random(1)
    count, most = (8, 32) if dry else (1024, 256)
    prepared = model.prepare(_texts([draw.randint(16, most) for _ in range(count)]))

    def padded(batch: list[Any]) -> object:
        return model.vectors([one.content.tokens.ids for one in batch], "padded")

    yield from _served(f"embeddings {size}", model, backbone, prepared, lambda _: padded)


def grpo(vllm: bool, dry: bool) -> Rows:
    """Run GRPO on SmolLM2 with its own server: tokens per second, MFU, the wait for rewards."""
    from touchstone_rewards.trainer.__main__ import main as trainer

    runs = ROOT / "runs" / f"gpu_minutes_grpo_{'vllm' if vllm else 'transformers'}"
    folder, weights = _policy(runs.with_name("gpu_minutes_policy"), dry)
    sums = [
        {"prompt": [{"role": "user", "content": f"What is {a} + {b}?"}], "answer": a + b}
        for a in range(8)
        for b in range(8)
    ]
    data = runs.with_suffix(".jsonl")
    data.write_text("".join(json.dumps(each) + "\n" for each in sums), encoding="utf-8")
    batch, group, length, steps = (4, 2, 4, 2) if dry else (128, 8, 64, 8)
    cuda = torch.cuda.is_available()
    fields: dict[str, Any] = {
        **{"model_name_or_path": folder, "dataset_name": data, "output_dir": runs},
        **{"ground_truth_column": "answer", "chat_template": "chatml", "serve": True},
        **{"assistant_prefill": "The answer is", "reward_profile": "math"},
        **{"per_device_train_batch_size": batch, "num_generations": group, "max_steps": steps},
        **{"max_completion_length": length, "logging_steps": 1, "save_strategy": "no"},
        **{"bf16": cuda, "use_cpu": not cuda, "gradient_checkpointing": False, "beta": 0.0},
        **{"report_to": "none", "disable_tqdm": True, "overwrite": True},
    }
    if vllm:
        fields |= {"use_vllm": True, "vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.3}
    if code := trainer(["grpo", *(f"--{name}={value}" for name, value in fields.items())]):
        raise RuntimeError(f"trainer grpo ended with exit code {code}")
    yield from _grpo_rows("vLLM" if vllm else "transformers", runs, folder, weights)


def _grpo_rows(engine: str, runs: Path, folder: Path, weights: str) -> Rows:
    state = json.loads((runs / "trainer_state.json").read_text(encoding="utf-8"))
    steps = [each for each in state["log_history"] if each.get("step_time")]
    # The first update warms up the device; tokens are counted from its end.
    tokens = sum(b["num_tokens"] - a["num_tokens"] for a, b in pairwise(steps))
    seconds = sum(each["step_time"] for each in steps[1:])
    waits = [
        value for each in steps[1:] for name, value in each.items() if "rewards_wait_s" in name
    ]
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    size = _weights_of(config)
    device = pick_device("auto")
    rate = _matmul_rate(device)
    flops = GRPO_OPERATIONS * size * tokens / seconds
    name = f"GRPO with {engine}"
    about = {"weights": weights, "million_weights": round(size / 1e6, 1), "updates": len(steps)}
    yield row(f"{name}: tokens a second, prompts and responses", tokens / seconds, **about)
    yield row(f"{name}: seconds an update", seconds / (len(steps) - 1))
    yield row(
        f"{name}: wait for rewards in seconds, of the update", fmean(waits), seconds / len(waits)
    )
    yield row(f"{name}: useful operations a second, of the matmul rate (MFU)", flops, rate)


def _weights_of(config: dict[str, Any]) -> float:
    """Count the matrix weights of a Llama that a token passes through, including the output
    layer."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    kv = hidden * config["num_key_value_heads"] / config["num_attention_heads"]
    layer = 2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * inner
    return config["num_hidden_layers"] * layer + config["vocab_size"] * hidden


def _policy(folder: Path, dry: bool) -> tuple[Path, str]:
    """Return SmolLM2 if it was fetched, else random weights of its shape; for dry runs a tiny
    model."""
    fetched = fetched_folder("smollm2")
    if (fetched / FETCHED_FILE).is_file() and not dry:
        return fetched, "SmolLM2-135M-Instruct"
    tokenizer = train_tokenizer(["What is 1 + 2? The answer is user assistant system"] * 2)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    if not dry:
        sizes = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30}
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    if not dry:
        heads = {"num_attention_heads": 9, "num_key_value_heads": 3}
    torch.manual_seed(0)
    settings: dict[str, Any] = {**sizes, **heads, **ids, "vocab_size": len(tokenizer)}
    config = LlamaConfig(bos_token_id=None, tie_word_embeddings=True, **settings)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, f"random, {'tiny' if dry else 'of the shape of SmolLM2, a small vocabulary'}"


def _backbone(shape: Shape, device: torch.device) -> Qwen2Model:
    """Make random weights directly on the device in the served dtype."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=4096,
        pad_token_id=0,
    )
    normal = torch.get_default_dtype()
    torch.set_default_dtype(pick_dtype("auto", device))
    try:
        with device:
            return Qwen2Model(config).eval()
    finally:
        torch.set_default_dtype(normal)


def _reader() -> TextReader:
    tokenizer = train_tokenizer(KNOWN_TEXTS)
    return TextReader(tokenizer, template="plain", max_tokens=4096, truncation="right")


def _reward_model(shape: Shape, device: torch.device) -> RewardModel:
    backbone = _backbone(shape, device)
    head = torch.nn.Linear(shape.hidden, 1, bias=False)
    checkpoint = Checkpoint(backbone, backbone, head, own_forward=False, skips_pad=False)
    dtype = backbone.dtype
    model = RewardModel(checkpoint, _reader(), device=device, dtype=dtype)
    model.check_parity(layouts_for(device, dtype))
    return model


def _texts(lengths: list[int]) -> list[str]:
    """Make texts of about these numbers of tokens from the words of the tokenizer's own texts."""
    draw = random.Random(0)
    words = KNOWN_TEXTS[1].split()
    return [" ".join(draw.choices(words, k=length)) for length in lengths]


def _padded(model: RewardModel) -> Callable[[list[Any]], object]:
    return lambda batch: model.scores([one.content.ids for one in batch], "padded")


def _served(
    name: str, model: Any, backbone: Any, prepared: list[Any], padded: Callable[[Any], Any]
) -> Rows:
    """Measure speed by batch size, the share of the device's matmul rate, and the self-test's
    drift."""
    run_batch = padded(model)

    def fifo() -> None:
        with torch.inference_mode():
            for start in range(0, len(prepared), FIFO_BATCH):
                run_batch(prepared[start : start + FIFO_BATCH])

    sides: dict[str, Callable[[], object]] = {"fifo": fifo}
    for budget in BATCH_TOKENS:
        sides[str(budget)] = lambda budget=budget: run_as_served(model, prepared, budget)
    rounds_of(sides, 1)  # warm up
    seconds = rounds_of(sides, ROUNDS)
    lengths = [one.tokens for one in prepared]
    flops = forward_flops(backbone, lengths)
    rate = _matmul_rate(backbone.device, backbone.dtype)
    about = {"layout": model.parity.layout, "dtype": str(backbone.dtype).removeprefix("torch.")}
    for budget in map(str, BATCH_TOKENS):
        what = f"{name}, batches of {budget} tokens: tokens a second"
        ours, theirs = (sum(lengths) / seconds[side] for side in (budget, "fifo"))
        yield row(f"{what}, against padded FIFO", ours, theirs, **about)
        texts = len(lengths) / seconds[budget]
        yield row(f"{name}, batches of {budget} tokens: texts a second", texts)
        used = flops / seconds[budget]
        yield row(f"{name}, batches of {budget} tokens: operations, of matmul (MFU)", used, rate)
    drift, most = model.parity.drift, model.parity.tolerance
    yield row(f"{name}: drift of the self-test, of its tolerance", drift, most)


def _matmul_rate(device: torch.device, dtype: torch.dtype | None = None) -> float:
    """Measure operations a second of a large matrix product in the dtype of the models."""
    dtype = dtype or pick_dtype("auto", device)
    return matmul_flops(device, dtype, 8192 if device.type == "cuda" else 512)


def row(what: str, ours: float, peer: float | None = None, **about: Any) -> dict[str, Any]:
    """Return one row of the table."""
    ratio = ours / peer if peer else 0.0
    return {"what": what, "ours": ours, "peer": peer, "ratio": ratio, "floor": None, **about}
