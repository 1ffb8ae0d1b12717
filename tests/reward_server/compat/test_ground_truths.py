"""A sample gets its ground truth from the operator's file by its prompt, never by its position."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from touchstone_rewards.reward_server.compat.format import Format
from touchstone_rewards.reward_server.compat.formats import FORMATS
from touchstone_rewards.reward_server.compat.ground_truths import GroundTruths
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import Sample


def truths(tmp_path: Path, *rows: dict[str, Any]) -> GroundTruths:
    path = tmp_path / "truths.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return GroundTruths(path)


def filled(known: GroundTruths, sample: Sample, *, by_id: bool) -> Any:
    known.fill(sample, by_id=by_id)
    return sample.ground_truth


@pytest.mark.parametrize("spoken", FORMATS, ids=lambda spoken: spoken.name)
def test_no_format_gives_a_sample_the_ground_truth_of_its_place_in_the_request(
    tmp_path: Path, spoken: Format[Any]
) -> None:
    known = truths(tmp_path, *({"id": at, "ground_truth": f"row {at}"} for at in range(5)))
    asked = spoken.decoder(json.dumps(spoken.example).encode())
    for sample in spoken.samples(asked):
        assert isinstance(sample, Sample)
        sample.ground_truth = None
        assert filled(known, sample, by_id=spoken.sends_ids) is None


def test_shuffled_samples_get_the_ground_truths_of_their_prompts(tmp_path: Path) -> None:
    rows = [{"id": at, "prompt": f"What is {at} + 1?", "ground_truth": at + 1} for at in range(64)]
    known = truths(tmp_path, *rows)
    random.Random(0).shuffle(rows)
    for place, row in enumerate(rows):
        sample = Sample(str(place), "…", f" {row['prompt']}\n")
        assert filled(known, sample, by_id=False) == row["ground_truth"]


def test_an_id_that_is_the_trainers_own_counts(tmp_path: Path) -> None:
    known = truths(tmp_path, {"id": "gsm8k-12", "ground_truth": "46"})
    assert filled(known, Sample("gsm8k-12", "…", "…"), by_id=True) == "46"
    assert filled(known, Sample("gsm8k-13", "…", "…"), by_id=True) is None


def test_where_id_and_prompt_disagree_the_sample_gets_neither(tmp_path: Path) -> None:
    known = truths(
        tmp_path,
        {"id": 0, "prompt": "What is 1 + 1?", "ground_truth": "2"},
        {"id": 1, "prompt": "What is 2 + 2?", "ground_truth": "4"},
    )
    assert filled(known, Sample("0", "…", "What is 2 + 2?"), by_id=True) is None
    assert filled(known, Sample("1", "…", "What is 2 + 2?"), by_id=True) == "4"
    assert filled(known, Sample("1", "…", "in a template: What is 2 + 2?"), by_id=True) == "4"


def test_a_ground_truth_that_came_with_the_sample_stays(tmp_path: Path) -> None:
    known = truths(tmp_path, {"id": "a", "prompt": "p", "ground_truth": "1"})
    assert filled(known, Sample("a", "…", "p", "2"), by_id=True) == "2"


@pytest.mark.parametrize("first", [0, 1])
def test_ids_that_look_like_positions_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, first: int
) -> None:
    truths(tmp_path, *({"id": at, "ground_truth": "1"} for at in range(first, first + 3)))
    assert "look like positions" in caplog.text


@pytest.mark.parametrize("ids", [["a", "b"], [3, 7], [None, None]])
def test_other_ids_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, ids: list[Any]
) -> None:
    truths(
        tmp_path,
        *({"id": i, "prompt": f"p{n}", "ground_truth": "1"} for n, i in enumerate(ids)),
    )
    assert not caplog.text


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"id": "x", "ground_truth": "2"}, "line 2: the id 'x' has another"),
        ({"prompt": "p ", "ground_truth": "2"}, "line 2: the prompt 'p' has another"),
        ({"ground_truth": "2"}, "line 2: the line has neither id nor prompt"),
    ],
)
def test_lines_that_contradict_each_other_or_name_no_sample_are_refused(
    tmp_path: Path, second: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        truths(tmp_path, {"id": "x", "prompt": "p", "ground_truth": "1"}, second)


def test_the_same_row_twice_is_one(tmp_path: Path) -> None:
    row = {"id": "x", "prompt": "a\u2028b", "ground_truth": ["1", 2]}
    assert filled(truths(tmp_path, row, row), Sample("0", "…", "a\u2028b"), by_id=False) == ["1", 2]
