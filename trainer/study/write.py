"""Write a study's results as `study.json`, as a Markdown page and as a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from touchstone_rewards.trainer.study.picture import draw_study
from touchstone_rewards.trainer.study.settings import REFERENCE

TITLE = "What each part of GRPO does"


def write_study(folder: Path, found: dict[str, Any], settings: Mapping[str, Any]) -> None:
    """Write all three files; a running study overwrites them after each seed."""
    for name, fields in settings.items():
        found["settings"][name]["fields"] = {**REFERENCE, **fields}
    text = json.dumps(found, indent=2, allow_nan=False) + "\n"
    (folder / "study.json").write_text(text, encoding="utf-8")
    (folder / "study.md").write_text(as_markdown(found), encoding="utf-8")
    (folder / "study.png").write_bytes(draw_study(found))


def as_markdown(found: Mapping[str, Any]) -> str:
    """Return the two tables and the verdicts as Markdown."""
    seeds = ", ".join(map(str, found["seeds"]))
    lines = [f"# {TITLE}", "", f"Held-out accuracy, greedy; means over the seeds {seeds}.", ""]
    lines += ["| setting | at the end, 95% | whole run, 95% | best, by seed | formatted |"]
    lines += ["|---|---|---|---|---|"]
    lines += [_row(name, each) for name, each in found["settings"].items()]
    lines += [
        "",
        "| question | this − other | at the end, 95% | whole run, 95% |",
        "|---|---|---|---|",
    ]
    by_question: dict[str, list[Mapping[str, Any]]] = {}
    for each in found["comparisons"]:
        by_question.setdefault(each["question"], []).append(each)
    for question, pair in by_question.items():
        cells = [_signed(each["difference"], each["interval"]) for each in pair]
        names = f"{pair[0]['this']} − {pair[0]['other']}"
        lines.append(f"| {question} | {names} | {' | '.join(cells)} |")
    lines += ["", "## What the evidence supports", ""]
    lines += [f"- {line}" for line in found["evidence"]]
    lines += [
        "- Intervals are over held-out rows and seeds together, and differences are paired by "
        "both: they apply to other rows of this kind and other seeds, not to other models or data.",
        "",
    ]
    return "\n".join(lines)


def _row(name: str, setting: Mapping[str, Any]) -> str:
    cells = [
        _plain(setting[key]["mean"], setting[key]["interval"]) for key in ("final", "whole_run")
    ]
    best = ", ".join(
        f"{value:.3f} @{at:g}"
        for value, at in zip(
            setting["best"]["accuracy"], setting["best"]["at_rollout"], strict=True
        )
    )
    rate = setting["final_format_rate"]
    formatted = "-" if rate is None else f"{rate:.3f}"
    return f"| {name} | {cells[0]} | {cells[1]} | {best} | {formatted} |"


def _plain(value: float, interval: tuple[float, float] | None) -> str:
    return f"{value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def _signed(value: float, interval: tuple[float, float] | None) -> str:
    return f"{value:+.3f}" + (f" [{interval[0]:+.3f}, {interval[1]:+.3f}]" if interval else "")
