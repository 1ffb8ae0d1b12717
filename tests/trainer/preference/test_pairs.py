"""Preference pairs from kept samples: the best against the worst of a group."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.data.kept_samples import KeptSample, SampleWriter
from touchstone_rewards.trainer.data.rows import load_rows
from touchstone_rewards.trainer.preference.rows import preference_rows

Chat = list[dict[str, str]]


def sample(group: str, response: str, reward: float | None, prompt: Any = "p") -> KeptSample:
    return KeptSample(
        id=f"{group}/{response}",
        prompt=prompt,
        response=response,
        reward=reward,
        scores={},
        step=1,
        epoch=0.0,
        group=group,
        fingerprint="f",
    )


def keep(folder: Path, *samples: KeptSample, step: int = 1) -> Path:
    SampleWriter(folder).write_batch(step, samples)
    return folder


def pairs(folder: Path, output: Path, *words: str) -> list[dict[str, Any]]:
    command = ["data", "pairs", f"--samples={folder}", f"--output={output}", *words]
    assert main(command) == 0
    return [json.loads(line) for line in output.read_text().splitlines()]


def test_the_best_and_the_worst_of_a_group_make_its_pair(tmp_path: Path) -> None:
    folder = keep(
        tmp_path / "samples",
        sample("a", "middle", 0.5),
        sample("a", "best", 1.0),
        sample("a", "worst", 0.0),
        sample("a", "as good as the best", 1.0),
        sample("a", "as bad as the worst", 0.0),
        sample("b", "right", 1.0, "q"),
    )
    keep(folder, sample("b", "wrong, a step later", -1.0, "q"), step=2)
    assert pairs(folder, tmp_path / "pairs.jsonl") == [
        {
            "id": "a",
            "prompt": "p",
            "chosen": "best",
            "rejected": "worst",
            "chosen_reward": 1.0,
            "rejected_reward": 0.0,
            "reward_gap": 1.0,
        },
        {
            "id": "b",
            "prompt": "q",
            "chosen": "right",
            "rejected": "wrong, a step later",
            "chosen_reward": 1.0,
            "rejected_reward": -1.0,
            "reward_gap": 2.0,
        },
    ]


def test_a_sample_without_a_reward_is_neither_best_nor_worst(tmp_path: Path) -> None:
    folder = keep(
        tmp_path / "samples",
        sample("a", "unscored first", None),
        sample("a", "right", 1.0),
        sample("a", "unscored", None),
        sample("a", "wrong", 0.0),
        sample("b", "right", 1.0),
        sample("b", "unscored", None),
        sample("c", "unscored", None),
    )
    [pair] = pairs(folder, tmp_path / "pairs.jsonl")
    assert (pair["chosen"], pair["rejected"]) == ("right", "wrong")


def test_a_group_whose_rewards_are_too_close_gives_no_pair(tmp_path: Path) -> None:
    folder = keep(
        tmp_path / "samples",
        *[sample("equal", text, 1.0) for text in "xy"],
        *[sample("close", text, reward) for text, reward in (("x", 0.5), ("y", 0.75))],
        *[sample("wide", text, reward) for text, reward in (("x", 0.5), ("y", 0.0))],
    )
    ids = [pair["id"] for pair in pairs(folder, tmp_path / "a.jsonl")]
    assert ids == ["wide"]
    ids = [pair["id"] for pair in pairs(folder, tmp_path / "b.jsonl", "--min_gap=0")]
    assert ids == ["close", "wide"]


def test_equal_or_empty_responses_give_no_pair_and_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = keep(
        tmp_path / "samples",
        *[sample("equal", "x", reward) for reward in (0.0, 1.0)],
        *[sample("empty", text, reward) for text, reward in (("", 0.0), ("x", 1.0))],
        *[sample("good", text, reward) for text, reward in (("y", 0.0), ("x", 1.0))],
    )
    assert [pair["id"] for pair in pairs(folder, tmp_path / "pairs.jsonl")] == ["good"]
    said = capsys.readouterr().out
    assert "1 pairs from 3 groups" in said
    assert "1 groups with equal responses" in said
    assert "1 groups with an empty response" in said


@pytest.mark.parametrize("prompt", ["p", [{"role": "user", "content": "p"}]], ids=["text", "chat"])
def test_the_trainers_read_what_was_written(tmp_path: Path, prompt: str | Chat) -> None:
    folder = keep(
        tmp_path / "samples", sample("a", "x", 1.0, prompt), sample("a", "y", 0.0, prompt)
    )
    pairs(folder, tmp_path / "pairs.jsonl")
    rows, _ = preference_rows(load_rows(str(tmp_path / "pairs.jsonl")), "reward_gap")
    [row] = rows.to_list()
    assert row["id"] == "a"
    assert row["margin"] == 1.0
    assert row["prompt"] == prompt


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output=x"], "--samples is missing"),
        (["--samples={folder}"], "--output is missing"),
        (["--samples={folder}/no", "--output=x"], "no samples at"),
        (["--samples={folder}", "--output=x", "--min_gap=5"], "no pair in 1 groups of"),
        (["--samples={folder}", "--output=x", "--min_gap=-1"], "0 or more"),
        (["--samples={folder}/samples_step_2.jsonl", "--output=x"], "line 1: not a sample"),
    ],
)
def test_what_gives_no_pairs_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    folder = keep(tmp_path / "samples", sample("a", "x", 1.0), sample("a", "y", 0.0))
    if "step_2" in words[0]:
        (folder / "samples_step_2.jsonl").write_text('{"no": "sample"}\n')
    assert main(["data", "pairs", *[word.format(folder=folder) for word in words]]) == 2
    assert message in capsys.readouterr().err


def test_what_was_begun_for_the_model_is_a_part_of_both_sides(tmp_path: Path) -> None:
    asked: Chat = [{"role": "user", "content": "1 + 1?"}]
    prompt = [*asked, {"role": "assistant", "content": "It is"}]
    right, wrong = sample("a", " 2", 1.0, prompt), sample("a", " 3", 0.0, prompt)
    folder = keep(tmp_path / "samples", right, wrong)
    [pair] = pairs(folder, tmp_path / "pairs.jsonl")
    assert (pair["prompt"], pair["chosen"], pair["rejected"]) == (asked, "It is 2", "It is 3")
