"""`trainer completion bash`: print a script for the shell's completion of `trainer`.

The options are read from source, as for `--help`; TRL is not imported.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import shtab

from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.field_source import SourceField, read_options

SHELLS = ("bash", "zsh", "tcsh")


def run(arguments: Sequence[str]) -> None:
    """Print the script for the shell named in `arguments`.

    Raises:
        InputError: the shell is not supported.
    """
    from touchstone_rewards.trainer.__main__ import COMMANDS, MODULES

    if len(arguments) != 1 or arguments[0] not in SHELLS:
        raise InputError(
            f"expected a shell, one of {', '.join(SHELLS)}; got {' '.join(arguments) or 'nothing'}"
        )
    print(shtab.complete(command_parser(COMMANDS, MODULES), shell=arguments[0]))


def command_parser(
    commands: Mapping[str, str], modules: Mapping[str, str]
) -> argparse.ArgumentParser:
    """Return a parser that knows every command and option; it is used for completion only.

    `commands` maps each command to its summary, `modules` to its module below this package.
    """
    top = argparse.ArgumentParser(prog="trainer")
    first = top.add_subparsers(dest="command")
    second: dict[str, argparse._SubParsersAction[argparse.ArgumentParser]] = {}
    for command, summary in commands.items():
        name, _, below = command.partition(" ")
        if below and name not in second:
            # shtab omits subparsers without help.
            group = first.add_parser(name, help=f"commands that begin with {name}")
            second[name] = group.add_subparsers(dest="second")
        place = second[name] if below else first
        _add_options(place.add_parser(below or name, help=summary), modules[command])
    return top


def _add_options(parser: argparse.ArgumentParser, module: str) -> None:
    plain, sections = read_options(f"touchstone_rewards.trainer.{module}")
    for each in (each for kind in plain for each in kind.fields):
        _add_option(parser, each.name, each)
    for section, kind in sections.items():
        for each in kind.fields:
            _add_option(parser, f"{section}.{each.name}", each)


def _add_option(parser: argparse.ArgumentParser, name: str, field: SourceField) -> None:
    if f"--{name}" not in parser._option_string_actions:
        # argparse treats a percent sign as the start of a format.
        about = field.help.replace("%", "%%")
        parser.add_argument(f"--{name}", help=about, choices=field.choices or None)
