"""Chat templates by name: what they render, by hand, and where a turn ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from touchstone_rewards.trainer.data.chat_templates import (
    ENDS,
    PROMPTS,
    SAME,
    chat_template_file,
    end_turns,
    template_names,
)
from touchstone_rewards.trainer.errors import InputError

CHAT = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "b"},
    {"role": "user", "content": "c"},
]


def rendered(name: str, messages: list[dict[str, Any]]) -> str:
    template = Path(chat_template_file(name)).read_text(encoding="utf-8")
    whole: Any = render_jinja_template(
        [messages],
        chat_template=template,
        add_generation_prompt=True,
        bos_token="<s>",
        eos_token="</s>",
    )
    return whole[0][0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "qwen3_nothink",
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n"
            "<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n"
            "<|im_start|>assistant\n",
        ),
        ("mistral", "<s>[INST] S\n\na[/INST] b</s>[INST] c[/INST]"),
        ("vicuna", "SUSER: a ASSISTANT:b</s>USER: c ASSISTANT:"),
        ("default", "System: S</s>\nHuman: a</s>\nAssistant:b</s>\nHuman: c</s>\nAssistant:"),
        ("empty", "Sabc"),
    ],
)
def test_what_a_template_makes_of_a_chat(name: str, text: str) -> None:
    assert rendered(name, CHAT) == text


def test_a_template_s_own_system_text_stands_where_the_chat_has_none() -> None:
    assert "You are Qwen" in rendered("qwen", CHAT[1:])
    assert "You are Qwen" not in rendered("qwen", CHAT)


@pytest.mark.parametrize("name", template_names())
def test_turns_of_tools_are_refused_rather_than_dropped(name: str) -> None:
    # The plain ChatML file writes any role; the others know three.
    if Path(chat_template_file(name)).stem == "chatml":
        assert "<|im_start|>tool\nx" in rendered(
            name, [*CHAT[1:], {"role": "tool", "content": "x"}]
        )
        return
    with pytest.raises(Exception, match="turns of user and assistant only"):
        rendered(name, [*CHAT, {"role": "tool", "content": "x"}])


def test_names_are_of_files_that_are_there() -> None:
    assert set(SAME.values()) | set(ENDS) <= {path.stem for path in PROMPTS.glob("*.jinja")}
    assert not [name for name in template_names() if name.startswith("story")]
    assert chat_template_file("a/model") == "a/model"
    with pytest.raises(InputError, match="leave it out to use the tokenizer's own"):
        chat_template_file("nobody_s")


def test_the_end_of_a_turn_is_the_end_of_the_text_where_the_tokenizer_has_it(
    tiny_model: Path, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    before = tokenizer.eos_token
    end_turns(tokenizer, chat_template_file("qwen"))
    assert tokenizer.eos_token == before
    tokenizer.add_tokens(["<|im_end|>"])
    (tmp_path / "qwen.jinja").write_text("")
    end_turns(tokenizer, tmp_path / "qwen.jinja")
    assert tokenizer.eos_token == before
    end_turns(tokenizer, chat_template_file("qwen"))
    assert tokenizer.eos_token == "<|im_end|>"
