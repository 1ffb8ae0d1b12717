"""Graders under hostile answers: code execution, hangs and wrong verdicts, with peers in the same
run.

`benchmarks.math` says where inputs and peers are. Payloads try to create a file; a grader has
executed code if the file exists afterwards. A verdict that takes more than 4.5 s of wall-clock
time, or never comes, is a hang, so run this on a quiet machine. Each peer runs in a separate
process, in which its own alarms work.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import _hostile_wire, record
from benchmarks.math import PEERS, Judged, hostile_inputs, of_peer, ours

HANG_S, SILENCE_S = 4.5, 20.0
CANARY = "@CANARY@"


def inputs(canary: Path) -> list[dict[str, Any]]:
    """Return the hostile inputs, each payload aimed at a file of its own."""
    return [
        row | {"prediction": row["prediction"].replace(CANARY, f"{canary}/{place}")}
        for place, row in enumerate(hostile_inputs())
    ]


def summary(name: str, pairs: list[dict[str, Any]], judged: Judged, canary: Path) -> dict[str, Any]:
    decided = [(pair["expect"], found) for pair, (found, _, _) in zip(pairs, judged, strict=True)]
    return {
        "grader": name,
        "inputs": len(pairs),
        "ran_code": len(list(canary.iterdir())),
        "hangs": sum(clock > HANG_S for _, _, clock in judged),
        "slowest_s": round(max(clock for _, _, clock in judged), 4),
        "wrong_verdicts": sum(
            bool(found) != expect for expect, found in decided if isinstance(expect, bool)
        ),
    }


def main() -> None:
    folder = Path(os.environ.get("MATH_PEERS", ""))
    graders = {"ours": ours}
    for peer, (environment, _) in PEERS.items():
        if "MATH_PEERS" in os.environ and (folder / environment).is_dir():
            graders[peer] = lambda pairs, peer=peer: of_peer(peer, pairs, folder, SILENCE_S)
        else:
            print(f"{peer} not found: left out")
    rows = []
    for name, judge in graders.items():
        with tempfile.TemporaryDirectory() as canary:
            pairs = inputs(Path(canary))
            rows.append(summary(name, pairs, judge(pairs), Path(canary)))
        print(rows[-1])
    record("hostile", rows)
    _hostile_wire.main()
