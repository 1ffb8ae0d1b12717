"""What an installation takes: packages and megabytes, of the server alone and of everything.

Both are made as `make` makes them, in a folder that is removed again. Fetched models and images are
measured where they are on this machine.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import ROOT, record
from touchstone_rewards import __version__
from touchstone_rewards.reward_server.models.fetchable import (
    FETCHABLE,
    FETCHED_FILE,
    fetched_folder,
)

MADE = {"the server alone": ".server", "everything": ".installed"}
IMAGES = tuple(f"touchstone-{name}:{__version__}" for name in ("reward-server", "trainer"))
# With the packages of a virtual environment that are there before anything is installed.
OWN = {"pip", "setuptools", "touchstone-rewards"}


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below a folder; what a link leads to is not counted."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def installation(what: str, target: str, folder: Path) -> dict[str, Any]:
    subprocess.run(["make", f"VENV={folder}", f"{folder}/{target}"], cwd=ROOT, check=True)
    listed = subprocess.run(
        [folder / "bin" / "python", "-m", "pip", "list", "--format", "json"],
        capture_output=True,
        check=True,
    )
    names = {each["name"] for each in json.loads(listed.stdout)} - OWN
    return {"what": what, "packages": len(names), "size_bytes": folder_bytes(folder)}


def images() -> Iterator[dict[str, Any]]:
    """Yield the size of each image that the Docker engine of this machine has, if it has one."""
    if not shutil.which("docker"):
        return
    for name in IMAGES:
        command = ["docker", "image", "inspect", name, "--format", "{{.Size}}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            yield {"what": f"image {name}", "size_bytes": int(done.stdout)}


def main() -> None:
    rows: list[dict[str, Any]] = []
    for what, target in MADE.items():
        with tempfile.TemporaryDirectory() as folder:
            rows.append(installation(what, target, Path(folder) / "venv"))
    for name in FETCHABLE:
        folder = fetched_folder(name)
        if (folder / FETCHED_FILE).exists():
            rows.append({"what": f"fetched {name}", "size_bytes": folder_bytes(folder)})
    rows += images()
    for row in rows:
        print(f"{row['what']:40} {row['size_bytes'] / 1e6:8.0f} MB  {row.get('packages', '')}")
    record("sizes", rows)
