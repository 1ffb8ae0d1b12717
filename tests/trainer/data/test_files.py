"""Allowed values of `dataset_name`: several files, a pattern, a compressed file, a saved folder."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from tests.trainer.conftest import write_rows
from touchstone_rewards.trainer.config import parse_config
from touchstone_rewards.trainer.data.rows import DataArguments, load_rows
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.workflow.inputs import inputs_of


def rows(*names: str) -> list[dict[str, Any]]:
    return [{"id": name, "prompt": f"p{name}"} for name in names]


def ids(names: Any, **how: Any) -> list[str]:
    return list(load_rows(names, **how)["id"])


def test_several_files_come_one_after_the_other_whatever_their_formats(tmp_path: Path) -> None:
    first = write_rows(tmp_path / "first.jsonl", rows("a", "b"))
    second = tmp_path / "second.parquet"
    Dataset.from_list(rows("c")).to_parquet(second)
    assert ids([str(second), str(first)]) == ["c", "a", "b"]
    assert ids([str(first), str(first)]) == ["a", "b", "a", "b"]


def test_a_pattern_stands_for_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for number in (2, 1, 3):
        write_rows(tmp_path / f"part-{number}.jsonl", rows(str(number)))
    assert ids(str(tmp_path / "part-*.jsonl")) == ["1", "2", "3"]
    assert ids(str(tmp_path / "part-[12].jsonl")) == ["1", "2"]
    with pytest.raises(InputError, match="no dataset matches"):
        load_rows(str(tmp_path / "nothing-*.jsonl"))


@pytest.mark.parametrize("ending", ["jsonl.gz", "json.gz", "csv.gz"])
def test_a_packed_file_is_read_as_what_it_holds(tmp_path: Path, ending: str) -> None:
    plain = tmp_path / f"rows.{ending.removesuffix('.gz')}"
    if ending.startswith("csv"):
        plain.write_text("id,prompt\na,pa\nb,pb\n")
    elif ending.startswith("jsonl"):
        write_rows(plain, rows("a", "b"))
    else:
        plain.write_text(json.dumps(rows("a", "b")))
    packed = tmp_path / f"packed.{ending}"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert ids(str(packed)) == ["a", "b"]


def test_a_packed_file_that_is_torn_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "torn.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"id": "a"}\n' * 99)[:-12])
    with pytest.raises(InputError, match="cannot read the dataset") as refused:
        load_rows(str(path))
    assert "\n" not in str(refused.value)


def test_a_saved_folder_is_read_and_its_split_is_the_one_asked_for(tmp_path: Path) -> None:
    Dataset.from_list(rows("a")).save_to_disk(tmp_path / "one")
    both: Any = {"train": Dataset.from_list(rows("b")), "test": Dataset.from_list(rows("c"))}
    DatasetDict(both).save_to_disk(tmp_path / "two")
    assert ids(str(tmp_path / "one")) == ["a"]
    assert ids(str(tmp_path / "two"), split="test") == ["c"]
    assert ids([str(tmp_path / "one"), str(tmp_path / "two")]) == ["a", "b"]
    with pytest.raises(InputError, match="has no split 'dev'; it has train, test"):
        load_rows(str(tmp_path / "two"), split="dev")


def test_files_whose_columns_clash_are_refused_with_what_each_has(tmp_path: Path) -> None:
    first = write_rows(tmp_path / "first.jsonl", [{"id": "a", "prompt": "p"}])
    second = write_rows(tmp_path / "second.jsonl", [{"id": "b", "prompt": {"deep": 1}}])
    with pytest.raises(InputError, match=r"have different columns: .*first\.jsonl has"):
        load_rows([str(first), str(second)])


def test_yaml_and_flags_take_one_name_or_several(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("dataset_name: [a.jsonl, b.jsonl]\n")
    data = parse_config(DataArguments, ["--config", str(config)], "x")
    assert data.dataset_name == ["a.jsonl", "b.jsonl"]
    data = parse_config(DataArguments, ["--dataset_name", "a.jsonl", "b.jsonl"], "x")
    assert data.dataset_name == ["a.jsonl", "b.jsonl"]
    data = parse_config(DataArguments, ["--dataset_name=a.jsonl"], "x")
    assert data.dataset_name == ["a.jsonl"]


def test_a_stage_depends_on_the_content_of_every_file(tmp_path: Path) -> None:
    names = [str(write_rows(tmp_path / f"{name}.jsonl", rows(name))) for name in "ab"]
    before = inputs_of({"dataset_name": names})
    assert set(before) == {"content of dataset_name"}
    write_rows(tmp_path / "b.jsonl", rows("c"))
    after = inputs_of({"dataset_name": names})
    assert before != after
    assert inputs_of({"dataset_name": names[:1]}) == inputs_of({"dataset_name": names[0]})
