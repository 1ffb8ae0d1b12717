"""Preference rows of every shape keep their prompt; a line names the recognised and unused
columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import TrainingArguments

from tests.trainer.conftest import write_rows
from tests.trainer.sorting import Sorting, make_sorting
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.data.rows import DataArguments
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.preference.rows import preference_rows
from touchstone_rewards.trainer.running.run import rows_of

CONFIGS = Path(__file__).parents[3] / "trainer" / "configs"

SYSTEM = {"role": "system", "content": "s"}
USER, SECOND_USER = {"role": "user", "content": "q"}, {"role": "user", "content": "q2"}
FIRST, GOOD, BAD = ({"role": "assistant", "content": text} for text in ("a", "good", "bad"))
SIDES = {"chosen": "good", "rejected": "bad"}
TURNS = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
TURNS += [{"from": "human", "value": "q2"}]
TURN_SIDES = {
    "chosen": {"from": "gpt", "value": "good"},
    "rejected": {"from": "gpt", "value": "bad"},
}
CHAT = {"prompt": [USER, FIRST, SECOND_USER], "chosen": [GOOD], "rejected": [BAD]}
SHORT = {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}


@pytest.fixture(scope="module")
def sorting(tmp_path_factory: pytest.TempPathFactory) -> Sorting:
    return make_sorting(tmp_path_factory.mktemp("sorting"))


def parts(question: str, answer: str) -> list[dict[str, Any]]:
    """Return a conversation whose texts are lists of parts."""
    said = (("user", question), ("assistant", answer))
    return [{"role": role, "content": [{"type": "text", "value": text}]} for role, text in said]


def read(*rows: dict[str, Any], **options: Any) -> tuple[list[Any], str]:
    made, line = preference_rows(Dataset.from_list(list(rows)), **options)
    return [{name: row[name] for name in row if name != "id"} for row in made.to_list()], line


@pytest.mark.parametrize(
    ("row", "made", "said"),
    [
        ({"instruction": "q", "input": "", **SIDES}, SHORT, "Alpaca (instruction)"),
        (
            {"instruction": "q", "input": "more", "system": "s", **SIDES},
            {**SHORT, "prompt": [SYSTEM, {"role": "user", "content": "q\nmore"}]},
            "Alpaca",
        ),
        ({"instruction": "q2", "history": [["q", "a"]], **SIDES}, CHAT, "Alpaca"),
        ({"conversations": TURNS, **TURN_SIDES}, CHAT, "ShareGPT"),
        ({"conversations": TURNS, **SIDES}, CHAT, "ShareGPT"),
        (
            {"conversations": TURNS, "system": "s", **TURN_SIDES},
            {**CHAT, "prompt": [SYSTEM, *CHAT["prompt"]]},
            "ShareGPT",
        ),
        ({"messages": [USER, FIRST, SECOND_USER], **SIDES}, CHAT, "messages"),
        ({"messages": [USER], "chosen": GOOD, "rejected": BAD}, SHORT, "messages"),
        # The whole conversation beside the sides, as some sets have it.
        ({"messages": [USER, GOOD], **SIDES}, SHORT, "messages"),
        ({"prompt": "q", "chosen": [USER, GOOD], "rejected": [USER, BAD]}, SHORT, "prompt"),
        ({"prompt": "q", "chosen": [GOOD], "rejected": [BAD]}, SHORT, "prompt"),
        ({"question": "q", **SIDES}, {"prompt": "q", **SIDES}, "question"),
        (
            {"question": "q", "system": "s", **SIDES},
            {**SHORT, "prompt": [SYSTEM, USER]},
            "question",
        ),
        ({"prompt": [USER], **SIDES}, SHORT, "prompt"),
        (
            {"chosen_messages": parts("q", "good"), "rejected_messages": parts("q", "bad")},
            {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
            "no prompt",
        ),
    ],
)
def test_a_row_of_every_shape_keeps_its_prompt_and_is_recognised_aloud(
    row: dict[str, Any], made: dict[str, Any], said: str
) -> None:
    found, line = read(row, has_template=True)
    assert found == [made]
    assert said in line
    assert "not used" not in line


def test_without_a_chat_template_alpaca_is_the_text_that_sft_makes_of_it() -> None:
    row = {"system": "s", "history": [["q", "a"]], "instruction": "q2", "input": "x", **SIDES}
    [made], _ = read(row)
    assert made["prompt"] == (
        "s\n\n### Instruction:\nq\n\n### Response:\na\n\n"
        "### Instruction:\nq2\n\n### Input:\nx\n\n### Response:\n"
    )
    assert (made["chosen"], made["rejected"]) == ("good", "bad")
    [made], _ = read({"prompt": "q", "system": "s", **SIDES})
    assert made["prompt"] == "s\n\nq"


def test_columns_with_text_that_are_not_used_are_named() -> None:
    row = {"id": "1", "prompt": "q", **SIDES, "source": "x", "score": 3, "notes": [{"by": "me"}]}
    _, line = read(row)
    assert line.endswith("; not used: source, notes")
    _, line = read({**SIDES, "post": "the prompt of another project"})
    assert "no prompt: the sides are whole texts" in line
    assert line.endswith("; not used: post")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"prompt": None}, "no prompt (null)"),
        ({"chosen": None}, "an empty response (chosen)"),
        ({"rejected": " "}, "an empty response (rejected)"),
        ({"rejected": "good"}, "equal sides"),
        ({"gap": None}, "margin_column 'gap' must hold a number, not None"),
        ({"gap": float("nan")}, "margin_column 'gap' must hold a number, not nan"),
    ],
)
def test_a_bad_row_is_named_by_its_id_and_left_out_if_wished(
    capsys: pytest.CaptureFixture[str], bad: dict[str, Any], reason: str
) -> None:
    row = {"id": "first", "prompt": "q", **SIDES, "gap": 1.0}
    rows = [{**row, "id": "q7", **bad}, row, row]
    options = {"margin_column": "gap"}
    with pytest.raises(InputError) as refusal:
        read(*rows, **options)
    assert reason in str(refusal.value)
    assert "in 1 of 3 pairs, first in 'q7'" in str(refusal.value)
    assert str(refusal.value).endswith("skip them with --skip_bad_rows true")
    made, _ = read(*rows, **options, skip_bad_rows=True)
    assert made == [{"prompt": "q", **SIDES, "margin": 1.0}] * 2
    assert f"skipped: {reason}" in capsys.readouterr().out


def test_every_reason_is_told_at_once_and_a_set_without_a_good_row_is_refused() -> None:
    rows = [{"prompt": "q", "chosen": "x", "rejected": "x"}, {"prompt": "q", **SIDES, "chosen": ""}]
    with pytest.raises(InputError, match=r"equal sides.* in 1 of 2.*an empty response.*none is"):
        read(*rows, skip_bad_rows=True)


def test_a_file_alone_is_parted_the_same_way_whatever_the_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": f"q{number}", **SIDES} for number in range(40)]
    data = DataArguments(dataset_name=[str(write_rows(tmp_path / "pairs.jsonl", rows))])
    found = []
    for seed in (0, 1):
        args = TrainingArguments(
            str(tmp_path), eval_strategy="steps", eval_steps=1, seed=seed, use_cpu=True
        )
        kept, held_out = rows_of(data, args)
        assert held_out is not None
        found.append((list(kept["id"]), list(held_out["id"])))
    assert found[0] == found[1]
    assert (len(found[0][0]), len(found[0][1])) == (38, 2)
    assert {*found[0][0], *found[0][1]} == {f"row-{number}" for number in range(40)}
    assert "data: 2 of 40 rows are held out for eval_strategy" in capsys.readouterr().out
    with pytest.raises(InputError, match="set eval_dataset_name"):
        rows_of(DataArguments([str(write_rows(tmp_path / "one.jsonl", rows[:1]))]), args)


def test_rows_to_measure_on_are_not_left_out_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = str(write_rows(tmp_path / "pairs.jsonl", [{"prompt": "q", **SIDES}]))
    args = TrainingArguments(str(tmp_path), use_cpu=True)
    assert rows_of(DataArguments([pairs]), args)[1] is None
    assert capsys.readouterr().out == ""
    rows_of(DataArguments([pairs], eval_dataset_name=["held_out.jsonl"]), args)
    said = "data: held_out.jsonl (eval_dataset_name) is not read, because eval_strategy "
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("command", ["rm", "dpo"])
def test_the_shipped_configs_train_on_one_file_of_llama_factorys_rows(
    sorting: Sorting, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    rows = [
        {"instruction": row["prompt"], "input": "", **{side: row[side] for side in SIDES}}
        for row in sorting.pairs[:20]
    ]
    fields = {
        "dataset_name": write_rows(tmp_path / "pairs.jsonl", rows),
        "max_steps": 1,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
    }
    config = CONFIGS / f"{command}.yaml"
    flags = sorting.flags(tmp_path / "run", **fields)
    assert main([command, f"--config={config}", *flags]) == 0
    said = capsys.readouterr().out
    assert "data: 1 of 20 rows are held out for eval_strategy (eval_share 0.05" in said
    assert "data: pairs, Alpaca (instruction); as they stand; 19 rows, 19 examples" in said
