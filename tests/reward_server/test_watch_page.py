"""docs/watch.md says what was measured."""

from __future__ import annotations

import json
from typing import Any

from tests.checkout import ROOT

PAGE = (ROOT / "docs" / "watch.md").read_text(encoding="utf-8")


def results(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def test_the_table_of_planted_hacks_is_the_one_that_was_measured() -> None:
    for row in results("watch")["rows"]:
        counts = f"{row['runs'] or 'never taken up'} | {row['found']}"
        found = "— | — | "
        if row["found"]:
            delays = f"{row['delay_median']:g} ({row['delay_worst']:g})"
            found = f"{delays} | {row['hacked_share_then']:.0%} | {row['signal']}"
        assert f"| {row['what']} | {counts} | {found} |" in PAGE


def test_the_false_alarms_of_honest_runs_are_those_that_were_measured() -> None:
    honest = results("watch_honest")
    assert honest["false_alarms"] == sum(len(row["alarms"]) for row in honest["rows"])
    assert honest["runs"] == len(honest["rows"])
    rate = honest["per_1000"]
    assert (
        f"| {honest['runs']} | {honest['updates']:,} | {honest['false_alarms']} | "
        f"{rate['rate']:.2f} ({rate['low']:.2f} to {rate['high']:.2f}) | "
        f"{', '.join(honest['signals'])} |"
    ) in PAGE
