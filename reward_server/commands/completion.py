"""`reward-server completion`: print a shell completion script for `reward-server`."""

from __future__ import annotations

import argparse

import shtab


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the argument for the shell."""
    parser.add_argument(
        "shell", choices=("bash", "zsh", "tcsh"), help="shell to print the script for"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the script and return 0.

    Example:
        reward-server completion bash >> ~/.bashrc
    """
    from touchstone_rewards.reward_server.__main__ import COMMANDS, command_parser

    print(shtab.complete(command_parser(COMMANDS), shell=arguments.shell))
    return 0
