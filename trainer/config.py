"""Fill option dataclasses from a YAML file and the command line, using TRL's parser for every key.

A command's options are a dataclass or a `NamedTuple` of several (TRL's configs and ours). A key in
the file means the same as the flag of that name, and flags take precedence. Names of other projects
(`aliases.py`) are accepted. Two defaults differ from TRL's: `report_to: tensorboard` where
tensorboard is installed, and `num_generations_eval: 1`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from argparse import Action
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar, cast, get_args, get_origin, get_type_hints

import yaml
from trl.scripts._hf_argparser import string_to_bool
from trl.scripts.utils import TrlParser

from touchstone_rewards.trainer.ablations import with_switches
from touchstone_rewards.trainer.aliases import meant
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.names.brought import brought
from touchstone_rewards.trainer.names.presets import with_preset

T = TypeVar("T")
# Marks a field of a NamedTuple of options as a section: `limr: {enabled: true}` in the file and
# `--limr.enabled true` as a flag. A section of type `dict` is passed on unchanged.
Section = Annotated[T, "section"]


class Parser(TrlParser):
    """TRL's parser, except that an error raises `InputError` instead of printing the usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def parse_config(options: type[T], argv: Sequence[str], prog: str) -> T:
    """Return the options that `--config FILE.yaml` and the flags set.

    `options` is a dataclass, or a `NamedTuple` of dataclasses and sections.

    Example: `parse_config(SftConfigs, ["--learning_rate=1e-5"], "trainer sft").args.learning_rate`
    is 1e-5.

    Raises:
        InputError: the file is missing, or a key or value is not valid; the message names it.
    """
    plain, sections = kinds_of(options)
    path, flags = _take_config_path(list(argv))
    content = read_yaml(path) if path else {}
    names = {*_field_names(plain.values()), *sections}
    content, flags, said = brought(content, flags, names, prog.removeprefix("trainer "))
    content = with_preset(content, flags, names)
    if said and os.environ.get("LOCAL_RANK", "0") == "0":
        print("\n".join(said), file=sys.stderr)
    nested: list[tuple[str, dict[str, object], list[str]]] = []
    for name in sections:
        own = content.pop(name, None) or {}
        if not isinstance(own, dict):
            raise InputError(f"{path}: {name} must hold a mapping of fields to values")
        own_flags, flags = _take_section_flags(name, flags)
        nested.append((name, own, own_flags))
    filled = dict(zip(plain, _fill(plain.values(), content, flags, prog, str(path)), strict=True))
    for name, own, own_flags in nested:
        if sections[name] is dict:
            filled[name] = {**own, **_pairs(own_flags)}
        else:
            [filled[name]] = _fill([sections[name]], own, own_flags, prog, f"{path}: {name}")
    if not issubclass(options, tuple):
        return cast(T, filled[options.__name__])
    return cast(Callable[..., T], options)(**filled)


def kinds_of(options: type) -> tuple[dict[str, type], dict[str, type]]:
    """Return the dataclasses of the plain fields and those of the sections, each by name."""
    if not issubclass(options, tuple):
        return {options.__name__: options}, {}
    hints = get_type_hints(options, include_extras=True)
    sections = {
        name: get_origin(kind := get_args(hint)[0]) or kind
        for name, hint in hints.items()
        if get_origin(hint) is Annotated
    }
    return {name: kind for name, kind in hints.items() if name not in sections}, sections


def given_fields(argv: Sequence[str], options: type, command: str = "grpo") -> set[str]:
    """Return the names of the fields that the config file or the flags set, whatever their values.

    Raises:
        InputError: there is no such config file.
    """
    path, flags = _take_config_path(list(argv))
    fields = _field_names(kinds_of(options)[0].values())
    content = read_yaml(path) if path else {}
    content, flags, _ = brought(content, flags, fields, command)
    content, flags = with_switches(content, flags, fields)
    words = [word for word in _own_flags(flags, fields) if word.startswith("--")]
    return {meant(name, fields) for name in content} | {
        word[2:].partition("=")[0] for word in words
    }


def _field_names(types: Iterable[type]) -> set[str]:
    return {each.name for kind in types for each in dataclasses.fields(kind)}


def _own_keys(
    content: dict[str, Any], fields: Mapping[str, Action], where: str
) -> dict[str, object]:
    """Return the file's content with every alias replaced by the name of its field.

    Raises:
        InputError: a key is unknown, or two keys set the same field.
    """
    own: dict[str, object] = {}
    for key, value in content.items():
        name = meant(key, fields)
        if name not in fields:
            raise InputError(f"{where}: unknown key {key!r}{_nearest(key, fields)}")
        if name in own:
            raise InputError(f"{where}: {key} and another key both set {name}: give it once")
        own[name] = value
    return own


def _own_flags(words: Sequence[str], fields: Container[str]) -> list[str]:
    """Return the words with every flag's alias replaced by the name of its field."""
    own = list(words)
    for place, word in enumerate(words):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            own[place] = f"--{meant(name, fields)}{equals}{value}"
    return own


def _pairs(flags: list[str]) -> dict[str, object]:
    """Parse `--key value` and `--key=value` into a mapping; values are read as YAML.

    Raises:
        InputError: a word is neither.
    """
    pairs: dict[str, object] = {}
    words = iter(flags)
    for word in words:
        key, equals, value = word.removeprefix("--").partition("=")
        value = value if equals else next(words, None)
        if not word.startswith("--") or value is None or value.startswith("--"):
            raise InputError(f"expected --section.key value, got {' '.join(flags)!r}")
        pairs[key] = yaml.safe_load(value)
    return pairs


def _fill(
    types: Iterable[type],
    content: dict[str, Any],
    flags: list[str],
    prog: str,
    where: str,
) -> tuple[object, ...]:
    parser = Parser(cast(Any, list(types)), prog=prog, allow_abbrev=False, add_help=False)
    # Reversed: a `--no_x` comes after its `--x` and has the same destination.
    fields = {each.dest: each for each in reversed(parser._actions) if each.dest != "help"}
    content, flags = with_switches(content, flags, fields)
    content, flags = _own_keys(content, fields, where), _own_flags(flags, fields)
    if "report_to" in fields and find_spec("tensorboard"):
        parser.set_defaults_with_config(report_to="tensorboard")
    if "num_generations_eval" in fields:
        parser.set_defaults_with_config(num_generations_eval=1)
    parser.set_defaults_with_config(**{k: v for k, v in content.items() if v is None or v == []})
    words = [word for k, v in content.items() for word in _as_flag(fields[k], v)]
    _, unknown = parser.parse_known_args([*words, *flags])
    if unknown:
        named = [word for word in unknown if word.startswith("--")] or unknown
        lines = [
            f"unknown argument {word!r}{_nearest(word[2:].partition('=')[0], fields)}"
            for word in named
        ]
        raise InputError("\n".join(lines))
    try:
        return parser.parse_args_into_dataclasses([*words, *flags], look_for_args_file=False)
    except (ValueError, TypeError) as error:
        raise InputError(" ".join(str(error).split())) from error


def _take_section_flags(section: str, words: list[str]) -> tuple[list[str], list[str]]:
    """Split off the flags `--section.key`, with their values and without the section's name."""
    prefix, own, others = f"--{section}.", [], []
    target = others
    for word in words:
        if word.startswith("--"):
            target = own if word.startswith(prefix) else others
        target.append("--" + word.removeprefix(prefix) if word.startswith(prefix) else word)
    return own, others


def require(value: T | None, flag: str) -> T:
    """Return `value`, or raise an error that names the missing flag.

    Raises:
        InputError: the value is empty.
    """
    if not value:
        raise InputError(f"--{flag} is missing: give it on the command line or in the config file")
    return value


def _take_config_path(words: list[str]) -> tuple[str | None, list[str]]:
    for index, word in enumerate(words):
        if word.startswith("--config="):
            return word.partition("=")[2], words[:index] + words[index + 1 :]
        if word == "--config":
            if index + 1 == len(words):
                raise InputError("--config needs the path of a YAML file")
            return words[index + 1], words[:index] + words[index + 2 :]
    return None, words


def read_yaml(path: str) -> dict[str, object]:
    """Return the mapping in a YAML file.

    Raises:
        InputError: the file is missing, is not YAML, or holds no mapping.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the config file {path}: {error}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a mapping of fields to values")
    return {str(key): value for key, value in content.items()}


def _as_flag(action: Action, value: object) -> list[str]:
    flag = action.option_strings[0]
    if value is None or value == []:
        return []
    if isinstance(value, list):
        return [flag, *map(str, value)]
    if isinstance(value, dict):
        return [f"{flag}={json.dumps(value)}"]
    if value is False and action.type is not string_to_bool:
        value = "no"  # YAML reads the word `no` in `save_strategy: no` as false
    return [f"{flag}={value}"]


def _nearest(name: str, known: Mapping[str, Action]) -> str:
    matches = get_close_matches(name, known, n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""
