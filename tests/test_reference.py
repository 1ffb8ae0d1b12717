"""docs/reference agrees with the code, page by page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.checkout import ROOT, clean_environment
from tests.waiting import PATIENCE_S

REFERENCE = ROOT / "docs" / "reference"


def test_the_reference_is_what_the_code_says(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "docs" / "site" / "reference.py", "--output", tmp_path]
    environment = clean_environment()
    del environment["REWARD_SCORER_MODULES"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    made = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text(encoding="utf-8") for path in REFERENCE.iterdir()}
    assert made == kept, "changed on purpose? run `make reference`"
