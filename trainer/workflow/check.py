"""Check the fields of all commands in a workflow before the first of them runs.

The commands' own parsers run in a separate process, which uses no device and keeps their libraries
out of this one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from touchstone_rewards.trainer.__main__ import MODULES
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.workflow.stages import DONE, Stage

if TYPE_CHECKING:
    from touchstone_rewards.trainer.grpo.command import GrpoConfigs

PROG = "touchstone_rewards.trainer.workflow.check"


def check_stages(output: Path, stages: Sequence[Stage]) -> None:
    """Parse the fields of every incomplete stage as its command will parse them.

    Raises:
        InputError: a command refuses a key or a value; the message names the stage.
    """
    left = [each for each in stages if not (output / each.name / DONE).is_file()]
    if not left:
        return
    asked = [[each.name, each.command, _for_one_process(each)] for each in left]
    done = subprocess.run(
        [sys.executable, "-m", PROG],
        input=json.dumps(asked, default=str),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = (done.stdout or done.stderr).strip().splitlines()
        raise InputError(lines[-1] if lines else f"{PROG} ended with {done.returncode}")


def _for_one_process(stage: Stage) -> dict[str, object]:
    """Return the fields with the batch of all processes in one, so that divisibility is checked
    alike."""
    fields = {**stage.fields, **stage.hidden}
    key = "per_device_train_batch_size"
    if stage.devices > 1 and isinstance(fields.get(key), int):
        fields[key] *= stage.devices
    return fields


def complaint(name: str, command: str, fields: dict[str, Any]) -> str | None:
    """Return the command's complaint about the fields; None if it has none."""
    from touchstone_rewards.trainer.config import parse_config

    module = import_module(f"touchstone_rewards.trainer.{MODULES[command]}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.yaml"
        path.write_text(yaml.safe_dump(fields, sort_keys=False), encoding="utf-8")
        argv = ["--config", str(path)]
        try:
            configs = parse_config(module.OPTIONS, argv, f"trainer {command}")
            if command == "grpo":
                _check_grpo(configs, argv)
        except InputError as error:
            return f"{name}: {str(error).replace(f'{path}: ', '')}"
    return None


def _check_grpo(configs: GrpoConfigs, argv: Sequence[str]) -> None:
    """Run the cross-checks that the command makes after parsing."""
    from touchstone_rewards.trainer.config import given_fields

    configs.settings.apply(configs.args, given_fields(argv, type(configs)))
    configs.rollout.check_sampling(configs.args)
    configs.learning.check(configs.args, configs.settings)


def main() -> int:
    """Read stages from standard input; print the first complaint."""
    for name, command, fields in json.load(sys.stdin):
        if found := complaint(name, command, fields):
            print(found)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
