"""Check that a model's folder works, and that a fetched model gives the known figures.

The figures of the known models were measured once on the pinned packages and compared with the
packages' own engines; docs/models.md says how close they came.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from touchstone_rewards.reward_server.errors import ConfigError, RunFailed
from touchstone_rewards.reward_server.models.files import read_json, weight_shapes

Figures = dict[str, Any]


class NextToken(NamedTuple):
    """A text, its number of tokens, and the likeliest next token with its log-probability."""

    text: str
    tokens: int
    next_id: int
    logprob: float


SMOLLM2_TEXTS = (
    NextToken("The capital of France is", 5, 7042, -0.258),
    NextToken("In 1969, 2 astronauts walked on the Moon:", 15, 216, -1.824),
    NextToken("def add(a, b):\n    return a", 10, 1232, -0.114),
    NextToken("Zürich, naïve café — 東京 and Москва; 3.14159 × 10^8!", 36, 198, -1.586),
)
SMOLLM2_CHAT = NextToken("What is 12 + 7?", 42, 216, -0.628)
SMOLLM2_BEGUN = "The answer is"
PROSE = (
    "The Amazon rainforest covers much of the basin of the Amazon River in South America. It is "
    "home to about ten percent of the known species in the world. Its trees release water into "
    "the air, which falls again as rain. Large parts of the forest have been cleared for cattle "
    "and for soy beans."
)
SMOLLM2_PERPLEXITY = 21.341
E5_TEXTS = {
    "how much protein per day": 10,
    "a bowl of lentils holds eighteen grams of protein": 18,
    "今天天气很好，我们去公园散步吧。": 15,
    "夜里下了大雪，路都看不见了。": 18,
    "Zürich, naïve café — Москва": 13,
}
# The cosines of the first text with the others, and of the two Chinese texts.
E5_COSINES = {(0, 1): 0.8718, (0, 2): 0.7950, (0, 3): 0.7581, (0, 4): 0.7773, (2, 3): 0.8809}
# Differences in float32 between machines, from the order of sums.
LOGPROB_TOLERANCE, COSINE_TOLERANCE, PERPLEXITY_TOLERANCE = 0.005, 0.001, 0.02


def verify_known(name: str, folder: Path) -> Figures:
    """Measure a known model on known texts.

    Raises:
        RunFailed: a figure differs; the message says which.
    """
    return VERIFY[name](folder)


def describe(folder: Path) -> Figures:
    """Check that a folder can be served or trained from, and return facts about it.

    Raises:
        ConfigError: no config, no safetensors, or a tokenizer that cannot be read.
    """
    import transformers

    config = read_json(folder / "config.json")
    if not config:
        raise ConfigError(f"{folder} has no config.json, so it is not a model folder")
    weights = sum(math.prod(shape) for shape in weight_shapes(folder).values())
    hf: Any = transformers
    try:
        tokenizer = hf.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"{folder} has no readable tokenizer: {reason}") from error
    return {
        "architecture": ", ".join(config.get("architectures") or [str(config.get("model_type"))]),
        "weights": f"{weights:,}",
        "vocabulary": len(tokenizer),
        "chat template": "yes" if tokenizer.chat_template else "no",
    }


def _verify_smollm2(folder: Path) -> Figures:
    import torch
    import transformers

    hf: Any = transformers
    tokenizer = hf.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = hf.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": SMOLLM2_CHAT.text}], tokenize=False, add_generation_prompt=True
    )
    asked = SMOLLM2_CHAT._replace(text=f"{chat}{SMOLLM2_BEGUN}")
    worst = 0.0
    with torch.inference_mode():
        for known in (*SMOLLM2_TEXTS, asked):
            ids = tokenizer(known.text, return_tensors="pt").input_ids
            _same("tokens of", known.text, ids.shape[1], known.tokens, 0)
            logps = model(ids).logits[0, -1].float().log_softmax(-1)
            _same("next token of", known.text, int(logps.argmax()), known.next_id, 0)
            found = float(logps[known.next_id])
            _same("log-probability behind", known.text, found, known.logprob, LOGPROB_TOLERANCE)
            worst = max(worst, abs(found - known.logprob))
        ids = tokenizer(PROSE, return_tensors="pt").input_ids
        perplexity = math.exp(float(model(ids, labels=ids).loss))
    _same("perplexity of", PROSE, perplexity, SMOLLM2_PERPLEXITY, PERPLEXITY_TOLERANCE)
    texts = len(SMOLLM2_TEXTS) + 1
    return {"texts": texts, "worst_logprob_error": round(worst, 5), "perplexity": perplexity}


def _verify_e5(folder: Path) -> Figures:
    import numpy as np

    from touchstone_rewards.reward_server.models.config import EmbeddingConfig
    from touchstone_rewards.reward_server.models.embedding import load_embedder

    model = load_embedder(EmbeddingConfig(model=str(folder), prefix="query: ", cache_bytes=0))
    try:
        prepared = model.prepare(list(E5_TEXTS))
        for (text, tokens), each in zip(E5_TEXTS.items(), prepared, strict=True):
            _same("tokens of", text, each.tokens, tokens, 0)
        vectors = np.array([each.vector for each in model.run(prepared)])
    finally:
        model.close()
    worst = 0.0
    for (one, other), cosine in E5_COSINES.items():
        found = float(vectors[one] @ vectors[other])
        text = list(E5_TEXTS)[other]
        _same(f"cosine of text {one} with", text, found, cosine, COSINE_TOLERANCE)
        worst = max(worst, abs(found - cosine))
    return {"texts": len(E5_TEXTS), "worst_cosine_error": round(worst, 5)}


def _same(what: str, text: str, found: float, known: float, tolerance: float) -> None:
    if abs(found - known) > tolerance:
        raise RunFailed(
            f"the converted model does not match the known one: {what} {text[:40]!r} is {found:g}, "
            f"expected {known:g}. Nothing was kept; another transformers version may be the cause"
        )


VERIFY: dict[str, Callable[[Path], Figures]] = {
    "smollm2": _verify_smollm2,
    "e5-multilingual": _verify_e5,
}
