"""The `reward-server` command: parse the arguments, then import only the chosen subcommand.

Exit status: 0 success, 1 a failed run, 2 bad input (one line on standard error says how to fix it).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Container, Sequence
from importlib import import_module

from touchstone_rewards import __version__
from touchstone_rewards.extras import advice

# name -> summary, and the module that has `add_arguments(parser)` and `run(arguments) -> int`
COMMANDS = {
    "serve": ("start the server", "touchstone_rewards.reward_server.commands.serve"),
    "init": (
        "create a folder with a profile, a reward function, rows and a test",
        "touchstone_rewards.reward_server.commands.init",
    ),
    "replay": (
        "score a log again, print the differences",
        "touchstone_rewards.reward_server.commands.replay",
    ),
    "check": (
        "load all profiles, score known samples, exit 0 or 1",
        "touchstone_rewards.reward_server.commands.check",
    ),
    "score": (
        "score files without a server, on this machine or on Ray",
        "touchstone_rewards.reward_server.commands.score",
    ),
    "lint-truths": (
        "list ground truths that cannot be read or may be misread",
        "touchstone_rewards.reward_server.commands.lint_truths",
    ),
    "audit": (
        "report what a profile accepts, refuses and can be tricked into",
        "touchstone_rewards.reward_server.commands.audit",
    ),
    "card": (
        "print a reward's fingerprint, versions and audit, for a paper or run to cite",
        "touchstone_rewards.reward_server.commands.card",
    ),
    "env": (
        "serve a profile and a file of rows as an environment",
        "touchstone_rewards.reward_server.commands.env",
    ),
    "plan": (
        "estimate the cores and GPUs that a run's rewards need",
        "touchstone_rewards.reward_server.commands.plan",
    ),
    "fetch": (
        "fetch, convert and verify a pretrained model, print its folder",
        "touchstone_rewards.reward_server.commands.fetch",
    ),
    "calibrate": (
        "fit the score ramps of an embedding model to labeled stories",
        "touchstone_rewards.reward_server.commands.calibrate",
    ),
    "completion": (
        "print a shell completion script",
        "touchstone_rewards.reward_server.commands.completion",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    try:
        return _run(argv)
    except ModuleNotFoundError as error:
        if (line := advice(error, "server")) is None:
            raise
        print(f"reward-server: {line}", file=sys.stderr)
        return 2


def _run(argv: Sequence[str] | None) -> int:
    words = [_underscored(word) for word in (sys.argv[1:] if argv is None else argv)]
    arguments = command_parser(words[:1]).parse_args(words)
    from touchstone_rewards.reward_server.errors import RunFailed, TouchstoneError

    try:
        return import_module(COMMANDS[arguments.command][1]).run(arguments)
    except TouchstoneError as error:
        print(f"reward-server: {' '.join(str(error).split())}", file=sys.stderr)
        return 1 if isinstance(error, RunFailed) else 2
    except KeyboardInterrupt:
        return 130


def command_parser(chosen: Container[str]) -> argparse.ArgumentParser:
    """Return the parser of all commands; only the `chosen` ones are imported and get options."""
    parser = argparse.ArgumentParser(
        prog="reward-server", description="Score the responses of language models."
    )
    parser.add_argument("--version", action="version", version=f"touchstone {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (summary, module) in COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
        )
        if name in chosen:
            import_module(module).add_arguments(command)
    return parser


def _underscored(word: str) -> str:
    """Return an option spelled as in the settings: `--max_samples=10` for `--max-samples=10`."""
    if not word.startswith("--"):
        return word
    name, equals, value = word[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"


if __name__ == "__main__":
    sys.exit(main())
