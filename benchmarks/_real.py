"""Shared parts of the proofs on pretrained weights: stages and evaluations that are skipped when
done.

The model is that of `reward-server fetch smollm2`; it is fetched if missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import ROOT, _tables
from touchstone_rewards.trainer.evaluation import command as evaluate
from touchstone_rewards.trainer.evaluation.write import RESULTS, SUMMARY, read_results
from touchstone_rewards.trainer.running.paired import Estimate
from touchstone_rewards.trainer.workflow.stages import MODEL_FILES, Stage, run_stage

RUNS = ROOT / "runs" / "real"
PAGE = ROOT / "docs" / "proofs.md"
# In the page: the rows of a table after a mark that names a results file.
PLACE = _tables.places("results")
# An interrupted stage continues from its last checkpoint; only that one is kept.
ON_A_CPU: Mapping[str, Any] = {
    "lr_scheduler_type": "constant",
    "weight_decay": 0.0,
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "logging_steps": 1,
    "save_strategy": "steps",
    "save_steps": 10,
    "save_total_limit": 1,
    "report_to": "none",
}


def trained(folder: Path, command: str, name: str, url: str | None = None, **fields: Any) -> Path:
    """Run `trainer COMMAND` into `folder/name` unless it is done; return that folder."""
    hidden: dict[str, Any] = {"resume_from_checkpoint": True, "disable_tqdm": True}
    hidden |= {"reward_url": [url]} if url else {}
    about = {**ON_A_CPU, **fields, "output_dir": str(folder / name)}
    stage = Stage(name, command, about, makes=MODEL_FILES, trains=True, hidden=hidden)
    return run_stage(folder, stage)


def measured(
    folder: Path, name: str, model: Path, data: Path, url: str, profile: str, *flags: str
) -> list[dict[str, Any]]:
    """Return the lines of `trainer eval` in `folder/name`; run it if they are missing."""
    output = folder / name
    if not (output / SUMMARY).is_file():
        words = [f"--model={model}", f"--dataset={data}", f"--output={output}", *flags]
        evaluate.run([*words, "--reward_url", url, f"--profile={profile}"])
    assert (output / RESULTS).is_file()
    return read_results(output)


def right_by_row(
    lines: Iterable[Mapping[str, Any]], profile: str | None = None
) -> dict[str, float]:
    """Return 1 or 0 per row for the full reward, by the deciding profile or by another one."""
    rewards = {
        line["id"]: line["reward"] if profile is None else line["also"][profile] for line in lines
    }
    return {name: float(reward == 1) for name, reward in rewards.items() if reward is not None}


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def compared(what: str, ours: Estimate, peer: Estimate, difference: Estimate) -> dict[str, Any]:
    """Return a row of results: two settings with intervals and seeds, and their difference."""
    print(f"{what}: {peer.mean:.3f} -> {ours.mean:.3f}, difference {difference.interval}")
    return {
        "what": what,
        "ours": ours.mean,
        "peer": peer.mean,
        "ratio": ours.mean / peer.mean if peer.mean else None,
        "interval": ours.interval,
        "peer_interval": peer.interval,
        "difference_interval": difference.interval,
        "by_seed": ours.by_seed,
        "rows": ours.rows,
        "apart": difference.is_apart,
    }


def filled(page: str) -> str:
    """Return the page with the rows of its tables filled in from the results files."""

    def rows(name: str) -> Iterable[list[str]]:
        path = ROOT / "benchmarks" / "results" / f"{name}.json"
        return map(cells, json.loads(path.read_text(encoding="utf-8"))["rows"])

    return _tables.filled(page, PLACE, rows)


def cells(row: Mapping[str, Any]) -> list[str]:
    """Return a row of the page: label, peer, ours, ours by seed, interval of the difference."""
    low, high = row["difference_interval"]
    apart = "" if row["apart"] else ", not told apart"
    seeds = ", ".join(f"{value:.3f}" for value in row["by_seed"])
    interval = f"[{low:+.3f}, {high:+.3f}]{apart}"
    return [row["what"], f"{row['peer']:.3f}", f"{row['ours']:.3f}", seeds, interval]


def fill_page() -> None:
    """Rewrite the tables of the page."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
