"""The study of graders: their answers over the wire, figures by hand, and the page."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks._graders import verify
from benchmarks.why import (
    HEDGED,
    LABELS,
    PANELS,
    Judged,
    counts_of,
    curves_of,
    draw,
    graders,
    hedged,
    held_out,
)
from tests.checkout import ROOT
from touchstone_rewards.clients import RemoteRewardClient, Sample

PAGE = (ROOT / "docs" / "why.md").read_text(encoding="utf-8")
FOUND: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / "why.json").read_text())
SHARES = (*PANELS, "hedged")
RIGHT, HEDGE, WRONG = (
    f" 7+5=12 </think> <answer> {answer} </answer>" for answer in ("12", "11 or 12", "13")
)


def fails(name: str) -> bool:
    try:
        verify(name, RIGHT, "12")
    except TimeoutError:
        return True
    return False


def test_the_verifier_fails_for_one_sample_in_ten_whatever_was_written() -> None:
    names = [f"grpo-{row}/{place}" for row in range(300) for place in range(8)]
    failing = [name for name in names if fails(name)]
    assert len(failing) / len(names) == pytest.approx(0.1, abs=0.02)
    with pytest.raises(TimeoutError):
        verify(failing[0], WRONG, "12")


def test_each_grader_answers_over_the_wire_as_its_name_says(tmp_path: Path) -> None:
    names = [str(number) for number in range(100)]
    failing = next(name for name in names if fails(name))
    working = next(name for name in names if not fails(name))
    asked = [
        Sample(name, response, ground_truth="12")
        for name, response in ((working, RIGHT), (working, HEDGE), (working, WRONG))
    ]
    asked.append(Sample(failing, RIGHT, ground_truth="12"))
    with graders(tmp_path) as (ours, others):
        with RemoteRewardClient(ours) as client:
            results = client.score(asked, "verify")
            assert [each.reward for each in results] == [1, 0, 0, None]
            assert results[-1].error is not None
            assert results[-1].error.code == "scorer_failed"
            # The check that no run is trained on agrees with the verifier.
            assert [each.reward for each in client.score(asked, "r1_zero")] == [1, 0, 0, 1]
        with RemoteRewardClient(others) as client:
            found = {
                name: [each.reward for each in client.score(asked, name)]
                for name in ("zero_for_failed", "substring")
            }
    assert found == {"zero_for_failed": [1, 0, 0, 0], "substring": [1, 1, 0, 1]}


def test_one_tagged_lesson_in_three_hedges_and_the_right_number_stays_in_it() -> None:
    rng = random.Random(0)
    lessons = [hedged(RIGHT, rng) for _ in range(1000)]
    changed = [lesson for lesson in lessons if lesson != RIGHT]
    assert len(changed) / len(lessons) == pytest.approx(HEDGED, abs=0.05)
    assert all(" or " in lesson and " 12 " in lesson for lesson in changed)
    assert hedged(" 7+5=12 so the answer is 12.", rng) == " 7+5=12 so the answer is 12."


# Two updates of two groups. The first: a right one that got 0, and a wrong one that got 1.
SAMPLES = [
    Judged(1, "a", 1.0, True),
    Judged(1, "a", 0.0, True),
    Judged(1, "b", 1.0, False),
    Judged(1, "b", 0.0, False, hedged=True),
    Judged(2, "a", None, True),
    Judged(2, "a", 1.0, True),
    Judged(2, "b", 0.0, False),
    Judged(2, "b", 1.0, True),
]


def test_the_curves_are_means_by_update_and_a_null_is_in_no_mean_of_rewards() -> None:
    curves = curves_of(SAMPLES)
    assert curves["reward"] == [0.5, 0.6667]
    assert curves["right"] == [0.5, 0.75]
    assert curves["hacked"] == [0.25, 0.0]
    assert curves["hedged"] == [0.25, 0.0]


def test_a_group_whose_rewards_differ_and_whose_truths_do_not_teaches_noise() -> None:
    assert counts_of(SAMPLES) == {
        "samples": 8,
        "without_reward": 1,
        "right_with_0": 1,
        "groups_that_teach": 3,
        "groups_that_teach_noise": 2,
    }


def test_held_out_accuracy_is_by_the_true_check() -> None:
    run = held_out(SAMPLES)
    assert run.curve.accuracy == [0.5, 1.0]  # of a row that was measured twice the last one counts
    assert run.rows["final"] == {"a": 1.0, "b": 1.0}


def test_the_picture_names_every_grader_and_panel() -> None:
    runs = {name: {"0": curves_of(SAMPLES)} for name in LABELS}
    picture = draw(runs).decode()
    for text in (*LABELS.values(), *PANELS.values()):
        assert text in picture


def interval(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['mean']:.3f} [{low:.3f}, {high:.3f}]"


@pytest.mark.parametrize("name", LABELS)
def test_the_page_has_the_figures_that_were_measured(name: str) -> None:
    setting, runs = FOUND["settings"][name], FOUND["runs"][name].values()
    last = {key: [sum(run[key][-10:]) / 10 for run in runs] for key in SHARES}
    shown = [f"{sum(last[key]) / len(last[key]):.3f}" for key in SHARES]
    by_seed = ", ".join(f"{value:.3f}" for value in setting["final"]["by_seed"])
    cells = [f"`{name}`", *shown, interval(setting["final"]), by_seed]
    assert f"| {' | '.join(cells)} |" in PAGE


def test_the_page_has_the_lines_of_evidence_and_the_counts() -> None:
    said = " ".join(PAGE.split())
    for line in FOUND["evidence"]:
        assert f"- {line}" in said
    for name, runs in FOUND["runs"].items():
        counts = {key: sum(run[key] for run in runs.values()) for key in counts_of(SAMPLES)}
        cells = " | ".join(f"{count:,}" for count in counts.values())
        assert f"| `{name}` | {cells} |" in PAGE
    assert len(FOUND["seeds"]) >= 3
