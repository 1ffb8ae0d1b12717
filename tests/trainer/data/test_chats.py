"""Prompts as the model reads them, with or without a begun turn of the assistant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import AutoTokenizer

from touchstone_rewards.reward_server.models.text import Text, TextReader
from touchstone_rewards.reward_server.schemas import Message
from touchstone_rewards.trainer.data.chats import (
    begun,
    is_begun,
    prompt_tokens,
    rendered,
    split_begun,
)
from touchstone_rewards.trainer.data.rows import PromptArguments, with_prompts
from touchstone_rewards.trainer.data.sft_formats import sft_rows
from touchstone_rewards.trainer.story.trainer import without_history

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
ASKED = [{"role": "user", "content": "1 + 1?"}]


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def test_a_begun_turn_stands_open_after_the_generation_prompt(tokenizer: Any) -> None:
    chat: Any = begun(ASKED, "It is ")
    assert chat == [*ASKED, {"role": "assistant", "content": "It is "}]
    assert rendered(tokenizer, chat) == "<user>1 + 1?<|end|><assistant>It is "
    assert rendered(tokenizer, ASKED) == "<user>1 + 1?<|end|><assistant>"
    assert is_begun(chat)
    assert not is_begun(ASKED)
    assert split_begun(chat) == (ASKED, "It is ")


def test_a_turn_that_is_begun_already_goes_on_and_a_text_is_only_longer() -> None:
    once = begun(ASKED, "It ")
    assert begun(once, "is")[-1] == {"role": "assistant", "content": "It is"}
    assert begun("1 + 1 =", " about") == "1 + 1 = about"


def test_the_tokens_are_those_of_the_rendered_text_without_a_second_begin(tokenizer: Any) -> None:
    chat = begun(ASKED, "It is")
    expected = tokenizer("<user>1 + 1?<|end|><assistant>It is", add_special_tokens=False)
    assert prompt_tokens(tokenizer, chat) == expected["input_ids"]


def test_the_field_begins_every_prompt_however_it_was_made() -> None:
    rows = Dataset.from_list([{"question": "1 + 1?"}])
    arguments = PromptArguments(system_prompt="Add.", assistant_prefill="It is")
    assert with_prompts(rows, arguments)[0]["prompt"] == [
        {"role": "system", "content": "Add."},
        *ASKED,
        {"role": "assistant", "content": "It is"},
    ]
    rows = Dataset.from_list([{"prompt": "1 + 1 ="}])
    assert with_prompts(rows, PromptArguments(assistant_prefill=" so"))[0]["prompt"] == "1 + 1 = so"


def test_a_served_reward_model_reads_one_turn_of_the_assistant(tokenizer: Any) -> None:
    reader = TextReader(tokenizer, template="chat", max_tokens=99, truncation="refuse")
    open_turn = [Message("user", "1 + 1?"), Message("assistant", "It is")]
    begun_turn, whole = reader.read(
        [Text(open_turn, " 2"), Text([Message("user", "1 + 1?")], "It is 2")]
    )
    assert begun_turn == whole


def test_what_is_begun_is_a_part_of_the_response_that_is_learnt() -> None:
    rows = Dataset.from_list([{"prompt": begun(ASKED, "It is"), "response": " 2"}])
    [made] = sft_rows(rows, has_template=True, scope="responses")[0].to_list()
    assert made["prompt"] == ASKED
    assert made["completion"] == [{"role": "assistant", "content": "It is 2"}]


def test_without_its_history_a_chat_keeps_what_is_begun() -> None:
    told = [{"role": "system", "content": "s"}, {"role": "user", "content": "old"}]
    told += [{"role": "assistant", "content": "said"}, *ASKED]
    assert without_history(told) == [told[0], *ASKED]
    chat: Any = begun(told, "It")
    assert without_history(chat) == [told[0], *begun(ASKED, "It")]
