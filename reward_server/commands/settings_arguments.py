"""The server's settings as command-line options, made from their one definition."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from touchstone_rewards.reward_server.settings import Settings, load_settings

# Secrets do not belong on a command line, where every user of the machine can read them; mappings
# are for the file.
HIDDEN = {"api_key", "admin_key", "api_keys", "compat_profiles", "compat_null_rewards"}


def add_settings_arguments(parser: argparse.ArgumentParser) -> None:
    """`--config FILE` and one option a setting; what is not given is left to file and default."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file of settings")
    for name, field in Settings.model_fields.items():
        if name in HIDDEN:
            continue
        default = field.get_default(call_default_factory=True, validated_data={})
        shown = f"{field.description} (default: {default})"
        if field.annotation is bool:
            options: dict[str, Any] = {"action": "store_true", "default": argparse.SUPPRESS}
        else:
            options = {"metavar": name.rsplit("_", 1)[-1].upper(), "default": argparse.SUPPRESS}
        parser.add_argument(f"--{name}", f"--{name.replace('_', '-')}", help=shown, **options)


def settings_from(arguments: argparse.Namespace) -> Settings:
    """The settings of file, environment and these arguments.

    Raises:
        ConfigError: an unknown key or a value that does not fit.
    """
    given = {
        name: value for name, value in vars(arguments).items() if name in Settings.model_fields
    }
    return load_settings(arguments.config, given)
