"""Ablations of GRPO on the tiny task: `trainer study grpo` over three seeds.

The peer of each setting is the one that it is compared with; the figures are held-out accuracies.
Finished runs are skipped, so an interrupted study continues.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import record
from touchstone_rewards.trainer.__main__ import main as trainer

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "trainer" / "configs" / "study_tiny.yaml"
RUNS = ROOT / "runs" / "study"  # as in the config, relative to the root of the checkout


def read_study(folder: Path) -> dict[str, Any]:
    """Return the figures that `trainer study grpo` left in its folder."""
    return json.loads((folder / "study.json").read_text(encoding="utf-8"))


def compared_settings(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row per comparison and measure: two settings and their difference."""
    rows = []
    for each in found["comparisons"]:
        ours, peer = (
            found["settings"][each[name]][each["measure"]]["mean"] for name in ("this", "other")
        )
        rows.append(
            {
                "what": f"{each['question']}: {each['measure']}; ours {each['this']}, peer "
                f"{each['other']}",
                "ours": ours,
                "peer": peer,
                "ratio": ours / peer if peer else None,
                "difference": each["difference"],
                "difference_interval": each["interval"],
                "difference_by_seed": each["by_seed"],
            }
        )
    return rows


def main() -> None:
    assert trainer(["study", "grpo", "--config", str(CONFIG)]) == 0
    found = read_study(RUNS)
    record(
        "study",
        compared_settings(found),
        peer="the setting each is compared with",
        seeds=found["seeds"],
        settings={
            name: {key: setting[key] for key in ("final", "whole_run", "final_format_rate")}
            for name, setting in found["settings"].items()
        },
        evidence=found["evidence"],
    )


if __name__ == "__main__":
    main()
