"""Translate keys and flags of other projects into fields of the command that is run.

The content of a config file and the flags are returned with our names, plus a line for each key
that needs no action. All keys that ask for unsupported features are refused together, one line
each. A key that the command has itself is not translated.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.names.llamafactory import (
    INSTEAD,
    INSTEAD_BY_PREFIX,
    NEEDLESS,
    OF_STAGE,
    READ,
    RENAMED,
    STAGES,
    STAGES_NOT_HERE,
    VALUES,
    WITHOUT,
    WITHOUT_BY_PREFIX,
)
from touchstone_rewards.trainer.names.study_script import of_the_script

MOST_SHOWN = 60
OFF = frozenset({"false", "none", "null", "", "0", "0.0", "[]"})


class Meaning(NamedTuple):
    """The meaning of a key: our fields, or the reason why no action is needed, or a replacement, or
    the reason why there is no equivalent."""

    fields: Mapping[str, Any] = {}
    needless: str = ""
    instead: str = ""
    without: str = ""


class FlagWords(NamedTuple):
    """A flag: its name, its value as text, and its words."""

    name: str
    text: str
    words: list[str]


class Brought(NamedTuple):
    """Content and flags with our names, and lines about keys that need no action."""

    content: dict[str, Any]
    flags: list[str]
    said: list[str]


def brought(
    content: Mapping[str, object], flags: Sequence[str], fields: Container[str], command: str
) -> Brought:
    """Translate content and flags; `command` is ours, such as `sft`.

    Example: `{"cutoff_len": 512}` for `sft` becomes `{"max_length": 512}`.

    Raises:
        InputError: keys ask for unsupported features, or two keys set one field.
    """
    own, given = dict(content), list(items_of(flags))
    by_flag = {item.name: item.text for item in given if item.name}
    replaced, composed = of_the_script({**own, **by_flag}, fields)
    own = {name: value for name, value in own.items() if name not in replaced}
    given = [item for item in given if item.name not in replaced]
    said: list[str] = []
    refused: list[str] = []
    found: dict[str, object] = {}
    for name, value in own.items():
        meaning = _noted(name, value, fields, command, said, refused)
        for field, each in ({name: value} if meaning is None else meaning).items():
            if field in found and found[field] != each:
                raise InputError(f"{name} and another key both set {field}: give it once")
            found[field] = each
    words: list[str] = []
    for item in given:
        meaning = item.name and _noted(item.name, item.text, fields, command, said, refused)
        words += words_of(meaning) if isinstance(meaning, Mapping) else item.words
    if refused:
        raise InputError("\n".join(refused))
    return Brought(found, [*words, *words_of(composed)], said)


def _noted(
    name: str,
    value: object,
    fields: Container[str],
    command: str,
    said: list[str],
    refused: list[str],
) -> Mapping[str, Any] | None:
    """Return the fields that a key sets, or None if it is no key of another project.

    Its message is appended to `said` or `refused`.
    """
    try:
        meaning = meaning_of(name, value, fields, command)
    except InputError as error:
        refused.append(f"{name}: {error}")
        return {}
    if meaning is None:
        return None
    if meaning.instead:
        refused.append(f"{name}: {_shown(value)} is not supported; use {meaning.instead}")
    elif meaning.without:
        refused.append(f"{name}: {_shown(value)} is not supported: {meaning.without}")
    elif meaning.needless:
        said.append(f"{name}: no action needed ({meaning.needless})")
    return meaning.fields


def meaning_of(name: str, value: object, fields: Container[str], command: str) -> Meaning | None:
    """Return the meaning of another project's key for this command; None if no table has it."""
    text = str(value).lower()
    if name == "stage":
        return _stage(text, command)
    if (
        name == "reward_model"
        and "reward_url" in fields
        and text.startswith(("http://", "https://"))
    ):
        return _server(str(value))
    if name == "limr" or name.startswith("limr."):
        return None if "limr" in fields else _limr(name, value)
    if name in fields or not _known(name):
        return None
    if value is None or text in ("none", "null"):
        return Meaning()
    if (by_value := VALUES.get(name, {}).get(text)) is not None:
        if all(field in fields for field in by_value):
            return Meaning(by_value)
    elif field := next((each for each in RENAMED.get(name, ()) if each in fields), None):
        read = READ.get(name, lambda each: each)(value)
        return Meaning() if read is None else Meaning({field: read})
    if name in NEEDLESS:
        return Meaning(needless=NEEDLESS[name])
    if text in OFF:
        return Meaning()
    if OF_STAGE.get(name, command) != command:
        return Meaning(needless=f"only `trainer {OF_STAGE[name]}` reads it")
    if why := WITHOUT.get(name) or _by_prefix(name, WITHOUT_BY_PREFIX):
        return Meaning(without=why)
    fields_there = " or ".join(RENAMED.get(name, ()))
    there_is = INSTEAD.get(name) or _by_prefix(name, INSTEAD_BY_PREFIX)
    return Meaning(instead=there_is or f"a command that has {fields_there}")


def _known(name: str) -> bool:
    tables = (RENAMED, VALUES, NEEDLESS, INSTEAD, WITHOUT)
    prefixes = (*INSTEAD_BY_PREFIX, *WITHOUT_BY_PREFIX)
    return any(name in table for table in tables) or name.startswith(prefixes)


def _by_prefix(name: str, table: Mapping[str, str]) -> str:
    return next((text for start, text in table.items() if name.startswith(start)), "")


def _stage(stage: str, command: str) -> Meaning:
    if stage in STAGES_NOT_HERE:
        return Meaning(instead=STAGES_NOT_HERE[stage])
    if STAGES.get(stage) == command:
        return Meaning()
    if stage in STAGES:
        return Meaning(instead=f"`trainer {STAGES[stage]}`, or `trainer run FILE.yaml`")
    return Meaning(instead=f"one of {', '.join(STAGES)}")


def _server(url: str) -> Meaning:
    """Return the address of a reward server, and the profile in its query."""
    parts = urlsplit(url)
    profile = parse_qs(parts.query).get("profile")
    named = {"reward_profile": profile[0]} if profile else {}
    return Meaning({"reward_url": [f"{parts.scheme}://{parts.netloc}"], **named})


def _limr(name: str, value: object) -> Meaning:
    """Translate the section `limr` for a command without rewards: accept it if off, else refuse."""
    section = value if isinstance(value, Mapping) else {name.partition(".")[2]: value}
    if str(section.get("enabled", False)).lower() in OFF:
        return Meaning()
    return Meaning(instead="limr.enabled: false; only `trainer ppo` has rewards and samples")


def items_of(words: Sequence[str]) -> Iterator[FlagWords]:
    """Yield each flag with its values, in order; words before the first flag have no name.

    Example: `["--a", "1", "2", "--b=3"]` yields `a` with the text "1 2" and `b` with "3".
    """
    item: list[str] = []
    for word in words:
        if word.startswith("--") and item:
            yield _item(item)
            item = []
        item.append(word)
    if item:
        yield _item(item)


def _item(words: list[str]) -> FlagWords:
    if not words[0].startswith("--"):
        return FlagWords("", "", words)
    name, equals, value = words[0][2:].partition("=")
    return FlagWords(name, value if equals else " ".join(words[1:]) or "true", words)


def words_of(fields: Mapping[str, object]) -> list[str]:
    """Return the flags that set these fields, leaving out those that are None."""
    words: list[str] = []
    for name, value in fields.items():
        if value is None:
            continue
        if isinstance(value, list):
            words += [f"--{name}", *map(str, value)]
        else:
            words.append(f"--{name}={_word(value)}")
    return words


def _word(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _shown(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"
