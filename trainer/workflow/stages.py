"""Stages of a workflow: `trainer` commands that are skipped if complete, and resumed if
interrupted.

A stage's folder has `begun.json` from the start and `done.json` once complete. Both hold a digest
of the stage's settings and data, so that it never continues with others. The fields are written to
a YAML file beside the folder, so that a stage can also be run by hand.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from touchstone_rewards.reward_server.live_server import die_with_parent
from touchstone_rewards.trainer.__main__ import MODULES
from touchstone_rewards.trainer.errors import InputError, RunFailed
from touchstone_rewards.trainer.workflow.inputs import inputs_of

BEGUN, DONE = "begun.json", "done.json"
LOCK = "lock"
# Possible outputs of a training stage; one of them must exist.
MODEL_FILES = ("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class Stage:
    """A stage: `trainer COMMAND` with `fields`, writing into the folder `name`.

    `makes` are possible outputs of a complete stage; one of them is enough. `trains` runs it in
    separate processes, as many as `devices`.
    """

    name: str
    command: str
    fields: Mapping[str, Any]
    makes: tuple[str, ...] = ()
    trains: bool = False
    devices: int = 1
    hidden: Mapping[str, Any] = field(default_factory=dict)

    def parts(self) -> dict[str, str]:
        """Hash everything that affects the result, by name.

        That is the command, its fields, and the contents of the data, samples, ground truths and
        models that they name. `hidden` fields do not affect the result.
        """
        said = {"command": self.command, **self.fields}
        values = {name: _hash(json.dumps(each, default=str)) for name, each in said.items()}
        return values | inputs_of(self.fields)


def run_stage(output: Path, stage: Stage, *, restart_changed: bool = False) -> Path:
    """Run a stage unless it is complete; return its folder.

    `restart_changed` removes a folder made with other settings or data, and restarts the stage.

    Raises:
        InputError: the folder was made with other settings.
        RunFailed: the command failed; run the workflow again to continue.
    """
    folder = output / stage.name
    console = Console()
    parts = stage.parts()
    digest = _hash(json.dumps(parts, sort_keys=True))
    if (said := _begun_otherwise(folder, parts, digest)) is not None:
        if not restart_changed:
            raise InputError(
                f"{folder} was made with other settings or data ({said}): remove it, choose "
                "another output, or set restart_changed to restart it"
            )
        console.print(f"{stage.name}: restarted because of changed {said}")
        shutil.rmtree(folder)
    made = any((folder / name).exists() for name in stage.makes)
    if _digest_in(folder / DONE) is not None and made:
        console.rule(f"{stage.name}: complete, skipped")
        return folder
    console.rule(f"{stage.name}: trainer {stage.command}")
    folder.mkdir(parents=True, exist_ok=True)
    _write_whole(folder / BEGUN, {"digest": digest, "parts": parts})
    config = output / f"{stage.name}.yaml"
    content = yaml.safe_dump({**stage.fields, **stage.hidden}, sort_keys=False)
    config.write_text(content, encoding="utf-8")
    code = (run_apart if stage.trains else run_here)(stage, ["--config", str(config)])
    if code != 0:
        raise RunFailed(
            f"{stage.name} ended with exit code {code}; run again to continue from there"
        )
    if not any((folder / name).exists() for name in stage.makes):
        raise RunFailed(f"{stage.name} left none of {', '.join(stage.makes)} in {folder}")
    mark_done(folder, digest)
    return folder


def _begun_otherwise(folder: Path, parts: Mapping[str, str], digest: str) -> str | None:
    """Return how the stage in the folder differs from this one; None if it does not."""
    known = [_digest_in(folder / name) for name in (BEGUN, DONE)]
    if all(each in (None, digest) for each in known):
        return None
    before = _read(folder / BEGUN).get("parts", {})
    changed = [name for name in {**before, **parts} if before.get(name) != parts.get(name)]
    return ", ".join(changed) if before and changed else "another digest in done.json"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_here(stage: Stage, words: list[str]) -> int:
    """Run a stage without training in this process; its errors are raised here."""
    import_module(f"touchstone_rewards.trainer.{MODULES[stage.command]}").run(words)
    return 0


def run_apart(stage: Stage, words: list[str]) -> int:
    """Train in one or more separate processes, so that device memory is freed when they end."""
    return run_command([*launcher(stage.devices), stage.command, *words])


def launcher(devices: int) -> list[str]:
    """Return the words before a trainer command: python, or accelerate for several devices."""
    if devices == 1:
        return [sys.executable, "-m", "touchstone_rewards.trainer"]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    launch += [f"--num_processes={devices}", "--num_machines=1", "--mixed_precision=no"]
    # Port 0 lets accelerate take a free one: two workflows may run on one machine.
    launch += ["--dynamo_backend=no", "--main_process_port=0"]
    return [*launch, "-m", "touchstone_rewards.trainer"]


def run_command(words: list[str]) -> int:
    """Run a command to its end; it is killed if this process is killed."""
    return subprocess.run(words, preexec_fn=die_with_parent(), check=False).returncode


def filled(content: object, names: dict[str, str]) -> Any:
    """Replace names like {output} everywhere in a section of a config."""
    if isinstance(content, dict):
        return {key: filled(value, names) for key, value in content.items()}
    if isinstance(content, list):
        return [filled(value, names) for value in content]
    if not isinstance(content, str):
        return content
    for name, value in names.items():
        content = content.replace(name, value)
    return content


def mark_done(folder: Path, digest: str) -> None:
    """Mark a stage as complete; the marker file is written atomically."""
    _write_whole(folder / DONE, {"digest": digest})


def refuse_other(folder: Path, digest: str) -> None:
    """Check that a complete folder was made with this digest.

    Raises:
        InputError: it was made with another one.
    """
    if _digest_in(folder / DONE) not in (None, digest):
        raise InputError(
            f"{folder} was made with other settings or data: remove it, or choose another output"
        )


def _write_whole(path: Path, content: dict[str, Any]) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(content) + "\n", encoding="utf-8")
    os.replace(part, path)


def _digest_in(path: Path) -> str | None:
    return _read(path).get("digest")


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


@contextmanager
def only_one(output: Path) -> Iterator[None]:
    """Lock the folder against a second run of the same workflow.

    Raises:
        InputError: another run holds the lock.
    """
    output.mkdir(parents=True, exist_ok=True)
    with (output / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"another run is using {output}") from error
        yield
