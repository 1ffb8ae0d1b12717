"""Reward models saved by other trainers score, when served, as the code that trained them does.

Left and right padding, packing, chat templates and LoRA, in float32 to 1e-5. The tokenizer pads
with its end token, which is where the ways to read a score differ.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import (
    AutoModelForSequenceClassification,
    Qwen2ForCausalLM,
    Qwen2ForSequenceClassification,
)

from tests.reward_server.models import tiny
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.models import load as load_model
from touchstone_rewards.reward_server.models.config import RewardModelConfig
from touchstone_rewards.reward_server.models.reward import RewardModel
from touchstone_rewards.reward_server.models.text import Text
from touchstone_rewards.reward_server.schemas import Message

EXACT = 1e-5
END = "<|im_end|>"
CHATS = [
    Text("What is 12 + 7?", "19"),
    Text([Message("system", "Be brief."), Message("user", "Why?")], "Because.\n"),
    Text([Message("user", "a"), Message("assistant", "b"), Message("user", "c")], "d " * 60),
    Text("今天天气", "很好，我们去公园散步吧。 — ok"),
    Text("Write nothing.", ""),
]
Score = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def served(folder: Path, layout: str, texts: list[Text], **changes: Any) -> list[float]:
    settings: dict[str, Any] = {"dtype": "float32", "device": "cpu", "layout": layout, **changes}
    model = load_model(RewardModelConfig(model=str(folder), **settings))
    assert isinstance(model, RewardModel)
    return [one.score for one in model.run(model.prepare(texts))]


def rendered(text: Text) -> str:
    turns = [{"role": "user", "content": text.prompt}]
    if isinstance(text.prompt, list):
        turns = [{"role": turn.role, "content": turn.content} for turn in text.prompt]
    turns.append({"role": "assistant", "content": text.response})
    return str(tiny.chatml_tokenizer().apply_chat_template(turns, tokenize=False))


def by_theirs(score: Score, texts: list[str], side: str) -> list[float]:
    """Return the scores of texts as one padded batch, checked against those of each text alone."""
    tokenizer: Any = tiny.chatml_tokenizer()
    options = {"padding": True, "padding_side": side, "return_tensors": "pt"}
    batch = tokenizer(texts, add_special_tokens=False, **options)
    with torch.no_grad():
        found = score(batch["input_ids"], batch["attention_mask"]).flatten().tolist()
    assert len({round(each, 4) for each in found}) == len(texts)  # else this shows nothing
    return found


def logits_of(model: Any) -> Score:
    return lambda ids, mask: model(input_ids=ids, attention_mask=mask).logits


def classifier(folder: Path) -> Path:
    torch.manual_seed(0)
    model = Qwen2ForSequenceClassification(tiny.chatml_config(num_labels=1))
    torch.nn.init.normal_(model.score.weight)
    model.save_pretrained(folder)
    tiny.chatml_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("layout", ["packed", "padded"])
class TestEveryLayoutAndSide:
    def test_a_classifier_of_trl_scores_as_transformers_does(
        self, tmp_path: Path, layout: str, side: str
    ) -> None:
        folder = classifier(tmp_path)
        theirs = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        expected = by_theirs(logits_of(theirs), [rendered(text) for text in CHATS], side)
        assert served(folder, layout, CHATS) == pytest.approx(expected, abs=EXACT)

    def test_it_reads_before_the_end_token_where_transformers_does(
        self, tmp_path: Path, layout: str, side: str
    ) -> None:
        folder = classifier(tmp_path)
        theirs = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        texts = [Text("One, two", ", three"), Text("One", ""), Text("", "A story of " * 9)]
        plain = [f"{text.prompt}{text.response}{END}" for text in texts]
        expected = by_theirs(logits_of(theirs), plain, side)
        found = served(folder, layout, texts, template="plain", append_eos=True)
        assert found == pytest.approx(expected, abs=EXACT)

    @pytest.mark.parametrize("head", ["score", "value_head"])
    def test_a_folder_of_openrlhf_is_read_at_its_end_token(
        self, tmp_path: Path, layout: str, side: str, head: str
    ) -> None:
        theirs = tiny.openrlhf(tmp_path, head)
        # Their data set strips line ends and has every text end with the end token.
        chats = [rendered(text).rstrip("\n") for text in CHATS]
        assert all(text.endswith(END) for text in chats)
        expected = by_theirs(theirs, chats, side)
        found = served(tmp_path, layout, CHATS, append_eos=True)
        assert found == pytest.approx(expected, abs=EXACT)
        plain = [Text("One, two", ", three"), Text("One", ""), Text("", "A story of " * 9)]
        expected = by_theirs(theirs, [f"{each.prompt}{each.response}{END}" for each in plain], side)
        found = served(tmp_path, layout, plain, template="plain", append_eos=True)
        assert found == pytest.approx(expected, abs=EXACT)

    def test_a_value_head_of_llama_factory_is_read_at_the_last_token(
        self, tmp_path: Path, layout: str, side: str
    ) -> None:
        torch.manual_seed(0)
        causal = Qwen2ForCausalLM(tiny.chatml_config()).eval()
        causal.save_pretrained(tmp_path)
        tiny.chatml_tokenizer().save_pretrained(tmp_path)
        head = tiny.value_head()
        save_file(head, tmp_path / "value_head.safetensors", {"format": "pt"})

        def theirs(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            states = causal(input_ids=ids, attention_mask=mask, output_hidden_states=True)
            values = states.hidden_states[-1] @ head["v_head.summary.weight"][0]
            ends = (mask * torch.arange(mask.shape[1])).argmax(-1)
            return values[torch.arange(len(ids)), ends] + head["v_head.summary.bias"]

        expected = by_theirs(theirs, [rendered(text) for text in CHATS], side)
        assert served(tmp_path, layout, CHATS) == pytest.approx(expected, abs=EXACT)

    def test_an_adapter_of_a_classifier_scores_as_peft_does_unmerged(
        self, tmp_path: Path, layout: str, side: str
    ) -> None:
        base, folder = tmp_path / "base", tmp_path / "adapter"
        torch.manual_seed(0)
        Qwen2ForCausalLM(tiny.chatml_config()).save_pretrained(base)
        tiny.chatml_tokenizer().save_pretrained(base)
        lora: dict[str, Any] = {"r": 4, "target_modules": "all-linear", "task_type": "SEQ_CLS"}
        model: Any = Qwen2ForSequenceClassification.from_pretrained(base, num_labels=1)
        get_peft_model(model, LoraConfig(init_lora_weights=False, **lora)).save_pretrained(
            str(folder)
        )
        again = Qwen2ForSequenceClassification.from_pretrained(base, num_labels=1)
        theirs: Any = PeftModel.from_pretrained(again, str(folder)).eval()
        expected = by_theirs(logits_of(theirs), [rendered(text) for text in CHATS], side)
        assert served(folder, layout, CHATS) == pytest.approx(expected, abs=EXACT)


def test_a_classifier_trained_on_from_a_folder_of_openrlhf_is_read_as_transformers_does(
    tmp_path: Path,
) -> None:
    folder = classifier(tmp_path)
    tiny.edit_json(folder / "config.json", value_head_prefix="score", normalize_reward=False)
    theirs = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    expected = by_theirs(logits_of(theirs), [f"One{END}", f"One, two{END}"], "right")
    texts = [Text("One", ""), Text("One", ", two")]
    found = served(folder, "packed", texts, template="plain", append_eos=True)
    assert found == pytest.approx(expected, abs=EXACT)


def test_an_adapter_without_its_head_is_refused_by_name(tmp_path: Path) -> None:
    # As PEFT saves it if no task was given: a new random head would give no true score.
    base, folder = tmp_path / "base", tmp_path / "adapter"
    Qwen2ForCausalLM(tiny.chatml_config()).save_pretrained(base)
    tiny.chatml_tokenizer().save_pretrained(base)
    model: Any = Qwen2ForSequenceClassification.from_pretrained(base, num_labels=1)
    adapter = get_peft_model(
        model, LoraConfig(target_modules="all-linear", exclude_modules="score")
    )
    adapter.save_pretrained(str(folder))
    with pytest.raises(ConfigError, match="has no head"):
        served(folder, "packed", CHATS)


def test_two_labels_where_one_was_meant_are_refused_by_name(tmp_path: Path) -> None:
    Qwen2ForSequenceClassification(tiny.chatml_config()).save_pretrained(tmp_path)
    tiny.chatml_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"score.weight .* has 2 outputs; a reward model has one"):
        served(tmp_path, "packed", CHATS)


def test_in_bf16_the_hidden_states_are_those_of_transformers_to_the_last_bit(
    tmp_path: Path,
) -> None:
    # Rotary frequencies stay in fp32: in bf16 every late position would be wrong.
    folder = classifier(tmp_path)
    config = RewardModelConfig(model=str(folder), dtype="bfloat16", device="cpu")
    ours = load_model(config)
    assert isinstance(ours, RewardModel)
    half = torch.bfloat16
    theirs = Qwen2ForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=half).eval()
    ids = torch.randint(0, 256, (1, 400), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = ours.checkpoint.backbone(ids).last_hidden_state
        expected = theirs.model(ids).last_hidden_state
    assert found.dtype == expected.dtype == half
    assert torch.equal(found, expected)
