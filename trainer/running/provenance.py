"""`run.json`, the provenance of a run: command, fields, versions, commit, data digest.

It is written into the run's folder and shown in the report. It contains no secrets: TRL's token
fields are left out, and the reward server's key is not a field.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "vllm")
RUN_FILE = "run.json"
# Fields that matter most, in the order of the report; listed there even at their defaults.
DECISIVE = (
    *("model_name_or_path", "dataset_name", "reward_profile", "learning_rate"),
    *("lr_scheduler_type", "warmup_steps", "optim", "weight_decay", "adam_beta2", "max_grad_norm"),
    *("per_device_train_batch_size", "gradient_accumulation_steps", "generation_batch_size"),
    *("steps_per_generation", "num_train_epochs", "max_steps", "seed", "bf16", "use_peft"),
    *("lora_r", "lora_alpha", "lora_target_modules", "num_generations", "temperature", "top_p"),
    *("max_prompt_length", "max_completion_length", "max_length", "packing", "loss_type"),
    *("scale_rewards", "advantage", "length_normalization", "beta", "epsilon", "epsilon_high"),
    *("num_iterations", "epochs_per_rollout", "kl_coef", "gae_lambda", "gamma", "vf_coef"),
    *("critic", "critic_learning_rate", "use_vllm"),
)
SECRETS = {"hub_token", "push_to_hub_token"}


def write_provenance(folder: Path, command: str, configs: Sequence[object], **more: object) -> None:
    """Write `run.json`: changed fields, important fields left at their defaults, versions and
    machine."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "command": command,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "fields": {key: value for config in configs for key, value in changed(config).items()},
        "defaults": {key: value for config in configs for key, value in left(config).items()},
        "versions": versions(),
        "commit": commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        **more,
    }
    text = json.dumps(content, indent=2, default=str)
    (folder / RUN_FILE).write_text(text + "\n", encoding="utf-8")


def changed(config: Any) -> dict[str, Any]:
    """Return the fields of a dataclass instance that differ from their defaults, without
    secrets."""
    fields = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        made = field.default_factory
        default = field.default if made is dataclasses.MISSING else made()
        if field.init and value != default and field.name not in SECRETS:
            fields[field.name] = value
    return fields


def left(config: Any) -> dict[str, object]:
    """Return the important fields of a dataclass instance that are at their defaults."""
    fields, given = {each.name for each in dataclasses.fields(config)}, changed(config)
    values = {name: getattr(config, name) for name in DECISIVE if name in fields - given.keys()}
    return {name: value for name, value in values.items() if value is not None}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the relevant packages that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Return the commit of this checkout, with + if files were changed; None without a checkout."""
    here = Path(__file__).parent
    try:
        head = _git(here, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *words: str) -> str:
    run = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return run.stdout.strip()


def command_line() -> str:
    """Return the command as it was typed."""
    return " ".join(["trainer", *sys.argv[1:]])
