"""Run batteries of other projects, and our own audit, over our math profile and other graders.

`rewardprobe`, `rewardlint`, `reward-doctor` and `gradecheck` try a function on their own lists; our
audit tries a profile on rows. The graders are `math`, Math-Verify, TRL's `accuracy_reward`,
open-r1's, verl's default, and three with a known hole. The others come from

    tests/contract/environments/make.sh audit                  into TOUCHSTONE_PEERS
    git clone https://github.com/huggingface/open-r1 and volcengine/verl into TOUCHSTONE_CONTRACT

Missing batteries or graders are left out. With AUDIT_BEFORE, an older checkout, our audit also
compares its `math` with the present one on ground truths for which it had accepted wrong answers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import RESULTS, ROOT, live_server, older_server, record
from benchmarks._audit_batteries import BATTERIES, DATA, ROWS, SOURCES
from touchstone_rewards.reward_server.__main__ import main as main_of_server
from touchstone_rewards.reward_server.live_server import LiveServer

# Topics of field cases for which wrong answers had been accepted, and the strategies tried on them.
MENDED = ("FP", "near-miss", "mismatch")
TRIED_SINCE = "near miss,comment"


def main() -> None:
    if not all((DATA / file).exists() for file, _ in SOURCES.values()):
        print(f"no rows in {DATA}: nothing to do")
        return
    peers = Path(os.environ.get("TOUCHSTONE_PEERS", "no folder"), "audit", "bin", "python")
    python = str(peers) if peers.exists() else sys.executable
    checkouts = Path(os.environ.get("TOUCHSTONE_CONTRACT", "no folder"))
    path = [ROOT / "src", ROOT, checkouts / "verl", os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "found.json")
        command = [python, "-m", "benchmarks._audit_batteries", str(output)]
        subprocess.run(command, check=True, env=environment, cwd=ROOT)
        found: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    rows = [{"what": name, **each} for name, each in found["graders"].items()]
    for row in rows:
        print(" | ".join(cells(row)))
    about = {"versions": found["versions"], "rows_of_each": ROWS}
    if "AUDIT_BEFORE" in os.environ:
        about["since"] = since(Path(os.environ["AUDIT_BEFORE"]).resolve())
    else:  # unchanged
        about["since"] = json.loads((RESULTS / "audit.json").read_text())["since"]
    record("audit", rows, **about)


def since(checkout: Path) -> dict[str, Any]:
    """Return wrong answers that the older `math` accepted, as counts for then and now."""
    lines = (DATA / "math_field_cases.jsonl").read_text(encoding="utf-8").splitlines()
    cases = [json.loads(line) for line in lines]
    truths = [each["ground_truth"] for each in cases if each["topic"].startswith(MENDED)]
    unique = dict.fromkeys(each for each in truths if isinstance(each, str))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = "".join(json.dumps({"ground_truth": each}) + "\n" for each in unique)
        (folder / "rows.jsonl").write_text(text, encoding="utf-8")
        servers = {
            "then": older_server(checkout, folder / "then.log"),
            "now": live_server(folder / "now.log"),
        }
        found = {when: _accepted(server, folder, when) for when, server in servers.items()}
    return {
        strategy: {when: found[when][strategy] for when in found}
        for strategy, (count, _) in found["then"].items()
        if count
    }


def _accepted(server: LiveServer, folder: Path, when: str) -> dict[str, list[int]]:
    command = ["audit", "--url", server.url, "--input", str(folder / "rows.jsonl"), "--fail_on", ""]
    with server:
        main_of_server([*command, "--strategies", TRIED_SINCE, "--output", str(folder / when)])
    report = json.loads((folder / when / "audit.json").read_text(encoding="utf-8"))
    shares = {each["name"]: each["accepted"] for each in report["strategies"]}
    return {name: [each["count"], each["of"]] for name, each in shares.items()}


def cells(row: dict[str, Any]) -> list[str]:
    """Return one grader as a row of the table in docs/audit.md."""
    batteries = [
        f"{row[name]['right']} of {row[name]['cases']}" if name in row else "–"
        for name in BATTERIES
    ]
    return [row["what"], *batteries, *(each for data in SOURCES for each in audited(row[data]))]


def audited(found: dict[str, Any]) -> list[str]:
    """Return our audit's results on one dataset: free rewards, and refused right answers."""
    if found["form"] is None:
        return ["not measured", "–"]
    refused = [found["refused"][kind] for kind in ("spelling", "wrapping")]
    return [said(found["free"]), " and ".join(map(said, refused))]


def said(part: dict[str, int]) -> str:
    """Format a share as in the table."""
    return f"{part['count'] / part['of']:.1%}" if part["of"] else "–"
