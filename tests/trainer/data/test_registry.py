"""`dataset_info.json`: entries of every form, read as LLaMA-Factory reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.conftest import write_rows
from touchstone_rewards.trainer.data.registry import registered_rows
from touchstone_rewards.trainer.errors import InputError

USER, ASSISTANT = "user", "assistant"


def registry(folder: Path, **entries: Any) -> str:
    (folder / "dataset_info.json").write_text(json.dumps(entries), encoding="utf-8")
    return str(folder)


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def messages_in(rows: Any, column: str = "messages") -> list[list[dict[str, Any]]]:
    return [
        [{name: value for name, value in turn.items() if value} for turn in turns]
        for turns in rows[column]
    ]


def test_alpaca_rows_join_instruction_and_input_and_keep_other_columns(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Add.", "input": "1 2", "output": "3", "id": "a", "ground_truth": "3"},
        {"instruction": "Hi", "input": "", "output": "Ho", "id": "b", "ground_truth": None},
    ]
    write_rows(tmp_path / "a.jsonl", rows)
    found = registered_rows(["a"], registry(tmp_path, a={"file_name": "a.jsonl"}))
    assert messages_in(found) == [
        [said(USER, "Add.\n1 2"), said(ASSISTANT, "3")],
        [said(USER, "Hi"), said(ASSISTANT, "Ho")],
    ]
    assert found["id"][:] == ["a", "b"]
    assert found["ground_truth"][:] == ["3", None]


def test_columns_name_prompt_system_and_history(tmp_path: Path) -> None:
    row = {"q": "c?", "a": "d", "s": "Be brief.", "h": [["a?", "b"]], "input": "not read"}
    write_rows(tmp_path / "a.jsonl", [row])
    columns = {"prompt": "q", "response": "a", "system": "s", "history": "h"}
    folder = registry(tmp_path, a={"file_name": "a.jsonl", "columns": columns})
    assert messages_in(registered_rows(["a"], folder)) == [
        [
            said("system", "Be brief."),
            *(said(USER, "a?"), said(ASSISTANT, "b"), said(USER, "c?"), said(ASSISTANT, "d")),
        ]
    ]


def test_sharegpt_by_its_tags_and_a_subset_of_rows(tmp_path: Path) -> None:
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user"}
    tags |= {"assistant_tag": "assistant"}
    chat = [said("system", "S"), said(USER, "a"), said(ASSISTANT, "b")]
    write_rows(tmp_path / "a.jsonl", [{"messages": chat}, {"messages": chat[1:]}])
    entry = {"file_name": "a.jsonl", "formatting": "sharegpt", "tags": tags}
    folder = registry(tmp_path, a={**entry, "columns": {"messages": "messages"}})
    found = registered_rows(["a"], folder)
    assert messages_in(found) == [chat, chat[1:]]
    assert len(registered_rows(["a"], folder, max_rows=1)) == 1


def test_turns_that_do_not_alternate_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, answered = {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}
    broken = [[asked, asked], [answered, asked], [asked], []]
    rows = [{"conversations": turns} for turns in [[asked, answered], *broken]]
    write_rows(tmp_path / "a.jsonl", rows)
    folder = registry(tmp_path, a={"file_name": "a.jsonl", "formatting": "sharegpt"})
    assert messages_in(registered_rows(["a"], folder)) == [[said(USER, "a"), said(ASSISTANT, "b")]]
    assert "a: 4 of 5 rows lack alternating turns: skipped" in capsys.readouterr().out


@pytest.mark.parametrize("formatting", ["alpaca", "sharegpt"])
def test_rankings_become_a_prompt_and_two_sides(tmp_path: Path, formatting: str) -> None:
    columns = {"chosen": "good", "rejected": "bad"}
    if formatting == "alpaca":
        row: dict[str, Any] = {"instruction": "a", "input": "b", "good": "c", "bad": "d"}
        columns |= {"prompt": "instruction", "query": "input"}
        prompt = "a\nb"
    else:
        row = {"conversations": [{"from": "human", "value": "a"}]}
        row |= {"good": {"from": "gpt", "value": "c"}, "bad": {"from": "gpt", "value": "d"}}
        prompt = "a"
    write_rows(tmp_path / "a.jsonl", [row])
    entry = {"file_name": "a.jsonl", "formatting": formatting, "ranking": True}
    found = registered_rows(["a"], registry(tmp_path, a={**entry, "columns": columns}))
    assert messages_in(found, "prompt") == [[said(USER, prompt)]]
    assert messages_in(found, "chosen") == [[said(ASSISTANT, "c")]]
    assert messages_in(found, "rejected") == [[said(ASSISTANT, "d")]]


def test_calls_and_tools_are_read(tmp_path: Path) -> None:
    call = json.dumps({"name": "add", "arguments": {"a": 1}})
    turns = [
        {"from": "human", "value": "1+1?"},
        {"from": "function_call", "value": call},
        {"from": "observation", "value": "2"},
        {"from": "gpt", "value": "It is 2."},
    ]
    write_rows(tmp_path / "a.jsonl", [{"conversations": turns, "tools": '[{"name": "add"}]'}])
    columns = {"messages": "conversations", "tools": "tools"}
    entry = {"file_name": "a.jsonl", "formatting": "sharegpt", "columns": columns}
    found = registered_rows(["a"], registry(tmp_path, a=entry))
    _, called, observed, answered = messages_in(found)[0]
    assert called["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 1}'}
    assert (observed["role"], answered["content"]) == ("tool", "It is 2.")
    assert found["tools"][:] == ['[{"name": "add"}]']


def test_several_data_sets_follow_each_other_and_a_path_needs_no_entry(tmp_path: Path) -> None:
    row = {"instruction": "a", "output": "b"}
    write_rows(tmp_path / "a.jsonl", [{**row, "id": "x"}])
    write_rows(tmp_path / "b.jsonl", [row])
    folder = registry(tmp_path, a={"file_name": "a.jsonl"}, b={"file_name": "b.jsonl"})
    found = registered_rows(["a", "b"], folder)
    assert (len(found), found.column_names) == (2, ["messages"])
    alone = registered_rows([str(tmp_path / "b.jsonl")], folder)
    assert alone.column_names == ["instruction", "output"]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"script_url": "x.py"}, "script_url is not supported; use file_name"),
        ({"file_name": "a.jsonl", "num_samples": 5}, "use max_samples"),
        (
            {"file_name": "a.jsonl", "formatting": "csv"},
            "formatting must be one of alpaca, sharegpt",
        ),
        ({"file_name": "a.jsonl", "columns": {"images": "i"}}, "use rows of text alone"),
        ({"file_name": "a.jsonl", "columns": {"kto_tag": "k"}}, "use preference pairs, with dpo"),
        ({"file_name": "a.jsonl", "columns": {"prompt": "nothing"}}, "no column 'nothing'"),
        ({"file_name": "none.jsonl"}, "no dataset at"),
        ({"ms_hub_url": "a/b"}, "an entry needs file_name or hf_hub_url"),
        ({"file_name": "a.jsonl", "ranking": True}, "no row has alternating turns"),
    ],
)
def test_an_entry_that_asks_for_what_is_not_here_is_named(
    tmp_path: Path, entry: dict[str, Any], reason: str
) -> None:
    write_rows(tmp_path / "a.jsonl", [{"instruction": "a", "output": "b"}])
    with pytest.raises(InputError, match=reason):
        registered_rows(["a"], registry(tmp_path, a=entry))


def test_an_unknown_name_is_answered_with_those_that_are_known(tmp_path: Path) -> None:
    folder = registry(tmp_path, a={"file_name": "a.jsonl"})
    with pytest.raises(InputError, match=r"no dataset 'b' in .*dataset_info.json \(a\)"):
        registered_rows(["b"], folder)
    with pytest.raises(InputError, match="which does not exist"):
        registered_rows(["b"], str(tmp_path / "nowhere"))
    (tmp_path / "dataset_info.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        registered_rows(["a"], str(tmp_path))
