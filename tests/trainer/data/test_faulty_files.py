"""An unreadable file is named with its line and the cause; a slice of a file is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from tests.trainer.conftest import write_rows
from touchstone_rewards.trainer.data.rows import PromptArguments, load_rows, with_prompts
from touchstone_rewards.trainer.errors import InputError

ROWS = [{"id": str(number), "prompt": f"p{number}", "response": "r"} for number in range(5)]
GOOD = [json.dumps(row) for row in ROWS]
CHINESE = '{"prompt": "你好", "response": "世界"}\n'


def written(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", f"{GOOD[0]}\n{GOOD[1][:15]}\n{GOOD[2]}\n", "line 2 is not JSON: Unterminated"),
        ("a.jsonl", f"{GOOD[0]}\n\n\nhello\n{GOOD[2]}\n", "line 4 is not JSON: Expecting value"),
        ("a.jsonl", f"{GOOD[0]}\n[1, 2]\n", "line 2 holds a list, not an object"),
        ("a.jsonl", f'{GOOD[0]}\n{{"prompt": "\\ud800"}}\n', "line 2 holds half a character"),
        ("a.jsonl", CHINESE.encode("gbk"), "line 1 is not UTF-8 (it reads as GBK): save the file"),
        ("a.json", f"[{CHINESE}]".encode("gbk"), "line 1 is not UTF-8 (it reads as GBK)"),
        ("a.csv", f"prompt,response\n{CHINESE}".encode("gbk"), "line 2 is not UTF-8"),
        ("a.jsonl", "\n".join(GOOD).encode("utf-16"), "line 1 is not UTF-8 (it is UTF-16)"),
        ("a.jsonl", CHINESE.encode()[:14], "cut off, or not UTF-8"),
        ("a.json", f"[{GOOD[0]},\n{GOOD[1][:-1]}\n]", "line 3 is not JSON: Expecting ','"),
        ("a.csv", "prompt,response\na,b\nc,d,e\n", "Expected 2 fields in line 3, saw 3"),
        ("a.jsonl", "\n\n", "it has no rows"),
    ],
)
def test_the_line_and_the_cause_are_named(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(InputError) as refusal:
        load_rows(written(tmp_path, name, content))
    assert message in str(refusal.value)
    assert name in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_lines_that_cannot_be_read_are_named_and_left_out_if_wished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "a.jsonl", "\n".join([GOOD[0], "{", GOOD[1], "7", GOOD[2]]))
    with pytest.raises(InputError, match="skip it with --skip_bad_rows true"):
        load_rows(path)
    assert load_rows(path, skip_bad_rows=True).to_list() == ROWS[:3]
    said = capsys.readouterr().out
    assert "line 2 is not JSON" in said
    assert "line 4 holds a int" in said
    assert "skipped: 2 unreadable lines of" in said


@pytest.mark.parametrize(
    ("split", "ids"),
    [
        ("test[:40%]", ["0", "1"]),
        ("train[1:3]", ["1", "2"]),
        ("test[-1:]", ["4"]),
        ("anything", ["0", "1", "2", "3", "4"]),
    ],
)
def test_a_slice_is_taken_of_a_file_and_of_a_saved_folder(
    tmp_path: Path, split: str, ids: list[str]
) -> None:
    path = write_rows(tmp_path / "rows.jsonl", ROWS)
    assert list(load_rows(str(path), split=split)["id"]) == ids
    load_rows(str(path)).save_to_disk(tmp_path / "saved")
    assert list(load_rows(str(tmp_path / "saved"), split=split)["id"]) == ids


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("train+test", "asks for several"),
        ("test[:0]", "takes none of the 5 rows"),
        ("test[", "'test[' is not a split"),
    ],
)
def test_a_split_that_a_file_does_not_have_is_refused_by_name(
    tmp_path: Path, split: str, message: str
) -> None:
    with pytest.raises(InputError, match=message.replace("[", r"\[")):
        load_rows(str(write_rows(tmp_path / "rows.jsonl", ROWS)), split=split)


@pytest.mark.parametrize(
    ("rows", "arguments", "message"),
    [
        ([{"id": "a", "prompt": "p"}, {"id": "b", "prompt": None}], {}, "no prompt in 1 of 2"),
        (
            [{"id": "a", "question": "1+1?"}, {"id": "b", "question": None}],
            {"prompt_template": "boxed"},
            "no question in 1 of 2 rows, first in 'b'",
        ),
    ],
)
def test_rows_without_a_prompt_are_named_and_left_out_if_wished(
    rows: list[dict[str, Any]], arguments: dict[str, str], message: str
) -> None:
    prompts = PromptArguments(**arguments)
    with pytest.raises(InputError, match=message):
        with_prompts(Dataset.from_list(rows), prompts)
    assert list(with_prompts(Dataset.from_list(rows), prompts, skip_bad_rows=True)["id"]) == ["a"]


def test_a_chat_among_texts_is_named(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "p"}]
    path = write_rows(tmp_path / "rows.jsonl", [{"prompt": "p"}, {"id": "q", "prompt": chat}])
    with pytest.raises(InputError, match=r"a chat, but the first row has a text in 1 of 2.*'q'"):
        with_prompts(load_rows(str(path)), PromptArguments())
