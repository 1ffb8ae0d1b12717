"""Preference rows: which shapes are read, and which faults are named before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from tests.trainer.conftest import write_rows
from tests.trainer.sorting import Sorting, make_sorting
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.preference.rows import check_prompts_fit, fault_of, preference_rows

PAIR: dict[str, Any] = {"prompt": "p", "chosen": "good", "rejected": "bad"}


@pytest.fixture(scope="module")
def sorting(tmp_path_factory: pytest.TempPathFactory) -> Sorting:
    return make_sorting(tmp_path_factory.mktemp("sorting"))


def read(*rows: dict[str, Any], **options: Any) -> list[Any]:
    made, _ = preference_rows(Dataset.from_list(list(rows)), **options)
    return [{k: v for k, v in row.items() if v is not None} for row in made.to_list()]


def test_both_names_of_the_sides_are_read() -> None:
    other = {"prompt": "p", "chosen_response": "good", "rejected_response": "bad", "more": 1}
    assert read(other) == read({"id": None, **PAIR}) == [{"id": "row-0", **PAIR}]


def test_sides_without_a_prompt_are_read_as_they_are() -> None:
    assert read({"chosen": "a", "rejected": "b"}) == [
        {"id": "row-0", "chosen": "a", "rejected": "b"}
    ]


def test_a_text_beside_a_chat_becomes_the_assistants_message() -> None:
    chat = [{"role": "user", "content": "p"}]
    [row] = read({**PAIR, "prompt": chat})
    assert row["chosen"] == [{"role": "assistant", "content": "good"}]
    assert row["prompt"] == chat


def test_a_margin_column_becomes_the_margin() -> None:
    [row] = read({**PAIR, "reward_gap": 0.5, "margin": 9.0}, margin_column="reward_gap")
    assert row["margin"] == 0.5
    assert "reward_gap" not in row


@pytest.mark.parametrize(
    ("pair", "fault"),
    [
        (PAIR, None),
        ({**PAIR, "rejected": "good"}, "equal sides"),
        ({**PAIR, "chosen": " \n"}, "an empty response (chosen)"),
        ({**PAIR, "rejected": ""}, "an empty response (rejected)"),
        ({**PAIR, "rejected": None}, "an empty response (rejected)"),
        ({**PAIR, "rejected": []}, "an empty response (rejected)"),
        ({**PAIR, "chosen": [{"role": "assistant", "content": None}]}, "an empty response"),
        ({**PAIR, "chosen": [{"role": "assistant", "content": "x"}]}, None),
    ],
)
def test_a_pair_that_teaches_nothing_has_a_fault(pair: dict[str, Any], fault: str | None) -> None:
    found = fault_of(pair)
    assert found is None if fault is None else fault in (found or "")


@pytest.mark.parametrize("command", ["rm", "dpo"])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{**PAIR, "id": "q7", "rejected": "good"}], "equal sides (chosen is rejected) in 1 of 1"),
        ([PAIR, {**PAIR, "chosen": ""}], "an empty response (chosen) in 1 of 2 pairs, first in"),
        ([{"prompt": "p", "chosen": "a"}], "no column 'rejected': preference data has prompt,"),
        ([{"prompt": "p", "response": "a"}], "this has ['prompt', 'response']"),
        ([{"messages": [{"role": "user", "content": "x"}]}], "this has ['messages']"),
        ([{**PAIR, "chosen": 1, "rejected": 2}], "must be a text or a list of messages, not int"),
        (
            [{**PAIR, "chosen": [{"role": "assistant", "content": "x"}]}],
            "must both be texts, or both lists",
        ),
        ([{**PAIR, "prompt": [{"role": "user", "content": "p"}]}], "no chat template: add"),
        (
            [{**PAIR, "prompt": "tree " * 600}],
            "a prompt that fills the model's 512 positions in 1 of 1",
        ),
        ([{**PAIR, "prompt": "tree " * 300}], "max_length"),
    ],
)
def test_a_fault_in_the_data_is_one_line_and_exit_code_2(
    sorting: Sorting,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    rows: list[dict[str, Any]],
    message: str,
) -> None:
    path = write_rows(tmp_path / "rows.jsonl", rows)
    flags = sorting.flags(tmp_path / "run", dataset_name=path, max_steps=1, max_length=64)
    capsys.readouterr()
    assert main([command, *flags]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "trainer " in line]
    assert len(errors) == 1
    assert message in errors[0]


def test_a_prompt_as_long_as_the_model_is_named_with_its_length(sorting: Sorting) -> None:
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(sorting.base)
    tokenizer = AutoTokenizer.from_pretrained(sorting.base)
    config.max_position_embeddings = len(tokenizer("Two trees")["input_ids"])
    rows = Dataset.from_list(
        [{"id": "short", "prompt": "x"}, {"id": "long", "prompt": "Two trees"}]
    )
    with pytest.raises(InputError, match="'long'"):
        check_prompts_fit(rows, tokenizer, config)
    config.max_position_embeddings += 1
    check_prompts_fit(rows, tokenizer, config)
