"""Tiny reward models and their tokenizers, made on the spot: random weights, real formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    MistralConfig,
    MistralForSequenceClassification,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2ForSequenceClassification,
    Qwen2Model,
    Qwen2PreTrainedModel,
)

_TEXT = (
    "the reward of a story is what it leaves with whoever reads to its end Tell me one two three "
    "four five six seven eight nine ten . user assistant system"
)
WORDS = _TEXT.split()
SPECIAL = ["<pad>", "<bos>", "<eos>", "<unk>"]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for turn in messages %}"
    "{% if turn['role'] == 'refused' %}{{ raise_exception('no such role') }}{% endif %}"
    " {{ turn['role'] }} {{ turn['content'] }} {{ eos_token }}{% endfor %}"
)
# As in Qwen, SmolLM2 and many others, a line end follows the end token of every turn.
CHATML = (
    "{% for turn in messages %}<|im_start|>{{ turn['role'] }}\n{{ turn['content'] }}<|im_end|>\n"
    "{% endfor %}"
)
CONTEXT = 512


def tokenizer(**changes: Any) -> PreTrainedTokenizerFast:
    """Make a word-level tokenizer that puts a BOS before every text, as many models' do."""
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys([*SPECIAL, *WORDS]))}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    settings = {
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "chat_template": CHAT_TEMPLATE,
    } | changes
    return PreTrainedTokenizerFast(tokenizer_object=inner, **settings)


def chatml_tokenizer() -> PreTrainedTokenizerFast:
    """Make a tokenizer of bytes that pads with the token that ends every turn, as many do."""
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({byte: i for i, byte in enumerate(bytes_)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken("<|im_start|>"), AddedToken("<|im_end|>")])
    ends = {"eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, chat_template=CHATML, **ends)


def chatml_config(**changes: Any) -> Qwen2Config:
    """Return the config for `chatml_tokenizer`: its end token is its padding token."""
    ends = {"pad_token_id": 257, "eos_token_id": 257, "bos_token_id": None}
    return config(vocab_size=258, **ends, **changes)


def config(kind: type = Qwen2Config, **changes: Any) -> Any:
    sizes: dict[str, Any] = {
        "vocab_size": len(dict.fromkeys([*SPECIAL, *WORDS])),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": CONTEXT,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    if kind is not BertConfig:
        sizes["num_key_value_heads"] = 2
    return kind(**(sizes | changes))


def classifier(folder: Path, *, labels: int = 1, **changes: Any) -> Path:
    """Save a sequence classification model, as TRL's and other trainers do."""
    torch.manual_seed(0)
    model = Qwen2ForSequenceClassification(config(num_labels=labels, **changes))
    torch.nn.init.normal_(model.score.weight)
    return _save(model, folder)


class RewardModel(Qwen2PreTrainedModel):
    """A reward model as OpenRLHF's trainer builds it: a linear head under a name of its own, read
    at the last token of the attention mask.

    Source: OpenRLHF 3c3be62, openrlhf/models/model.py and cli/train_rm.py.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = Qwen2Model(config)
        setattr(self, config.value_head_prefix, torch.nn.Linear(config.hidden_size, 1, bias=False))
        self.post_init()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)
        hidden = self.model(input_ids, attention_mask, positions).last_hidden_state
        values = getattr(self, self.config.value_head_prefix)(hidden).squeeze(-1)
        ends = (attention_mask * torch.arange(attention_mask.shape[1])).argmax(-1)
        return values[torch.arange(len(values)), ends]


def openrlhf(folder: Path, head: str) -> RewardModel:
    """Save a reward model in OpenRLHF's layout, and return the model."""
    torch.manual_seed(0)
    model = RewardModel(chatml_config(value_head_prefix=head, normalize_reward=False))
    model.eval().save_pretrained(folder)
    chatml_tokenizer().save_pretrained(folder)
    return model


def windowed(folder: Path) -> Path:
    """Save a model whose tokens look back at most 8 tokens."""
    torch.manual_seed(0)
    return _save(
        MistralForSequenceClassification(config(MistralConfig, sliding_window=8, num_labels=1)),
        folder,
    )


def encoder(folder: Path) -> Path:
    """Save a bidirectional model with a classification head of its own."""
    torch.manual_seed(0)
    return _save(
        BertForSequenceClassification(config(BertConfig, num_labels=1, initializer_range=0.5)),
        folder,
    )


def language_model(folder: Path) -> Path:
    """Save a model that is no reward model."""
    torch.manual_seed(0)
    return _save(Qwen2ForCausalLM(config()), folder)


def _save(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def value_head(seed: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {"v_head.summary.weight": torch.randn(1, 32), "v_head.summary.bias": torch.randn(1)}


def llama_factory(folder: Path) -> Path:
    """Save a causal model with its value head in a separate file."""
    language_model(folder)
    save_file(value_head(), folder / "value_head.safetensors", {"format": "pt"})
    return folder


def trl(folder: Path) -> Path:
    """Save a causal model with its value head among its weights."""
    language_model(folder)
    weights = load_file(folder / "model.safetensors") | value_head()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def _lora(model: Any, folder: Path, **options: Any) -> None:
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, **options)
    get_peft_model(model, lora).save_pretrained(str(folder))


def value_head_adapter(folder: Path, base: Path) -> Path:
    """Save a LoRA adapter of a causal model, with its value head beside it."""
    language_model(base)
    torch.manual_seed(2)
    _lora(Qwen2ForCausalLM.from_pretrained(base), folder, task_type="CAUSAL_LM")
    save_file(value_head(), folder / "value_head.safetensors", {"format": "pt"})
    return folder


def classifier_adapter(folder: Path, base: Path) -> Path:
    """Save a LoRA adapter of a classification model, with its head among the saved modules."""
    language_model(base)
    torch.manual_seed(2)
    model = Qwen2ForSequenceClassification.from_pretrained(base, num_labels=1)
    _lora(model, folder, task_type="SEQ_CLS")
    return folder


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
