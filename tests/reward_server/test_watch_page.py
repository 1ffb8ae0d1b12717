"""docs/watch.md has the measured figures."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.checkout import ROOT
from touchstone_rewards.reward_server.watching.signals import SHADOW_SIGNALS, SIGNALS

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


def test_the_smallest_changes_are_those_of_the_signals() -> None:
    rows = re.findall(r"^\| (`[\w:`, ]+`) \| .+ \| (.+) \|$", PAGE, re.MULTILINE)
    told = {name: least for names, least in rows for name in re.findall(r"`(\w+)", names)}
    told["shorter"], told["longer"] = "0.5", "1"  # doublings, in words on the page
    for signal in (*SIGNALS, *SHADOW_SIGNALS):
        assert float(told[signal.name]) == signal.least, signal.name


def test_the_dashboards_page_says_from_where_a_number_is_marked() -> None:
    panels = (ROOT / "reward_server" / "dashboard" / "panels.js").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "dashboard.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| ([a-z ]+) \| [^|]+ \| ([\d.]+%?)[^|]* \|", page, re.MULTILINE))
    marked = re.findall(
        r'^ +\["\w+", "([a-z ]+)", .+? >= ([\d.]+), (short|percent)', panels, re.MULTILINE
    )
    assert len(marked) >= 5
    for name, least, unit in marked:
        assert told[name] == (f"{float(least):.0%}" if unit == "percent" else least)
