"""Parse strict JSON: no NaN, no duplicate keys, and errors with a position."""

from __future__ import annotations

import json
from typing import Any


class NotJson(ValueError):
    """The text is not valid JSON; the message says why and where."""


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        NotJson: it is invalid, has a duplicate key, a number that JSON does not allow or that is
            too long, or is nested too deeply.

    Example:
        >>> parse_json('{"a": [1]}')
        {'a': [1]}
    """
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise NotJson(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise NotJson("nested too deeply") from None
    except ValueError as error:
        raise NotJson(str(error)[:200]) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise NotJson(f"the key {twice[:80]!r} occurs twice")
    return made


def _constant(name: str) -> Any:
    raise NotJson(f"{name} is no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def without_fence(text: str) -> str:
    """Return the content of a Markdown code fence around the whole text;
    without a fence, the text."""
    text = text.strip()
    if len(text) < 6 or not (text.startswith("```") and text.endswith("```")):
        return text
    first, newline, rest = text[3:-3].partition("\n")
    if newline and (not first.strip() or first.strip().isalnum()):
        return rest.strip()
    return text[3:-3].strip()


def repaired(text: str) -> str:
    """Extract the JSON from a text: from the first bracket to its closing one, without trailing
    commas.

    Example:
        >>> repaired('Here: {"a": [1, 2,],} I hope it helps')
        '{"a": [1, 2]}'
    """
    starts = [at for at in (text.find("{"), text.find("[")) if at >= 0]
    kept: list[str] = []
    depth, in_string, escaped, comma = 0, False, False, -1
    for char in text[min(starts) :] if starts else "":
        kept.append(char)
        if in_string:
            in_string = escaped or char != '"'
            escaped = char == "\\" and not escaped
            continue
        in_string = char == '"'
        depth += (char in "{[") - (char in "}]")
        if char in "}]" and comma >= 0:
            del kept[comma]
        if not char.isspace():
            comma = len(kept) - 1 if char == "," else -1
        if depth == 0:
            break
    return "".join(kept)
