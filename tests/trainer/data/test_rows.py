from __future__ import annotations

import math
from pathlib import Path

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.conftest import write_rows
from touchstone_rewards.trainer.data.rows import (
    PromptArguments,
    ensure_sample_ids,
    load_rows,
    read_template,
    unique_ids,
    with_prompts,
)
from touchstone_rewards.trainer.errors import InputError

VALUES = st.lists(
    st.one_of(st.none(), st.integers(0, 3), st.sampled_from(["a", "a#2", "row-1", "row-0#2", " "]))
)


def test_ids_that_are_unique_strings_stay_as_they_are() -> None:
    assert unique_ids(["b", "a", "Ä/1"]) == ["b", "a", "Ä/1"]


def test_numbers_become_strings() -> None:
    assert unique_ids([7, 0, 1.5]) == ["7", "0", "1.5"]


def test_missing_ids_are_named_by_their_place() -> None:
    assert unique_ids([None, "a", "", math.nan]) == ["row-0", "a", "row-2", "row-3"]


def test_the_first_of_equal_ids_keeps_it_and_the_next_are_numbered() -> None:
    assert unique_ids(["a", "a", "b", "a"]) == ["a", "a#2", "b", "a#3"]


def test_a_number_and_its_string_are_one_id() -> None:
    assert unique_ids([1, "1"]) == ["1", "1#2"]


def test_no_row_gets_a_name_that_belongs_to_another() -> None:
    assert unique_ids(["a", "a", "a#2"]) == ["a", "a#3", "a#2"]
    assert unique_ids([None, "row-0"]) == ["row-0#2", "row-0"]


@given(VALUES)
def test_ids_are_unique_strings_and_every_single_id_is_kept(values: list[object]) -> None:
    ids = unique_ids(values)
    assert len(set(ids)) == len(ids) == len(values)
    assert ids == unique_ids(values)
    names = [str(value) for value in values if value is not None and str(value).strip()]
    assert all(name in ids for name in names)


@pytest.mark.parametrize("column", ["id", "sample_id", "example_id", "question_id"])
def test_each_known_column_gives_the_ids(column: str) -> None:
    rows = ensure_sample_ids(Dataset.from_dict({column: [3, 3], "x": ["p", "q"]}))
    assert list(rows["id"]) == ["3", "3#2"]
    assert list(rows["x"]) == ["p", "q"]


def test_rows_without_any_id_are_named_by_their_place() -> None:
    assert list(ensure_sample_ids(Dataset.from_dict({"x": [1, 2]}))["id"]) == ["row-0", "row-1"]


def test_a_template_turns_the_question_into_the_prompt() -> None:
    rows = Dataset.from_dict({"question": ["1+{x}?"], "answer": ["2"]})
    [prompt] = with_prompts(rows, PromptArguments(prompt_template="r1_zero"))["prompt"]
    assert "User: 1+{x}?\nAssistant: <think>" in prompt


def test_a_system_prompt_makes_a_chat() -> None:
    rows = Dataset.from_dict({"q": ["1+1?"]})
    arguments = PromptArguments(system_prompt="Be brief.", question_column="q")
    assert list(with_prompts(rows, arguments)["prompt"]) == [
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1?"}]
    ]


def test_prompts_of_the_data_are_left_alone() -> None:
    rows = Dataset.from_dict({"prompt": ["as it is"]})
    assert list(with_prompts(rows, PromptArguments())["prompt"]) == ["as it is"]


def test_a_template_may_wrap_the_prompt_column_itself() -> None:
    rows = Dataset.from_dict({"prompt": ["1+1?"]})
    arguments = PromptArguments(prompt_template="boxed", question_column="prompt")
    [prompt] = with_prompts(rows, arguments)["prompt"]
    assert "Problem: 1+1?" in prompt


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (PromptArguments(), "no column 'prompt'"),
        (PromptArguments(prompt_template="nosuch"), "boxed, chat, question_only, r1_zero"),
        (PromptArguments(prompt_template="boxed", question_column="q"), "no column 'q'"),
        (PromptArguments(prompt_template="boxed", system_prompt="x"), "not both"),
    ],
)
def test_prompts_that_cannot_be_made_are_refused(arguments: PromptArguments, message: str) -> None:
    with pytest.raises(InputError, match=message):
        with_prompts(Dataset.from_dict({"question": ["1+1?"]}), arguments)


def test_a_template_without_a_place_for_the_question_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("Answer!")
    with pytest.raises(InputError, match=r"\{question\}"):
        read_template(str(path))


def test_rows_are_read_from_files_and_saved_folders(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [{"x": 1}, {"x": 2}])
    rows = load_rows(str(path))
    rows.save_to_disk(tmp_path / "saved")
    rows.to_parquet(tmp_path / "rows.parquet")
    assert list(rows["x"]) == [1, 2]
    assert list(load_rows(str(tmp_path / "saved"))["x"]) == [1, 2]
    assert list(load_rows(str(tmp_path / "rows.parquet"))["x"]) == [1, 2]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("no.jsonl", None, "no dataset at"),
        ("rows.txt", "hello", "not '.txt'"),
        ("empty.jsonl", "", "empty.jsonl"),
        ("torn.jsonl", '{"a": 1}\n{"a":', "cannot read the dataset"),
    ],
)
def test_data_that_cannot_be_read_is_named(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        load_rows(str(tmp_path / name))


def test_the_published_r1_zero_prompt_and_the_copy_that_was_measured_with() -> None:
    published, copy = str(read_template("r1_zero")), str(read_template("r1_zero_baseline"))
    assert published.endswith("</answer>.\nUser: {question}\nAssistant: <think>")
    # The copy has a slip of the keyboard, an empty line more, and leaves <think> to the model.
    assert "User with the answer." in published
    assert copy == (
        published.replace("with the answer.", "with thdenglue answer.")
        .replace("\nUser:", "\n\nUser:")
        .removesuffix(" <think>")
    )


def test_a_conversation_is_a_prompt_without_the_answer_at_its_end() -> None:
    asked = {"role": "user", "content": "a"}
    answered = [asked, {"role": "assistant", "content": "b"}]
    rows = with_prompts(Dataset.from_list([{"messages": answered}]), PromptArguments())
    assert rows["prompt"][:] == [[asked]]
