"""Benchmarks that compare with named peers in one run: `python -m benchmarks [NAME ...]`.

Each module `NAME.py` has `main() -> None`, prints its table and writes
`benchmarks/results/NAME.json` through `record`.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from touchstone_rewards.reward_server.live_server import LiveServer, without_settings

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def live_server(log: Path, *options: str) -> LiveServer:
    """Return a server with two workers, not yet started, that ignores the settings of this
    process."""
    environment = {**without_settings(), "REWARD_SCORER_MODULES": "benchmarks"}
    return LiveServer(log, "--workers", "2", *options, environment=environment, cwd=ROOT)


def older_server(checkout: Path, log: Path, *options: str) -> LiveServer:
    """Return the server of an older checkout, not yet started, with two workers and default
    settings.

    Older checkouts have top-level packages instead of `touchstone_rewards`.
    """
    named = (checkout / "src" / "touchstone_rewards").is_dir()
    source = checkout / "src" if named else checkout
    environment = {**without_settings(), "PYTHONPATH": f"{source}{os.pathsep}{ROOT}"}
    if named:
        environment["REWARD_SCORER_MODULES"] = "tests"
    module = "touchstone_rewards.reward_server" if named else "reward_server"
    about: dict[str, Any] = {"environment": environment, "cwd": log.parent, "module": module}
    return LiveServer(log, "--workers", "2", *options, **about)


def processor_s(pid: int) -> float:
    """Seconds of processor that the threads of a process have used: to the nanosecond, where
    `cpu_times` counts in hundredths."""
    stats = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(each.read_text().split()[0]) for each in stats) / 1e9


def record(
    name: str, rows: Sequence[dict[str, Any]], *, path: Path | None = None, **about: Any
) -> Path:
    """Write the results of a benchmark into `results/NAME.json` or `path`.

    Each row has `what`, `ours`, `peer`, `ratio` and, if known, `floor`; units are in `what` or in
    further keys. `about` holds facts about the whole run.
    """
    path = path or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    today = datetime.date.today().isoformat()
    content = {"benchmark": name, "date": today, "machine": machine(), **about, "rows": list(rows)}
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def machine() -> dict[str, Any]:
    """Describe the machine on which the benchmark runs."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), "")
