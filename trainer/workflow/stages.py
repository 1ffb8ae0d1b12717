"""One stage of a workflow: a `trainer` command, skipped when done, resumed when killed.

In: a command, its fields, the files it reads. Out: its folder, with `done.json` once complete. The
fields are written to a YAML file beside the folder, so that a stage can be run by hand as well.
Nothing is trained here.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
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

from touchstone_rewards.reward_server.live_server import die_with_parent, free_port
from touchstone_rewards.trainer.__main__ import MODULES
from touchstone_rewards.trainer.errors import InputError, RunFailed

DONE = "done.json"
LOCK = "lock"
# What a stage that trains makes: one of these.
MODEL_FILES = ("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class Stage:
    """`trainer COMMAND` with `fields`, into the folder `name`, from the files `reads`.

    `makes`: what has to be there when it is complete; one of them is enough.
    `trains`: it runs in processes of its own, as many as `devices`.
    """

    name: str
    command: str
    fields: Mapping[str, Any]
    reads: tuple[Path, ...] = ()
    makes: tuple[str, ...] = ()
    trains: bool = False
    devices: int = 1
    hidden: Mapping[str, Any] = field(default_factory=dict)

    def digest(self) -> str:
        """Of the command, its fields and what it reads. `hidden` fields change no result."""
        parts = [self.command, json.dumps(self.fields, sort_keys=True, default=str)]
        parts += [hashlib.sha256(path.read_bytes()).hexdigest() for path in self.reads]
        return hashlib.sha256("\\n".join(parts).encode()).hexdigest()[:16]


def run_stage(output: Path, stage: Stage) -> Path:
    """Run a stage unless it is complete; returns its folder.

    Raises:
        InputError: the folder is of other settings.
        RunFailed: the command failed; run the workflow again to go on.
    """
    folder = output / stage.name
    console = Console()
    made = any((folder / name).exists() for name in stage.makes)
    before = _read_done(folder)
    if before is not None and before != stage.digest():
        raise InputError(
            f"{folder} was made with other settings or data: remove it, or choose another output"
        )
    if before is not None and made:
        console.rule(f"{stage.name}: complete, skipped")
        return folder
    console.rule(f"{stage.name}: trainer {stage.command}")
    config = output / f"{stage.name}.yaml"
    content = yaml.safe_dump({**stage.fields, **stage.hidden}, sort_keys=False)
    config.write_text(content, encoding="utf-8")
    code = (run_apart if stage.trains else run_here)(stage, ["--config", str(config)])
    if code != 0:
        raise RunFailed(f"{stage.name} ended with exit code {code}; run again to go on from there")
    if not any((folder / name).exists() for name in stage.makes):
        raise RunFailed(f"{stage.name} left none of {', '.join(stage.makes)} in {folder}")
    mark_done(folder, stage.digest())
    return folder


def run_here(stage: Stage, words: list[str]) -> int:
    """Run a stage that is no training in this process; its error is this command's own."""
    import_module(f"touchstone_rewards.trainer.{MODULES[stage.command]}").run(words)
    return 0


def run_apart(stage: Stage, words: list[str]) -> int:
    """Train in a process of its own, or several: what it holds of a device ends with it."""
    return run_command([*launcher(stage.devices), stage.command, *words])


def launcher(devices: int) -> list[str]:
    """The words before a trainer command: python, or accelerate where there are several devices."""
    if devices == 1:
        return [sys.executable, "-m", "touchstone_rewards.trainer"]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    launch += [f"--num_processes={devices}", "--num_machines=1", "--mixed_precision=no"]
    # A port of its own: two workflows may run on one machine.
    launch += ["--dynamo_backend=no", f"--main_process_port={free_port()}"]
    return [*launch, "-m", "touchstone_rewards.trainer"]


def run_command(words: list[str]) -> int:
    """Run a command to its end; it does not outlive this process, even if that is killed."""
    return subprocess.run(words, preexec_fn=die_with_parent(), check=False).returncode


def filled(content: Any, names: dict[str, str]) -> Any:
    """A section of a config with names like {output} replaced, however deep they stand."""
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
    """Say that a stage is complete: the mark is there whole or not at all."""
    part = folder / f"{DONE}.part"
    part.write_text(json.dumps({"digest": digest}) + "\n", encoding="utf-8")
    os.replace(part, folder / DONE)


def _read_done(folder: Path) -> str | None:
    path = folder / DONE
    return json.loads(path.read_text(encoding="utf-8"))["digest"] if path.is_file() else None


@contextmanager
def only_one(output: Path) -> Iterator[None]:
    """Hold the folder against a second run of the same workflow.

    Raises:
        InputError: another one is at work in it.
    """
    output.mkdir(parents=True, exist_ok=True)
    with (output / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"another run is at work in {output}") from error
        yield
