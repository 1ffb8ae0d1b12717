"""Find and use the environments that `environments/make.sh` makes."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.checkout import ROOT, clean_environment
from tests.waiting import PATIENCE_S

CLIENTS = Path(__file__).with_name("clients")
ENVIRONMENTS = Path(__file__).with_name("environments")


def python_of(name: str) -> str:
    """Return the interpreter of an environment; without it the test is skipped."""
    assert (ENVIRONMENTS / f"{name}.txt").is_file(), f"there are no requirements for {name}"
    default = Path(tempfile.gettempdir()) / "touchstone_peers"
    folder = Path(os.environ.get("TOUCHSTONE_PEERS", default)) / name
    if not (folder / ".made_with").is_file():
        pytest.skip(
            f"no environment {folder}: make it by tests/contract/environments/make.sh {name}"
        )
    return str(folder / "bin" / "python")


def run_script(python: str, script: str, *arguments: str, **environment: str) -> Any:
    """Run `clients/SCRIPT.py` to its end; return the last line of its output, as JSON."""
    with tempfile.TemporaryDirectory() as folder:  # some write their logs into the current folder
        done = subprocess.run(
            [python, str(CLIENTS / f"{script}.py"), *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            env={**clean_environment(), "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", **environment},
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])
