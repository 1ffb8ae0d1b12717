from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from touchstone_rewards.trainer.data.kept_samples import KeptSample, SampleWriter
from touchstone_rewards.trainer.running.plots import (
    DARK,
    LIGHT,
    SMOOTHED_FROM,
    compared_drawings,
    draw_curves,
    draw_panel,
    drawings_of,
    recoloured,
    series,
    smoothed,
)
from touchstone_rewards.trainer.running.provenance import write_provenance
from touchstone_rewards.trainer.running.report import (
    first_and_last,
    measures,
    pairs,
    settings_of,
    tiles,
    write_report,
)

SCORE, WAIT = "scores/r1_zero/format", "rewards_wait_s/r1_zero"
HISTORY = [
    {"step": 1, "reward": 0.25, SCORE: 0.5, WAIT: 0.1, "step_time": 0.9},
    {"step": 2, "reward": None, "rewards_failed_frac/r1_zero": 1.0},
    {"step": 3, "reward": 0.75, SCORE: 1.0, WAIT: 0.3, "step_time": 0.5},
]
SUMMARY = {
    "profile": "r1_zero",
    "accuracy": 0.5,
    "accuracy_interval": [0.4, 0.6],
    "format_rate": None,
    "format_rate_interval": None,
    "num_examples": 4,
    "num_samples": 4,
    "num_failed": 1,
    "also": {},
}


def evaluation(folder: Path, rewards: dict[str, float | None]) -> Path:
    folder.mkdir()
    rows = [
        {
            "id": row_id,
            "prompt": "p <b>",
            "response": f"{folder.name}-{row_id}",
            "ground_truth": "2",
            "reward": reward,
            "scores": {},
            "error": None if reward is not None else {"code": "unavailable"},
        }
        for row_id, reward in rewards.items()
    ]
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "summary.json").write_text(json.dumps(SUMMARY))
    return folder


def test_a_step_without_a_value_is_no_point_of_the_curve() -> None:
    assert series(HISTORY, "reward") == [(1, 0.25), (3, 0.75)]


def test_neither_nan_nor_infinity_nor_null_is_a_point() -> None:
    values = [float("nan"), float("inf"), None, 2.0]
    history = [{"step": step, "grad_norm": value} for step, value in enumerate(values)]
    assert series(history, "grad_norm") == [(3, 2.0)]


def test_panels_without_a_value_are_left_out_and_those_of_zeros_are_named() -> None:
    history = [
        {"step": step, "grad_norm": 1.0, "completions/clipped_ratio": 0.25, "kl": None}
        | {"clip_ratio/region_mean": 0.0, "rewards_failed_frac/math": 0}
        for step in range(3)
    ]
    drawings, zero = drawings_of(history)
    assert [each.title for each in drawings] == ["Responses cut off, share", "Gradient norm"]
    assert zero == ["Failed rewards, share", "Tokens clipped, share"]


def test_smoothing_follows_the_last_tenth_and_begins_at_the_first_value() -> None:
    """With 40 values a step, half of a change is reached within about four values of 20."""
    values = [0.0] * 20 + [1.0] * 20
    found = smoothed(values)
    assert found[:20] == [0.0] * 20
    # The mean keeps 1 - 2/5 of its old value: after n ones it is 1 - 0.6^n, except for its start.
    assert found[24] == pytest.approx(1 - 0.6**5, abs=1e-3)
    assert smoothed([3.0]) == [3.0]


def test_a_curve_of_many_values_is_drawn_smoothed_with_the_values_behind_it() -> None:
    assert b"stroke-opacity: 0.35" not in draw_panel(drawings_of(short_history(3))[0][0])
    assert b"stroke-opacity: 0.35" in draw_panel(drawings_of(short_history(SMOOTHED_FROM))[0][0])


def test_a_panel_in_the_dark_colours_is_the_light_one_recoloured() -> None:
    history = [{"step": s, f"scores/p/{name}": s / 40} for s in range(40) for name in "abcdefghi"]
    [drawing], _ = drawings_of(history)
    dark = draw_panel(drawing, DARK)
    assert without_ids(recoloured(draw_panel(drawing, LIGHT), LIGHT, DARK)) == without_ids(dark)
    assert not any(colour.encode() in dark for colour in LIGHT[:3] + LIGHT.lines)


def without_ids(svg: bytes) -> bytes:
    """Remove the names of SVG markers, which are hashes that include their colours."""
    return re.sub(rb"\bm[0-9a-f]{10}\b", b"", svg)


def short_history(count: int) -> list[dict[str, float]]:
    return [{"step": step, "reward": step % 2} for step in range(count)]


def test_several_runs_have_a_panel_for_each_measure_and_a_line_for_each_run() -> None:
    scores = [{"step": 1, "scores/math/math": 0.5, "scores/math/format": 1.0, "reward": 0.5}]
    drawings, _ = compared_drawings({"a": scores, "b": [{"step": 1, "reward": 0.25}]})
    assert [each.title for each in drawings] == ["Reward", "Scores: format", "Scores: math"]
    assert [line.points for line in drawings[0].lines] == [[(1, 0.5)], [(1, 0.25)]]
    assert [line.label for line in drawings[1].lines] == ["a", "b"]


@dataclass
class Config:
    learning_rate: float = 1e-6
    temperature: float = 1.0
    lora_r: int = 16
    seed: int = 42
    logging_steps: int = 10


def test_the_settings_hold_what_was_set_and_the_defaults_that_decide(tmp_path: Path) -> None:
    write_provenance(tmp_path, "trainer grpo", [Config(temperature=0.7, logging_steps=1)])
    run = json.loads((tmp_path / "run.json").read_text())
    assert settings_of(run) == [
        ("learning_rate", "1e-06", True),
        ("seed", "42", True),
        ("temperature", "0.7", False),
        ("logging_steps", "1", False),
    ]
    page = write_report(tmp_path).read_text()
    assert "<dd>1e-06 (default)</dd>" in page
    assert "<dd>0.7</dd>" in page


def test_samples_of_several_groups_are_shown_with_their_ground_truths(tmp_path: Path) -> None:
    """Expect the worst, a middle and the best group, each with its best and its worst response."""
    samples = [
        KeptSample(
            f"g{group}/{k}",
            f"question {group}",
            f"{group}-{k}",
            float(k < group),
            {},
            1,
            0.0,
            f"g{group}",
            "f",
            ground_truth=f"truth {group}",
        )
        for group in range(5)
        for k in range(4)
    ]
    SampleWriter(tmp_path / "samples").write_batch(1, samples)
    groups = first_and_last(tmp_path / "samples")
    assert [[sample["response"] for sample in each.samples] for each in groups] == [
        ["0-0"],
        ["2-1", "2-2"],
        ["4-0"],
    ]
    assert groups[1].label.startswith("step 1 · row g2 · 4 responses, mean reward 0.50")
    page = write_report(tmp_path).read_text()
    for group in (0, 2, 4):
        assert f"ground truth: truth {group}" in page


def test_curves_are_images_in_both_themes() -> None:
    assert draw_curves(HISTORY, LIGHT).startswith(b"\x89PNG")
    assert draw_curves(HISTORY, LIGHT) != draw_curves(HISTORY, DARK)


def test_the_tiles_say_how_long_rewards_were_waited_for() -> None:
    # Waits of 0.1 and 0.3 s in steps of 0.9 and 0.5 s, which hold them: 0.4 / 1.4.
    assert dict(tiles(HISTORY))["of the training time"] == "28.6%"
    assert dict(tiles(HISTORY))["wait for rewards a rollout"] == "200 ms"
    assert dict(tiles(HISTORY))["reward, first to last"] == "0.25 → 0.75"


def test_measures_carry_their_interval_and_leave_out_what_was_not_measured(tmp_path: Path) -> None:
    [row] = measures({"before": evaluation(tmp_path / "a", {"x": 1.0})})
    assert (row["value"], row["low"], row["high"], row["failed"]) == (0.5, 0.4, 0.6, 1)


def test_every_kind_of_change_is_shown_also_for_the_worse(tmp_path: Path) -> None:
    before = evaluation(tmp_path / "a", {"up": 0.0, "down": 1.0, "same": 1.0, "lost": 1.0})
    after = evaluation(tmp_path / "b", {"up": 1.0, "down": 0.0, "same": 1.0, "lost": None})
    assert {pair["id"] for pair in pairs([before, after])} == {"up", "down", "same", "lost"}


def test_the_page_needs_nothing_from_outside_and_shows_text_as_text(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "trainer_state.json").write_text(json.dumps({"log_history": HISTORY}))
    (run / "run.json").write_text(json.dumps({"command": "trainer grpo", "commit": "abc123"}))
    hostile = "<script>alert(1)</script>"
    sample = KeptSample("a/0", "p", hostile, 0.0, {"math": 0.0}, 1, 0.0, "a", "f00")
    SampleWriter(run / "samples").write_batch(1, [sample])
    evaluations = {"before": evaluation(tmp_path / "a", {"x": 1.0})}
    page = write_report(run, evaluations=evaluations).read_text()
    assert hostile not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"(src|href|srcset)=\"(?!data:)", page)
    assert "abc123" in page
    assert "prefers-color-scheme: dark" in page


def test_a_turn_of_a_story_is_shown_with_what_came_before_and_each_score(tmp_path: Path) -> None:
    history = [{"role": ("user", "assistant")[n % 2], "content": f"turn {n}"} for n in range(4)]
    form = {"role": "system", "content": "how to answer"}
    now = {"role": "user", "content": "I look for the key."}
    sample = KeptSample(
        **{"id": "a/0", "prompt": [form, *history, now], "response": "Under the blue stone."},
        **{"reward": 0.7, "scores": {"coherence": 0.5, "logprob_gain": 0.25, "target": None}},
        **{"step": 1, "epoch": 0.0, "group": "a", "fingerprint": "f00"},
        signals={"logprob_gain": 0.125, "history_tokens": 40},
        metadata={"conversation_history": history, "user_input": now["content"]},
    )
    SampleWriter(tmp_path / "samples").write_batch(1, [sample])
    page = write_report(tmp_path).read_text()
    shown = "[2 earlier turns]\n[user] turn 2\n[assistant] turn 3\n[user] I look for the key."
    assert shown in page
    assert "how to answer" not in page
    for label in ("reward 0.7", "coherence 0.5", "logprob_gain 0.25", "logprob_gain 0.125"):
        assert label in page
    assert "Under the blue stone." in page


def test_a_folder_with_nothing_in_it_still_gives_a_page(tmp_path: Path) -> None:
    assert "<h1>" in write_report(tmp_path).read_text()
