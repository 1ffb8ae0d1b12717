"""Make a policy and a reward model with random weights and a tokenizer of single bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from benchmarks._parity.material import END

CHATML = (
    "{% for turn in messages %}<|im_start|>{{ turn['role'] }}\n{{ turn['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_models(folder: Path) -> tuple[Path, Path]:
    """Write the policy and the reward model, and return their folders."""
    torch.manual_seed(24)
    tokenizer: Any = chat_tokenizer()
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    policy, reward_model = folder / "policy", folder / "reward_model"
    for path in (policy, reward_model):
        Qwen2ForCausalLM(config).save_pretrained(path)
        tokenizer.save_pretrained(path)
        told = path / "tokenizer_config.json"  # transformers 4 lacks the classes of transformers 5
        fields = json.loads(told.read_text()) | {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_input_names": ["input_ids", "attention_mask"],
            "chat_template": CHATML,
            "additional_special_tokens": ["<|im_start|>"],
        }
        for name in ("backend", "is_local", "extra_special_tokens"):
            fields.pop(name, None)
        told.write_text(json.dumps(fields))
    head = {"v_head.summary.weight": torch.randn(1, 32), "v_head.summary.bias": torch.zeros(1)}
    save_file(head, reward_model / "value_head.safetensors", {"format": "pt"})
    return policy, reward_model


def chat_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of single bytes with ChatML, which decodes to the exact original text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({byte: i for i, byte in enumerate(alphabet)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(  # pyright: ignore[reportAttributeAccessIssue]
        add_prefix_space=False, use_regex=False
    )
    inner.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<|endoftext|>",
        eos_token=END,
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHATML,
        clean_up_tokenization_spaces=False,
    )
