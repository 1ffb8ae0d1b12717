"""Convert a llama model in a GGUF file to an ordinary folder: weights, tokenizer, chat template.

The input is a GGUF file of architecture llama with a byte-level BPE vocabulary. The folder has
`config.json`, `model.safetensors` in float32, and `tokenizer.json` with the chat template.
transformers can read such a file itself, but refuses to save the result.

Source: the GGUF specification of ggml-org/ggml, docs/gguf.md; for the order of q and k,
`LlamaModel.permute` of ggml-org/llama.cpp, convert_hf_to_gguf.py.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from touchstone_rewards.reward_server.errors import ConfigError

# Tensors of a layer: the name in GGUF, and the name in transformers.
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OTHER_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
CONTROL_TOKEN = 3  # ggml's token type of special tokens
# The supported pre-tokenizers, by ggml's names: how text is split before BPE.
PRE_TOKENIZERS = ("smollm",)


def convert(source: Path, folder: Path) -> None:
    """Write the model in `source` as a folder.

    Raises:
        ConfigError: it is not a llama model with a supported vocabulary.
    """
    gguf: Any = import_module("gguf")
    reader = gguf.GGUFReader(source)
    facts = {name: field.contents() for name, field in reader.fields.items()}
    kind = (facts.get("general.architecture"), facts.get("tokenizer.ggml.model"))
    cut = facts.get("tokenizer.ggml.pre")
    if kind != ("llama", "gpt2") or cut not in PRE_TOKENIZERS:
        raise ConfigError(
            f"{source} holds a model of {kind[0]!r} with a vocabulary of {kind[1]!r} and the "
            f"pre-tokenizer {cut!r}; expected llama, gpt2 and {', '.join(PRE_TOKENIZERS)}"
        )
    heads = {
        "attn_q": int(facts["llama.attention.head_count"]),
        "attn_k": int(facts["llama.attention.head_count_kv"]),
    }
    weights: dict[str, np.ndarray] = {}
    for tensor in reader.tensors:
        values = np.array(gguf.dequantize(tensor.data, tensor.tensor_type), np.float32)
        layer, name = _place(tensor.name)
        if name in heads:
            values = in_halves(values, heads[name])
        weights[layer] = values
    _save_model(weights, facts, folder)
    _save_tokenizer(facts, folder)


def in_halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """Return the rows of a query or key projection in the order of transformers.

    ggml puts the two rows of a rotary pair next to each other; transformers puts the first rows of
    all pairs of a head before the second rows.

    >>> in_halves(np.array([[0], [2], [1], [3]]), 1).ravel().tolist()
    [0, 1, 2, 3]
    """
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1)
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows.shape))


def _place(name: str) -> tuple[str, str]:
    """Return the tensor's name in transformers, and its kind in GGUF."""
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{LAYER_NAMES[parts[2]]}.weight", parts[2]
    return f"{OTHER_NAMES[parts[0]]}.weight", parts[0]


def _save_model(weights: dict[str, np.ndarray], facts: dict[str, Any], folder: Path) -> None:
    import torch
    import transformers

    hf: Any = transformers
    width, heads = facts["llama.embedding_length"], facts["llama.attention.head_count"]
    ids = _special_ids(facts)
    config = hf.LlamaConfig(
        vocab_size=len(facts["tokenizer.ggml.tokens"]),
        hidden_size=width,
        intermediate_size=facts["llama.feed_forward_length"],
        num_hidden_layers=facts["llama.block_count"],
        num_attention_heads=heads,
        num_key_value_heads=facts["llama.attention.head_count_kv"],
        head_dim=width // heads,
        max_position_embeddings=facts["llama.context_length"],
        # The file has it as float32, where 1e-5 is 9.99999974e-6.
        rms_norm_eps=float(f"{facts['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        rope_parameters={"rope_type": "default", "rope_theta": facts["llama.rope.freq_base"]},
        tie_word_embeddings=True,
        **ids,
    )
    model = hf.LlamaForCausalLM(config)
    state = {name: torch.tensor(values) for name, values in weights.items()}
    missing, unknown = model.load_state_dict(state, strict=False)
    if set(missing) - {"lm_head.weight"} or unknown:
        raise ConfigError(f"weights do not fit: missing {missing}, unknown {unknown}")
    model.tie_weights()
    model.generation_config = hf.GenerationConfig(**ids)
    model.to(torch.float32).save_pretrained(folder)


def _special_ids(facts: dict[str, Any]) -> dict[str, int]:
    names = {"bos": "bos", "eos": "eos", "pad": "padding"}
    return {
        f"{ours}_token_id": facts[f"tokenizer.ggml.{name}_token_id"] for ours, name in names.items()
    }


def _save_tokenizer(facts: dict[str, Any], folder: Path) -> None:
    import tokenizers
    import transformers

    parts: Any = tokenizers
    hf: Any = transformers
    tokens, kinds = facts["tokenizer.ggml.tokens"], facts["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in facts["tokenizer.ggml.merges"]]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    made = parts.Tokenizer(parts.models.BPE(vocab=vocabulary, merges=merges))
    # ggml's "smollm": split off every digit, then split as GPT-2 does.
    made.pre_tokenizer = parts.pre_tokenizers.Sequence(
        [
            parts.pre_tokenizers.Digits(individual_digits=True),
            parts.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    made.decoder = parts.decoders.ByteLevel()
    made.add_special_tokens(
        [
            parts.AddedToken(token, special=True, normalized=False)
            for token, kind in zip(tokens, kinds, strict=True)
            if kind == CONTROL_TOKEN
        ]
    )
    ids = _special_ids(facts)
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=tokens[ids["bos_token_id"]],
        eos_token=tokens[ids["eos_token_id"]],
        pad_token=tokens[ids["pad_token_id"]],
        unk_token=tokens[facts["tokenizer.ggml.unknown_token_id"]],
        model_max_length=facts["llama.context_length"],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = facts["tokenizer.chat_template"]
    tokenizer.save_pretrained(folder)
