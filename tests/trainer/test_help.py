"""`trainer COMMAND --help`, read from source, lists the options that the parser accepts."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

import pytest

from touchstone_rewards.trainer.__main__ import COMMANDS, MODULES, main
from touchstone_rewards.trainer.config import Parser, kinds_of
from touchstone_rewards.trainer.field_source import read_options

PACKAGE = "touchstone_rewards.trainer"
MOST_LINES = 150


@pytest.mark.parametrize("command", COMMANDS)
def test_the_options_listed_are_those_the_parser_takes(command: str) -> None:
    module = f"{PACKAGE}.{MODULES[command]}"
    options: type | None = getattr(import_module(module), "OPTIONS", None)
    plain, sections = kinds_of(options) if options else ({}, {})
    parser: Any = Parser(cast(Any, list(plain.values())), add_help=False)
    kinds, read_sections = read_options(module)
    assert list(read_sections) == [name for name, kind in sections.items() if kind is not dict]
    fields = {each.name: each for kind in kinds for each in kind.fields}
    assert set(fields) == {each.dest for each in parser._actions}
    for action in parser._actions:
        if listed := fields[action.dest].choices:
            assert list(listed) == list(action.choices)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_short_and_help_all_has_every_option(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module = f"{PACKAGE}.{MODULES[command]}"
    kinds, _ = read_options(module)
    assert main([*command.split(), "--help"]) == 0
    short = capsys.readouterr().out
    assert len(short.splitlines()) <= MOST_LINES
    assert main([*command.split(), "--help_all"]) == 0
    whole = capsys.readouterr().out
    for field in (each for kind in kinds for each in kind.fields):
        assert not field.help.startswith(("f'", 'f"')), "not a literal, so shown as source"
        assert f"  --{field.name} " in whole
        if field.module.startswith(PACKAGE):
            assert f"  --{field.name} " in short


def test_choices_sections_and_defaults_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["grpo", "-h"]) == 0
    shown = capsys.readouterr().out
    assert "--advantage {group_std,group_mean,leave_one_out,none}" in shown
    assert "--signals.enabled BOOL" in shown
    [line] = [line for line in shown.splitlines() if "--reward_timeout_s" in line]
    assert line.split()[:2] == ["--reward_timeout_s", "FLOAT"]
