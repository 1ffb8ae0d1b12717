"""What hostile answers do to graders: code that ran, hangs, wrong verdicts; peers in the same run.

The inputs lie beside the checkout, the peers where `benchmarks.math` says. Payloads try to make a
file; whose file is there afterwards has run code. A verdict that took more than 4.5 s by the clock,
or did not come at all, is a hang: run it on a quiet machine. A peer is asked in a process of its
own, where its own alarms work.
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
    """The hostile inputs, their payloads aimed at one file each."""
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
            print(f"{peer} is not there: left out")
    rows = []
    for name, judge in graders.items():
        with tempfile.TemporaryDirectory() as canary:
            pairs = inputs(Path(canary))
            rows.append(summary(name, pairs, judge(pairs), Path(canary)))
        print(rows[-1])
    record("hostile", rows)
    _hostile_wire.main()
