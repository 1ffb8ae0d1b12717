"""`make demo` over three seeds: the gain of a pretrained model from the server's rewards, with
spread.

The peer is the same model before training, on the same held-out problems. Finished runs are
skipped, so an interrupted benchmark continues with the next seed. It writes `results/demo.json`,
and the tables of the READMEs and of docs/demo.md from it; a test checks that they agree.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import RESULTS, ROOT, _tables, record

RUNS = ROOT / "runs" / "demo_seeds"
SEEDS = (0, 1, 2)
SHARES = ("right", "number", "right_of_numbers")
PAGES = ("README.md", "README.zh.md", "docs/demo.md")
# In a page: the rows of a table after its mark.
PLACE = _tables.places("demo")
Result = dict[str, Any]


def result_of(seed: int) -> Result:
    """Return the figures of the demo with this seed; run it if they are missing."""
    folder = RUNS / str(seed)
    if not (folder / "result.json").is_file():
        words = [sys.executable, "-m", "touchstone_rewards.trainer", "demo", f"--seed={seed}"]
        # a run that learns nothing counts too
        subprocess.run([*words, f"--output={folder}"], check=False)
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


def held_out(runs: Sequence[Result]) -> list[list[str]]:
    """Return a row per seed: right before and after, numbers given, right among the numbers."""
    rows = []
    for run in runs:
        before, after = (run["held_out"][name] for name in ("before", "after"))
        changes = [change(before, after, what) for what in SHARES[1:]]
        intervals = [with_interval(each["right"]) for each in (before, after)]
        rows.append([str(run["seed"]), *intervals, *changes])
    spreads = []
    for name in ("before", "after"):
        values = [run["held_out"][name]["right"]["value"] for run in runs]
        low, high = 100 * min(values), 100 * max(values)
        spreads.append(f"{statistics.fmean(values):.1%} ({low:.1f} to {high:.1f})")
    if len(runs) == 1:
        return rows
    return [*rows, ["mean (least to most)", *spreads, *(mean_change(runs, s) for s in SHARES[1:])]]


def kinds(runs: Sequence[Result]) -> list[list[str]]:
    """Return a row per kind of problem: right before and after, in each run."""
    rows = []
    for kind, shares in runs[0]["by_kind"]["before"].items():
        changes = [
            change(run["by_kind"]["before"][kind], run["by_kind"]["after"][kind], "right")
            for run in runs
        ]
        rows.append([kind, str(shares["right"]["rows"]), ", ".join(changes)])
    return rows


def outages(runs: Sequence[Result]) -> list[list[str]]:
    """Return a row per seed with the account of its samples."""
    rows = []
    for run in runs:
        out = run["outage"]
        counts = [out[name] for name in ("sampled", "by_first", "by_second", "lost", "made_up")]
        times = [f"{out[name]:.1f} s" for name in ("down_s", "waited_s")]
        rows.append([str(run["seed"]), *times, *map(str, counts)])
    return rows


def costs(runs: Sequence[Result]) -> list[list[str]]:
    """Return a row per seed: validation by update, the chosen update, processor seconds,
    minutes."""
    rows = []
    for run in runs:
        seen = ", ".join(f"{step}: {value:.1%}" for step, value in run["validation"].items())
        took = [f"{run['processor_s']:.0f}", f"{run['minutes']:.0f}"]
        rows.append([str(run["seed"]), seen, str(run["chosen"]), *took])
    return rows


TABLES: dict[str, Callable[[Sequence[Result]], list[list[str]]]] = {
    "held_out": held_out,
    "kinds": kinds,
    "outages": outages,
    "costs": costs,
}


def with_interval(share: Result) -> str:
    """Format a share in percent with its interval."""
    return f"{share['value']:.1%} [{100 * share['low']:.1f}, {100 * share['high']:.1f}]"


def change(before: Result, after: Result, what: str) -> str:
    """Format a share before and after."""
    return f"{before[what]['value']:.1%} → {after[what]['value']:.1%}"


def mean_change(runs: Sequence[Result], what: str) -> str:
    """Format the mean of a share over the seeds, before and after."""
    before, after = (
        statistics.fmean(run["held_out"][name][what]["value"] for run in runs)
        for name in ("before", "after")
    )
    return f"{before:.1%} → {after:.1%}"


def filled(page: str, runs: Sequence[Result]) -> str:
    """Return the page with the rows of its tables filled in from these runs."""
    return _tables.filled(page, PLACE, lambda name: TABLES[name](runs))


def recorded() -> list[Result]:
    """Return the runs stored in `results/demo.json`."""
    return json.loads((RESULTS / "demo.json").read_text(encoding="utf-8"))["runs"]


def main(seeds: Sequence[int] = SEEDS) -> None:
    """Run the seeds, record the results, and rewrite the tables of the pages."""
    runs = [result_of(seed) for seed in seeds]
    rows = []
    for what in SHARES:
        ours, peer = (
            statistics.fmean(run["held_out"][name][what]["value"] for run in runs)
            for name in ("after", "before")
        )
        said = {"what": f"held-out problems, mean over seeds: {what}", "ours": ours, "peer": peer}
        rows.append({**said, "ratio": ours / peer if peer else None})
    record("demo", rows, peer="the same model before training", runs=runs)
    for name in PAGES:
        path = ROOT / name
        path.write_text(filled(path.read_text(encoding="utf-8"), runs), encoding="utf-8")
    for table in TABLES.values():
        print("\n".join(" | ".join(cells) for cells in table(runs)), end="\n\n")
