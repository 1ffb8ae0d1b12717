from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.data.rows import load_rows
from touchstone_rewards.trainer.story.convert import FEATURES

COLUMNS = [
    *["data_source", "prompt", "ability", "reward_model", "target_response", "extra_info"],
    *["system_prompt", "conversation_history", "story_content", "user_input", "output_format"],
]


def said(*texts: str, names: tuple[str, str] = ("user", "assistant")) -> list[dict[str, str]]:
    return [{"from": names[n % 2], "value": text} for n, text in enumerate(texts)]


FOUR = {
    "system": "你是一个故事生成AI",
    "conversations": said("用1", "助1", "用2", "助2", "用3", "助3", "用4", "助4"),
}


def convert(folder: Path, content: Any, *flags: str, suffix: str = "parquet") -> int:
    source = folder / "in.json"
    source.write_text(json.dumps(content), encoding="utf-8")
    return main(["data", "story", f"--input={source}", f"--output={folder}/out.{suffix}", *flags])


def rows(folder: Path, suffix: str = "parquet") -> list[dict[str, Any]]:
    return load_rows(str(folder / f"out.{suffix}")).to_list()


def test_a_conversation_of_four_answers_becomes_four_rows_that_grow(tmp_path: Path) -> None:
    assert convert(tmp_path, [FOUR]) == 0
    found = rows(tmp_path)
    assert [list(row) for row in found] == [COLUMNS] * 4
    assert [row["target_response"] for row in found] == ["助1", "助2", "助3", "助4"]
    assert [row["user_input"] for row in found] == ["用1", "用2", "用3", "用4"]
    contents = [[turn["content"] for turn in row["prompt"]] for row in found]
    assert [content[1:] for content in contents] == [
        ["用1"],
        ["用1", "助1", "用2"],
        ["用1", "助1", "用2", "助2", "用3"],
        ["用1", "助1", "用2", "助2", "用3", "助3", "用4"],
    ]
    roles = [turn["role"] for turn in found[3]["prompt"]]
    assert roles == ["system", *["user", "assistant"] * 3, "user"]


def test_the_system_prompt_is_instruction_story_and_output_format(tmp_path: Path) -> None:
    (tmp_path / "form.jinja").write_text("Turn {{ conversation_history|length }}: {{ user_input }}")
    told = {"system": "Be brief.", "story_content": "A castle.", "conversations": said(*"abcd")}
    assert convert(tmp_path, [told, FOUR], f"--format_prompt={tmp_path / 'form.jinja'}") == 0
    first, second, other, *_ = rows(tmp_path)
    assert first["system_prompt"] == "Be brief.\n\nA castle.\n\nTurn 0: a"
    assert (second["story_content"], second["output_format"]) == ("A castle.", "Turn 2: c")
    for row in (first, second):
        system = {"role": "system", "content": row["system_prompt"]}
        asked = {"role": "user", "content": row["user_input"]}
        assert row["prompt"] == [system, *row["conversation_history"], asked]
    assert other["story_content"] == FOUR["system"]


def test_the_example_of_the_document_comes_out_as_it_stands_there(tmp_path: Path) -> None:
    system = "你是一个故事生成AI..."
    texts = [f"{who}{n}" for n in (1, 2, 3, 4) for who in ("用户动作", "助手回复")]
    assert convert(tmp_path, {"system": system, "conversations": said(*texts)}) == 0
    messages = [{"role": "system", "content": system}]
    expected = []
    for n in range(0, 8, 2):
        messages = [*messages, {"role": "user", "content": texts[n]}]
        expected.append({"prompt": messages, "target_response": texts[n + 1]})
        messages = [*messages, {"role": "assistant", "content": texts[n + 1]}]
    kept = [{key: row[key] for key in ("prompt", "target_response")} for row in rows(tmp_path)]
    assert json.dumps(kept, ensure_ascii=False) == json.dumps(expected, ensure_ascii=False)
    assert all(row["output_format"] == "" for row in rows(tmp_path))


def test_no_space_of_the_system_text_is_lost(tmp_path: Path) -> None:
    assert convert(tmp_path, {"system": " S\n", "conversations": said("a", "b")}) == 0
    assert rows(tmp_path)[0]["prompt"][0]["content"] == " S\n"


def test_messages_is_another_name_of_conversations(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
    assert convert(tmp_path, [{"messages": turns}, {"conversations": turns}]) == 0
    first, second = rows(tmp_path)
    assert first["prompt"] == second["prompt"]


def test_a_line_of_the_assistant_that_opens_the_story_is_history(tmp_path: Path) -> None:
    turns = said("Welcome!", "u", "a", names=("assistant", "user"))
    assert convert(tmp_path, [{"conversations": turns}]) == 0
    (row,) = rows(tmp_path)
    assert [turn["content"] for turn in row["prompt"]] == ["Welcome!", "u"]
    assert row["conversation_history"] == [{"role": "assistant", "content": "Welcome!"}]
    assert (row["target_response"], row["extra_info"]["turn"]) == ("a", 2)


def test_turns_in_a_row_are_merged_where_it_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = [*said("a", "b"), *said("c"), *said("d"), *said("e", "f")[1:]]
    assert convert(tmp_path, [{"conversations": turns}]) == 0
    assert "--consecutive_turns merge" in capsys.readouterr().err
    assert [row["target_response"] for row in rows(tmp_path)] == ["b"]
    assert convert(tmp_path, [{"conversations": turns}], "--consecutive_turns=merge") == 0
    found = rows(tmp_path)
    assert [row["user_input"] for row in found] == ["a", "c\nd"]
    assert [row["target_response"] for row in found] == ["b", "f"]


@pytest.mark.parametrize("name", ["en", "zh"])
def test_the_forms_ask_for_the_json_that_the_scorer_knows(tmp_path: Path, name: str) -> None:
    assert convert(tmp_path, FOUR, f"--format_prompt={name}") == 0
    row = rows(tmp_path)[0]
    assert row["output_format"].isascii() == (name == "en")
    block = row["output_format"].split("```json")[1].split("```")[0]
    assert set(json.loads(block)) == {"plot_list", "next_episode"}
    assert row["system_prompt"].endswith(row["output_format"])


def test_parquet_and_json_lines_hold_the_same_rows(tmp_path: Path) -> None:
    only_first_turns = {"conversations": said("a", "b")}
    for content in ([FOUR], [only_first_turns]):
        for suffix in ("parquet", "jsonl"):
            assert convert(tmp_path, content, suffix=suffix) == 0
        lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
        assert rows(tmp_path) == [json.loads(line) for line in lines]
    assert load_rows(str(tmp_path / "out.parquet")).features == FEATURES


def test_other_names_of_the_roles_and_a_system_turn_are_understood(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "S"}, {"role": "user", "content": "u"}]
    turns.append({"role": "assistant", "content": "a"})
    human = {"conversations": said("u", "a", names=("human", "gpt")), "system": "S"}
    assert convert(tmp_path, [{"conversations": turns}, human]) == 0
    first, second = rows(tmp_path)
    assert first["prompt"] == second["prompt"]
    assert first["extra_info"] == {"conversation": 0, "turn": 2}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"from": "user", "value": "  "}, "an empty turn of the user"),
        ({"from": "user"}, "an empty turn of the user: None"),
        ({"from": "user", "value": 5}, "the content of a turn of the user is not text: 5"),
        ({"value": "x"}, "no role"),
        ({"from": "narrator", "value": "x"}, "unknown role 'narrator'"),
        ({"from": "assistant", "value": "x"}, "must alternate"),
        ({"from": "system", "value": "x"}, "only user and assistant take turns"),
        ({"from": "user", "value": "\ud800"}, "half of a surrogate pair"),
        ("x", "a turn is an object"),
    ],
)
def test_a_bad_turn_is_named_with_its_place_and_ends_its_conversation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bad: Any, reason: str
) -> None:
    broken = {"conversations": [*said("a", "b"), bad, *said("c", "d")]}
    assert convert(tmp_path, [FOUR, broken]) == 0
    printed = capsys.readouterr()
    assert f"{tmp_path / 'in.json'}, conversation 1, turn 2: " in printed.err
    assert reason in printed.err
    assert (
        "5 rows of 2 conversations; 1 conversations end at a bad turn or have none" in printed.out
    )
    assert [row["target_response"] for row in rows(tmp_path)][4:] == ["b"]
    assert convert(tmp_path, [FOUR, broken], "--on_bad_turns=refuse") == 2
    assert "conversation 1, turn 2" in capsys.readouterr().err


def test_what_is_no_conversation_is_named_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = ["text", {"turns": []}, {"conversations": []}, {**FOUR, "system": 3}]
    assert convert(tmp_path, [*others, FOUR]) == 0
    printed = capsys.readouterr().err
    assert all(f"conversation {number}: " in printed for number in range(4))
    assert len(rows(tmp_path)) == 4


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([{"from": "user", "value": "a"}, {"from": "user", "value": "b"}], "turns must alternate"),
        ([{"from": "narrator", "value": "a"}], "unknown role 'narrator'"),
        ([{"from": "user", "value": "a"}], "no assistant turn answers a user turn"),
    ],
)
def test_where_nothing_comes_of_a_file_the_first_reason_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], turns: list[Any], reason: str
) -> None:
    assert convert(tmp_path, [{"conversations": turns}]) == 2
    said_last = capsys.readouterr().err.splitlines()[-1]
    assert "not one row in 1 conversations" in said_last
    assert reason in said_last


def test_names_that_chat_services_have_for_the_assistant_are_known(tmp_path: Path) -> None:
    turns = [{"from": "user", "value": "a"}, {"from": "chatgpt", "value": "b"}]
    assert convert(tmp_path, [{"conversations": turns}]) == 0
    assert rows(tmp_path)[0]["target_response"] == "b"


def test_a_file_that_gives_nothing_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(tmp_path, []) == 2
    assert convert(tmp_path, "text") == 2
    assert "expected a list of conversations, not 'text'" in capsys.readouterr().err
    assert convert(tmp_path, [FOUR], suffix="csv") == 2
    assert convert(tmp_path, [FOUR], "--format_prompt=/nowhere.jinja") == 2
    (tmp_path / "bad.jinja").write_text("{{ plot }}")
    assert convert(tmp_path, [FOUR], f"--format_prompt={tmp_path / 'bad.jinja'}") == 2
    assert "'plot' is undefined" in capsys.readouterr().err
    (tmp_path / "lines.json").write_text("{}\n{}")
    assert main(["data", "story", f"--input={tmp_path / 'lines.json'}", "--output=x.jsonl"]) == 2
    assert "name the file .jsonl" in capsys.readouterr().err
    (tmp_path / "two.jsonl").write_text("{}\n{")
    assert main(["data", "story", f"--input={tmp_path / 'two.jsonl'}", "--output=x.jsonl"]) == 2
    assert "two.jsonl, line 2 is not JSON" in capsys.readouterr().err
    (tmp_path / "no.json").write_text("{")
    assert main(["data", "story", f"--input={tmp_path / 'no.json'}", "--output=x.jsonl"]) == 2


def test_a_row_is_shown_turn_by_turn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(tmp_path, [FOUR]) == 0
    assert main(["data", "show", str(tmp_path / "out.parquet"), "--row=-1"]) == 0
    shown = capsys.readouterr().out
    assert "row 3 of 4" in shown
    assert "[assistant] 助3\n  [user] 用4" in shown
    assert all(name in shown for name in COLUMNS)
    assert main(["data", "show", str(tmp_path / "out.parquet"), "--row=4"]) == 2
    assert main(["data", "show", str(tmp_path / "none.parquet")]) == 2
