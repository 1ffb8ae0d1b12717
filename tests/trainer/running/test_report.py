from __future__ import annotations

import json
import re
from pathlib import Path

from touchstone_rewards.trainer.data.kept_samples import KeptSample, SampleWriter
from touchstone_rewards.trainer.running.plots import DARK, LIGHT, draw_curves, series
from touchstone_rewards.trainer.running.report import measures, pairs, tiles, write_report

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
