"""Selections compared with hand computations, a slow reference, and results released by LIMR."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import load_dataset

from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.data.rows import load_rows
from touchstone_rewards.trainer.lim.methods import (
    coverage,
    filled,
    inside_band,
    kept,
    learnability,
    lim_scores,
    linear_scores,
    random_scores,
    variance,
)
from touchstone_rewards.trainer.lim.table import read_table

NAN = math.nan
HAND = np.array([[0.0, 0.5, 1.0], [0.5, 0.5, 0.5], [1.0, 0.0, NAN]])


def write_samples(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """Write one file per step, as the trainers do."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        with (folder / f"samples_step_{row['step']}.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
    return folder


def sample(prompt: int, epoch: int, reward: float | None, **more: Any) -> dict[str, Any]:
    return {
        "id": f"p{prompt}/0",
        "group": f"p{prompt}",
        "prompt": f"Question {prompt}?",
        "response": f"answer {prompt} in epoch {epoch}",
        "reward": reward,
        "step": epoch + 1,
        "epoch": float(epoch),
        "ground_truth": str(prompt),
        **more,
    }


def slow_lim(matrix: list[list[float]]) -> list[float]:
    """Compute the formula without arrays."""
    means = []
    for column in zip(*matrix, strict=True):
        present = [value for value in column if not math.isnan(value)]
        means.append(sum(present) / len(present) if present else NAN)
    scores = []
    for row in matrix:
        pairs = [(v, m) for v, m in zip(row, means, strict=True) if not math.isnan(v)]
        room = sum((1 - mean) ** 2 for _, mean in pairs)
        distance = sum((value - mean) ** 2 for value, mean in pairs)
        scores.append(1 - distance / room if room else NAN)
    return scores


def test_the_score_by_hand() -> None:
    # means 0.5, 1/3, 0.75; room 0.25 + 4/9 + 0.0625
    scores = lim_scores(HAND)
    room = 0.25 + 4 / 9 + 0.0625
    assert scores[0] == pytest.approx(1 - (0.25 + 1 / 36 + 0.0625) / room)
    assert scores[1] == pytest.approx(1 - (0 + 1 / 36 + 0.0625) / room)
    assert scores[2] == pytest.approx(1 - (0.25 + 1 / 9) / (0.25 + 4 / 9))


def test_the_score_of_random_trajectories_is_that_of_the_slow_reference() -> None:
    rng = np.random.default_rng(1)
    matrix = rng.integers(0, 9, (60, 12)) / 8
    matrix[rng.random(matrix.shape) < 0.2] = NAN
    np.testing.assert_allclose(lim_scores(matrix), slow_lim(matrix.tolist()), rtol=1e-12)


def test_a_prompt_that_moves_as_the_mean_does_scores_one() -> None:
    assert lim_scores(np.array([[0.25, 0.5], [0.25, 0.5]])) == pytest.approx([1.0, 1.0])


def test_where_everything_was_always_solved_there_is_no_score() -> None:
    assert np.isnan(lim_scores(np.ones((3, 4)))).all()


def test_with_rewards_the_room_goes_up_to_the_full_reward() -> None:
    # means 0: room 2 * 2^2, distance 2 * 1
    assert lim_scores(np.array([[1.0, 1.0], [-1.0, -1.0]]), full=2.0)[0] == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        ("none", [NAN, 0.25, NAN, NAN, 1.0, NAN]),
        ("ffill", [NAN, 0.25, 0.25, 0.25, 1.0, 1.0]),
        ("bfill", [0.25, 0.25, 1.0, 1.0, 1.0, NAN]),
        ("paper", [0.25, 0.25, NAN, 1.0, 1.0, NAN]),
    ],
)
def test_missing_epochs_are_filled_from_where_it_says(fill: Any, expected: list[float]) -> None:
    row = np.array([[NAN, 0.25, NAN, NAN, 1.0, NAN]])
    np.testing.assert_array_equal(filled(row, fill), [expected])


def test_coverage_is_the_share_of_epochs_there_are() -> None:
    np.testing.assert_allclose(coverage(HAND), [1, 1, 2 / 3])


def test_a_steady_rise_is_linear_and_a_fall_or_a_plain_is_not() -> None:
    rows = np.array([[0.0, 0.25, 0.5], [0.5, 0.25, 0.0], [0.5, 0.5, 0.5], [0.0, 1.0, 1.0]])
    # the last: line 1/6, 2/3, 7/6: explains 1/2 of 2/3
    np.testing.assert_allclose(linear_scores(rows), [1.0, 0.0, 0.0, 0.75])
    assert np.isnan(linear_scores(np.array([[NAN, 1.0]])))[0]


def test_variance_learnability_and_band_by_hand() -> None:
    np.testing.assert_allclose(variance(HAND), [1 / 6, 0.0, 0.25])
    np.testing.assert_allclose(learnability(np.array([[0.5, 1.0], [1.0, 1.0]])), [0.1875, 0.0])
    np.testing.assert_allclose(
        inside_band(np.array([[0.2], [0.8], [0.5], [0.9]]), 0.2, 0.8), [0, 0, 0.3, -0.1], atol=1e-12
    )


def test_the_best_are_kept_the_earlier_of_equals_and_never_one_without_a_score() -> None:
    scores = np.array([0.5, NAN, 0.9, 0.5, 0.6])
    assert kept(scores, threshold=0.5).tolist() == [0, 2, 3, 4]
    assert kept(scores, at_most=3).tolist() == [0, 2, 4]
    assert kept(scores, threshold=0.55, at_most=1).tolist() == [2]


def test_a_random_choice_is_the_same_again_with_the_same_seed() -> None:
    np.testing.assert_array_equal(random_scores(9, 3), random_scores(9, 3))
    assert not np.array_equal(random_scores(9, 3), random_scores(9, 4))


def test_always_wrong_is_not_missing(tmp_path: Path) -> None:
    """Check prompts that were never solved: the original code used -1 for two things and lost
    them."""
    rows = [sample(0, epoch, -1.0) for epoch in range(3)] + [sample(1, 1, 1.0)]
    table = read_table(write_samples(tmp_path / "s", rows))
    np.testing.assert_array_equal(table.accuracy, [[0, 0, 0], [NAN, 1, NAN]])
    np.testing.assert_array_equal(table.reward[0], [-1, -1, -1])


def test_a_sample_without_a_reward_counts_for_nothing(tmp_path: Path) -> None:
    rows = [sample(0, 0, 1.0), sample(0, 0, None), sample(0, 1, None)]
    table = read_table(write_samples(tmp_path / "s", rows))
    assert (table.samples, table.unrewarded) == (3, 2)
    np.testing.assert_array_equal(table.accuracy, [[1.0]])


def test_epochs_by_steps_take_the_step_from_the_line_or_from_the_name_of_the_file(
    tmp_path: Path,
) -> None:
    """Lines of `id, prompt, response, reward` alone are enough."""
    folder = tmp_path / "s"
    folder.mkdir()
    for step in (1, 2, 3, 4):
        line = {"id": "q", "prompt": "?", "response": "!", "reward": float(step > 2)}
        (folder / f"samples_step_{step}.jsonl").write_text(json.dumps(line) + "\n")
    np.testing.assert_array_equal(read_table(folder, steps_per_epoch=2).accuracy, [[0.0, 1.0]])
    np.testing.assert_array_equal(
        read_table(folder, steps_per_epoch=1, max_epochs=3).accuracy, [[0.0, 0.0, 1.0]]
    )


def test_a_last_line_that_is_still_being_written_is_left_out(tmp_path: Path) -> None:
    folder = write_samples(tmp_path / "s", [sample(0, 0, 1.0), sample(1, 0, 0.0)])
    with (folder / "samples_step_1.jsonl").open("a") as file:
        file.write(json.dumps(sample(2, 0, 1.0))[:40])
    assert read_table(folder).prompts == ["p0", "p1"]


def limr_reference(folder: Path, steps_per_epoch: int, epochs: int) -> dict[str, float]:
    """Compute LIMR's selection from `step_*.json` in a new, slow way."""
    by_epoch: list[dict[str, list[float]]] = [{} for _ in range(epochs)]
    prompts: list[str] = []
    for step in range(steps_per_epoch * epochs):
        for row in json.loads((folder / f"step_{step + 1}.json").read_text()):
            prompts.append(row["prompt"])
            by_epoch[step // steps_per_epoch].setdefault(row["prompt"], []).append(row["reward"])
    sequences: dict[str, list[float]] = {}
    for prompt in dict.fromkeys(prompts):
        accuracies = []
        for epoch in by_epoch:
            rewards = epoch.get(prompt, [])
            accuracies.append(sum(r == 1 for r in rewards) / len(rewards) if rewards else NAN)
        for k in range(epochs - 1):
            if math.isnan(accuracies[k]):
                accuracies[k] = accuracies[k + 1]
        if not any(map(math.isnan, accuracies)):
            sequences[prompt] = accuracies
    return dict(zip(sequences, slow_lim(list(sequences.values())), strict=True))


def test_limrs_own_files_give_the_scores_that_limrs_method_gives(tmp_path: Path) -> None:
    rng = random.Random(0)
    store = tmp_path / "limr"
    store.mkdir()
    for step in range(1, 9):
        drawn = rng.sample(range(30), 18)
        rows = [
            {"prompt": f"Question {n}", "reward": rng.choice([1, 1, -0.5, -1]), "answer": "x"}
            for n in drawn
            for _ in range(4)
        ]
        (store / f"step_{step}.json").write_text(json.dumps(rows))
    expected = limr_reference(store, 2, 4)
    output = tmp_path / "out"
    flags = ["--steps_per_epoch=2", "--max_epochs=4", "--fill=paper", "--min_coverage=1"]
    assert main(["lim", f"--samples={store}", f"--output={output}", "--threshold=0.2", *flags]) == 0
    lines = [json.loads(line) for line in (output / "scores.jsonl").open()]
    scores = {line["id"]: line["score"] for line in lines if line["score"] is not None}
    assert 5 < len(expected) < 30
    assert scores == pytest.approx(expected)
    assert {line["id"] for line in lines if line["kept"]} == {
        prompt for prompt, score in expected.items() if score >= 0.2
    }


@pytest.mark.parametrize(
    ("threshold", "count"), [(0.2, 5548), (0.4, 3443), (0.5, 2319), (0.6, 1389), (0.7, 645)]
)
def test_limrs_released_scores_keep_as_many_prompts_as_they_published(
    shared_data: Path, tmp_path: Path, threshold: float, count: int
) -> None:
    flags = [f"--scores={shared_data / 'limr_scores.json'}", f"--threshold={threshold}"]
    assert main(["lim", *flags, f"--output={tmp_path}"]) == 0
    assert sum(1 for _ in (tmp_path / "selected.jsonl").open()) == count
    assert sum(1 for _ in (tmp_path / "scores.jsonl").open()) == 7935


def test_the_selection_keeps_the_rows_of_the_dataset_that_trained(
    shared_data: Path, tmp_path: Path
) -> None:
    flags = [
        f"--scores={shared_data / 'limr_scores.json'}",
        f"--dataset={shared_data / 'limr_math_8k.json'}",
    ]
    assert main(["lim", *flags, f"--output={tmp_path}"]) == 0
    rows = load_rows(str(tmp_path / "selected.jsonl"))
    assert len(rows) == 1389
    assert {"id", "prompt", "answer", "score", "selected_by"} <= set(rows.column_names)
    assert min(rows["score"]) == 0.6


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return four prompts over three epochs: rising, always right, always wrong, right half of the
    time."""
    rewards = {0: [-1, -1, 1], 1: [1, 1, 1], 2: [-1, -1, -1], 3: [-1, 1, 1]}
    rows = [sample(p, epoch, r) for p, rs in rewards.items() for epoch, r in enumerate(rs)]
    return write_samples(tmp_path / "store", rows)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--method=lim", "--threshold=0.5"], {"p0", "p3"}),
        (["--method=mean_reward", "--threshold=0"], {"p1", "p3"}),
        (["--method=mean_reward", "--keep=1"], {"p1"}),
        (["--method=variance", "--threshold=0.2"], {"p0", "p3"}),
        (["--method=band"], {"p0", "p3"}),
        (["--method=band", "--band_high=0.5"], {"p0"}),
        (["--method=learnability"], {"p0", "p3"}),
        (["--method=linear"], {"p0", "p3"}),
        (["--method=lim", "--keep=1"], {"p0"}),
    ],
)
def test_every_method_keeps_what_it_says(
    store: Path, tmp_path: Path, flags: list[str], expected: set[str]
) -> None:
    assert main(["lim", f"--samples={store}", f"--output={tmp_path / 'out'}", *flags]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "selected.jsonl").open()]
    assert {row["id"] for row in rows} == expected


def test_the_folder_is_a_dataset_for_rl_and_one_for_sft(store: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    flags = ["--method=random", "--keep=4"]
    assert main(["lim", f"--samples={store}", f"--output={output}", *flags]) == 0
    rl = load_rows(str(output))
    assert set(rl["id"]) == {"p0", "p1", "p2", "p3"}
    assert rl["prompt"][0] == "Question 0?"
    sft = load_dataset(str(output), "sft", split="train")
    # the last right response of each prompt; p2 was never right
    assert dict(zip(sft["id"], sft["response"], strict=True)) == {
        "p0": "answer 0 in epoch 2",
        "p1": "answer 1 in epoch 2",
        "p3": "answer 3 in epoch 2",
    }
    about = json.loads((output / "run.json").read_text())
    assert about["selection"]["kept"] == 4
    assert about["versions"]["python"]
    assert "image/svg+xml" in (output / "report.html").read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method=best"], "must be one of lim, mean_reward"),
        (["--method=random"], "give threshold or keep"),
        (["--fill=mean"], "must be one of none, ffill"),
        (["--min_coverage=2"], "must be between 0 and 1"),
        (["--scores=x.json"], "give either --samples"),
        (["--threshold=2"], "no prompt is kept: 4 of 4 prompts have a score, the best"),
        (["--dataset={rows}", "--threshold=0"], "has no id of the samples and no column 'prompt'"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    store: Path, tmp_path: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text('{"id": "elsewhere", "question": "?"}\n')
    flags = [flag.replace("{rows}", str(other)) for flag in flags]
    assert main(["lim", f"--samples={store}", f"--output={tmp_path / 'out'}", *flags]) == 2
    assert message in capsys.readouterr().err


def test_samples_that_tell_no_epoch_need_steps_per_epoch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "samples_step_1.jsonl").write_text('{"id": "q", "reward": 1}\n')
    assert main(["lim", f"--samples={folder}", f"--output={tmp_path / 'o'}"]) == 2
    assert "give --steps_per_epoch" in capsys.readouterr().err


def selected(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "selected.jsonl").open()]


def test_scores_of_prompts_with_unicode_line_ends_are_read(tmp_path: Path) -> None:
    prompts = ["one\u2028line", "form\x0cfeed", "next\x85line"]
    lines = [json.dumps({"prompt": p, "score": 0.9}, ensure_ascii=False) for p in prompts]
    (tmp_path / "scores.jsonl").write_text("\n".join(lines).replace("\x0c", "\\f"))
    flags = [f"--scores={tmp_path / 'scores.jsonl'}", f"--output={tmp_path / 'out'}"]
    assert main(["lim", *flags]) == 0
    assert [row["prompt"] for row in selected(tmp_path / "out")] == prompts


@pytest.mark.parametrize("column", ["id", "prompt"])
def test_white_space_around_what_names_a_row_does_not_lose_it(tmp_path: Path, column: str) -> None:
    names = [" a", "b ", "c"]
    rows = [{"id": str(at), "prompt": f"q{at}"} | {column: name} for at, name in enumerate(names)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    samples = [
        {"reward": reward, "step": step + 1, "epoch": step} for step, reward in enumerate((0, 1))
    ]
    folder = tmp_path / "store"
    written = [{"group": name, "id": f"{name}/0", **each} for name in names for each in samples]
    write_samples(folder, written)
    flags = ["--method=random", "--keep=3", f"--dataset={tmp_path / 'rows.jsonl'}"]
    assert main(["lim", f"--samples={folder}", f"--output={tmp_path / 'out'}", *flags]) == 0
    assert [row[column] for row in selected(tmp_path / "out")] == names


def test_ids_that_differ_in_white_space_alone_are_two_rows(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"id": "a", "n": 1}\n{"id": "a ", "n": 2}\n')
    (tmp_path / "scores.jsonl").write_text('{"id": "a ", "score": 1}\n{"id": "a", "score": 0}\n')
    flags = [f"--scores={tmp_path / 'scores.jsonl'}", f"--dataset={tmp_path / 'rows.jsonl'}"]
    assert main(["lim", *flags, "--threshold=0.5", f"--output={tmp_path / 'out'}"]) == 0
    assert [row["n"] for row in selected(tmp_path / "out")] == [2]


def test_a_store_that_counts_its_steps_from_0_loses_none_of_them(tmp_path: Path) -> None:
    for step in range(4):
        rows = [{"prompt": "q", "reward": float(step)}]
        (tmp_path / f"step_{step}.json").write_text(json.dumps(rows))
    table = read_table(tmp_path, steps_per_epoch=2)
    assert table.samples == 4
    assert table.reward.tolist() == [[0.5, 2.5]]
