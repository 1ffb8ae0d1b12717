"""The shapes of supervised data: conversion, the printed line, and refusals."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoTokenizer
from trl.trainer.model_config import ModelConfig
from trl.trainer.sft_config import SFTConfig

from tests.trainer.conftest import write_rows
from tests.trainer.sorting import Sorting, make_sorting
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.data.rows import PROMPTS
from touchstone_rewards.trainer.data.sft_formats import sft_rows
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.running.lora import AdapterArguments
from touchstone_rewards.trainer.sft import build_trainer

USER, ASSISTANT = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
SECOND_USER, SECOND = {"role": "user", "content": "q2"}, {"role": "assistant", "content": "a2"}
SYSTEM = {"role": "system", "content": "s"}
CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|end|>{% endfor %}"
CHAT += "{% if add_generation_prompt %}<assistant>{% endif %}"


@pytest.fixture(scope="module")
def sorting(tmp_path_factory: pytest.TempPathFactory) -> Sorting:
    return make_sorting(tmp_path_factory.mktemp("sorting"))


@pytest.fixture(scope="module")
def chatty(sorting: Sorting, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same model with a chat template."""
    folder = tmp_path_factory.mktemp("chatty") / "model"
    shutil.copytree(sorting.base, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    return folder


def read(*rows: dict[str, Any], has_template: bool = True, scope: Any = "responses") -> list[Any]:
    made, _ = sft_rows(Dataset.from_list(list(rows)), has_template=has_template, scope=scope)
    return [{k: v for k, v in row.items() if k != "id"} for row in made.to_list()]


def test_prompts_and_responses_are_texts_or_a_chat() -> None:
    assert read({"prompt": "p", "response": "r", "more": 1}) == [{"prompt": "p", "completion": "r"}]
    assert read({"prompt": "p", "completion": "r"}) == [{"prompt": "p", "completion": "r"}]
    assert read({"prompt": [USER], "response": "a"}) == [
        {"prompt": [USER], "completion": [ASSISTANT]}
    ]


def test_each_response_of_a_conversation_is_learnt_after_what_went_before() -> None:
    expected = [
        {"prompt": [SYSTEM, USER], "completion": [ASSISTANT]},
        {"prompt": [SYSTEM, USER, ASSISTANT, SECOND_USER], "completion": [SECOND]},
    ]
    messages = [SYSTEM, USER, ASSISTANT, SECOND_USER, SECOND]
    assert read({"messages": messages}) == expected
    turns = [("human", "q"), ("gpt", "a"), ("human", "q2"), ("gpt", "a2")]
    sharegpt = [{"from": who, "value": what} for who, what in turns]
    assert read({"system": "s", "conversations": sharegpt}) == expected
    alpaca = {"system": "s", "history": [["q", "a"]], "instruction": "q2", "output": "a2"}
    assert read(alpaca) == expected


def test_a_conversation_stays_whole_where_the_loss_goes_over_all_of_it() -> None:
    row = {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}
    for scope in ("all", "marked"):
        assert read(row, scope=scope) == [{"messages": [USER, ASSISTANT]}]


def test_alpaca_without_a_chat_template_is_plain_text() -> None:
    [row] = read({"instruction": "Add.", "input": "1 and 2", "output": "3"}, has_template=False)
    assert row == {
        "prompt": "### Instruction:\nAdd.\n\n### Input:\n1 and 2\n\n### Response:\n",
        "completion": "3",
    }
    [row] = read({"instruction": "Add.", "input": "", "output": "3"}, has_template=False)
    assert "Input" not in row["prompt"]


def test_the_input_of_alpaca_follows_its_instruction() -> None:
    [row] = read({"instruction": "Add.", "input": "1 and 2", "output": "3"})
    assert row["prompt"] == [{"role": "user", "content": "Add.\n1 and 2"}]


def test_tools_stay_with_every_response() -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}
    made = read({"messages": [USER, call, SECOND_USER, SECOND], "tools": "[]"})
    assert [row["tools"] for row in made] == ["[]", "[]"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "p", "response": "r"}, "data: prompt and response, as they stand; 1 rows, 1"),
        ({"messages": [USER, ASSISTANT]}, "data: messages, by the chat template; 1 rows, 1"),
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
            "data: ShareGPT, by the chat template",
        ),
        ({"instruction": "i", "output": "o"}, "data: Alpaca, by the chat template"),
        ({"text": "t"}, "data: text, 1 rows; loss on all tokens"),
    ],
)
def test_what_was_recognised_is_said(row: dict[str, Any], said: str) -> None:
    _, line = sft_rows(Dataset.from_list([row]), has_template=True, scope="responses")
    assert line.startswith(said)
    assert "text" in row or line.endswith("loss on responses only")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "p", "response": "  "}, "an empty response in 1 of 1 rows, first in 'row-0'"),
        ({"prompt": "p", "response": None}, "an empty response in 1 of 1 rows, first in 'row-0'"),
        (
            {"prompt": "p", "response": 3},
            "response must be a text or a list of messages, not int in 1 of 1",
        ),
        (
            {"messages": [USER]},
            "a conversation without an assistant turn in 1 of 1 rows, first in 'row-0'",
        ),
        (
            {"messages": [USER, {**ASSISTANT, "content": ""}]},
            "an empty response in 1 of 1 rows, first in 'row-0'",
        ),
        (
            {"conversations": [{"from": "alien", "value": "x"}]},
            "unknown role 'alien' in a turn; known",
        ),
        ({"instruction": "i", "output": ""}, "an empty response in 1 of 1 rows, first in 'row-0'"),
        ({"word": "q", "meaning": "a"}, "the data has ['word', 'meaning']"),
    ],
)
def test_rows_that_teach_nothing_are_named(row: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        read(row)


def test_a_conversation_without_a_chat_template_is_refused_with_what_to_do() -> None:
    with pytest.raises(InputError, match="set chat_template_path"):
        read({"messages": [USER, ASSISTANT]}, has_template=False)


@pytest.mark.parametrize("name", ["chatgpt", "bing", "Bard", "model", "GPT"])
def test_names_that_chat_services_have_for_the_assistant_are_known(name: str) -> None:
    turns = [{"from": "human", "value": "q"}, {"from": name, "value": "a"}]
    assert read({"conversations": turns}) == [{"prompt": [USER], "completion": [ASSISTANT]}]


def test_a_call_of_a_function_is_the_assistants_and_what_it_gave_the_tools() -> None:
    turns = [("human", "q"), ("function_call", '{"name": "f"}'), ("observation", "7"), ("gpt", "a")]
    made = read({"conversations": [{"from": who, "value": what} for who, what in turns]})
    assert [row["completion"][0]["content"] for row in made] == ['{"name": "f"}', "a"]
    assert [turn["role"] for turn in made[1]["prompt"]] == ["user", "assistant", "tool"]


def test_columns_with_text_that_are_not_used_are_named() -> None:
    row = {"prompt": "p", "response": "r", "system": "never seen", "score": 1}
    _, line = sft_rows(Dataset.from_list([row]), has_template=True, scope="responses")
    assert "; not used: system;" in line


def test_bad_rows_are_named_by_id_and_left_out_if_wished(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [
        {"id": "a", "prompt": None, "response": "r"},
        {"id": "b", "prompt": "p", "response": ""},
    ]
    rows.append({"id": "c", "prompt": "p", "response": "r"})
    with pytest.raises(
        InputError, match=r"no prompt \(null\) in 1 of 3 rows, first in 'a'; an empty"
    ):
        read(*rows)
    data = Dataset.from_list(rows)
    made, _ = sft_rows(data, has_template=True, scope="responses", skip_bad_rows=True)
    assert made.to_list() == [{"id": "c", "prompt": "p", "completion": "r"}]
    assert "skipped: no prompt (null) in 1 of 3 rows" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "p", "response": "r"}, "needs conversations and a chat template"),
        ({"messages": [USER, ASSISTANT]}, "{% generation %} around what the assistant says"),
    ],
)
def test_a_loss_on_marked_parts_says_what_it_needs(
    chatty: Path, tmp_path: Path, row: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        labels_of(chatty, [row], tmp_path, assistant_only_loss=True)


def test_the_shipped_template_marks_what_the_assistant_says(
    sorting: Sorting, tmp_path: Path
) -> None:
    fields = {"assistant_only_loss": True, "chat_template_path": str(PROMPTS / "chatml.jinja")}
    messages = {"messages": [USER, ASSISTANT, SECOND_USER, SECOND]}
    [labels] = labels_of(sorting.base, [messages], tmp_path, **fields)
    assert labels == "a<|im_end|>a2<|im_end|>"


def labels_of(model: Path, rows: list[dict[str, Any]], output: Path, **fields: Any) -> list[str]:
    """Return, for each training row, the text that the loss covers."""
    args = SFTConfig(str(output), use_cpu=True, bf16=False, gradient_checkpointing=False, **fields)
    config = ModelConfig(str(model))
    trainer = build_trainer(config, AdapterArguments(), args, Dataset.from_list(rows), None)
    tokenizer, kept = AutoTokenizer.from_pretrained(model), cast(Any, trainer.train_dataset)
    return [tokenizer.decode([label for label in row["labels"] if label >= 0]) for row in kept]


def test_the_loss_goes_over_the_response_and_its_end(
    sorting: Sorting, chatty: Path, tmp_path: Path
) -> None:
    plain = {"prompt": "Two trees:", "response": " ash birch"}
    assert labels_of(sorting.base, [plain], tmp_path) == [" ash birch<|end|>"]
    messages = {"messages": [SYSTEM, USER, ASSISTANT, SECOND_USER, SECOND]}
    assert labels_of(chatty, [messages], tmp_path) == ["a<|end|>", "a2<|end|>"]
    [everything] = labels_of(chatty, [messages], tmp_path, completion_only_loss=False)
    assert everything.count("<|end|>") == 5


def test_a_response_that_max_length_cuts_off_is_counted(
    sorting: Sorting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": "tree " * count, "response": "ash"} for count in (1, 200)]
    assert len(labels_of(sorting.base, rows, tmp_path, max_length=64)) == 1
    assert "1 of 2 prompts fill max_length and are left out" in capsys.readouterr().out
    with pytest.raises(InputError, match="no prompt leaves room"):
        labels_of(sorting.base, rows[1:], tmp_path, max_length=64)
    with pytest.raises(InputError, match="fills the model's 512 positions"):
        labels_of(sorting.base, [{"prompt": "tree " * 600, "response": "ash"}], tmp_path)


def test_packing_puts_several_rows_into_one(sorting: Sorting, tmp_path: Path) -> None:
    rows = [{"prompt": "Two trees: ", "response": "ash birch"}] * 12
    packed = labels_of(sorting.base, rows, tmp_path, packing=True, max_length=64)
    assert 1 < len(packed) < 12
    assert sum(text.count("<|end|>") for text in packed) == 12


def lessons(sorting: Sorting, folder: Path) -> Path:
    rows = [{"prompt": row["prompt"], "response": row["chosen"]} for row in sorting.pairs]
    return write_rows(folder / "lessons.jsonl", rows)


@pytest.mark.long
def test_the_loss_falls_under_two_in_a_hundred_steps(sorting: Sorting, tmp_path: Path) -> None:
    """Check the lowest possible loss. A response is three tokens: two trees in order and the end.
    The 159 pairs of trees are equally likely, so the minimum is ln 159 / 3 = 1.69; the untrained
    model is at ln 357 = 5.88."""
    fields = {"dataset_name": lessons(sorting, tmp_path), "learning_rate": 2e-3, "max_steps": 100}
    assert main(["sft", *sorting.flags(tmp_path / "run", **fields)]) == 0
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    losses = [row["loss"] for row in state["log_history"] if "loss" in row]
    assert losses[0] > 4
    assert 1.69 < losses[-1] < 2.0
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.long
def test_training_goes_on_from_an_adapter(sorting: Sorting, tmp_path: Path) -> None:
    fields = {"dataset_name": lessons(sorting, tmp_path), "max_steps": 5, "learning_rate": 1e-2}
    lora = {"use_peft": True, "lora_target_modules": "q_proj"}
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["sft", *sorting.flags(first, **fields, **lora)]) == 0
    going_on = sorting.flags(second, **{**fields, "learning_rate": 1e-9})
    assert main(["sft", *going_on, f"--adapter_name_or_path={first}"]) == 0
    weights = [load_file(folder / "adapter_model.safetensors") for folder in (first, second)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-6) for name in weights[0])
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("command", ["sft", "rm", "dpo"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--load_in_4bit=true"], "need use_peft: true"),
        (["--load_in_4bit=true", "--use_peft=true"], "need bitsandbytes, which is not installed"),
        (["--adapter_name_or_path=./nowhere"], "no adapter at ./nowhere"),
        (["--adapter_name_or_path=./x", "--use_peft=true"], "leave out use_peft"),
    ],
)
def test_what_cannot_be_had_is_one_line_and_exit_code_2(
    sorting: Sorting,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    words: list[str],
    message: str,
) -> None:
    if command == "rm" and "adapter" in words[0]:
        message = "unknown argument '--adapter_name_or_path"
    data = lessons(sorting, tmp_path) if command == "sft" else sorting.train
    flags = sorting.flags(tmp_path / "run", dataset_name=data)
    assert main([command, *flags, *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.long
def test_tensorboard_is_written_unless_it_is_said_otherwise(
    sorting: Sorting, tmp_path: Path
) -> None:
    fields = {"dataset_name": lessons(sorting, tmp_path), "max_steps": 1, "report_to": None}
    assert main(["sft", *sorting.flags(tmp_path / "run", **fields)]) == 0
    assert list((tmp_path / "run").rglob("events.out.tfevents.*"))
