"""Command-line options for the server's settings, generated from `Settings`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from touchstone_rewards.reward_server.settings import Settings, load_settings

# Every user of the machine can read secrets on a command line; mappings belong in the file.
HIDDEN = {"api_key", "admin_key", "api_keys", "compat_profiles", "compat_null_rewards"}


# Settings that a command without a listening socket does not need.
LISTENING = {
    *("host", "port", "insecure", "reload_s", "receive_timeout_s", "drain_s", "traces"),
    *("max_body_bytes", "max_pending_bytes", "recent_samples", "log_samples", "cluster"),
    *("eval_wait_s", "max_samples", "max_pending_samples"),
}
LISTENING_PREFIXES = ("tls_", "score_log", "compat_", "cluster_")


def add_settings_arguments(parser: argparse.ArgumentParser, *, listens: bool = False) -> None:
    """Add `--config FILE` and one option per setting; omitted options keep the file's value.

    With `listens=False`, options about connections are left out.
    """
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file of settings")
    for name, field in Settings.model_fields.items():
        concerns_listening = name in LISTENING or name.startswith(LISTENING_PREFIXES)
        if name in HIDDEN or (concerns_listening and not listens):
            continue
        default = field.get_default(call_default_factory=True, validated_data={})
        shown = field.description if default is None else f"{field.description} [{default}]"
        options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": shown}
        if field.annotation is bool:
            options["action"] = "store_true"
        elif get_origin(field.annotation) is Literal:
            options["choices"] = get_args(field.annotation)
        else:
            options["metavar"] = name.rsplit("_", 1)[-1].upper()
        parser.add_argument(f"--{name}", **options)


def settings_from(arguments: argparse.Namespace) -> Settings:
    """Return the settings of the file, the environment and these arguments.

    Raises:
        ConfigError: an unknown key or a value that does not fit.
    """
    given = {
        name: value for name, value in vars(arguments).items() if name in Settings.model_fields
    }
    return load_settings(arguments.config, given)
