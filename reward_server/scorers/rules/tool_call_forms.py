"""Parse the tool call formats of different models into names and arguments.

Nothing is evaluated: JSON is parsed, and calls in Python syntax are read from a syntax tree of
which only names, literals, lists and dicts are accepted.
"""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, cast, get_args

from touchstone_rewards.reward_server.schemas import is_list, is_object
from touchstone_rewards.reward_server.scorers.rules.strict_json import (
    NotJson,
    parse_json,
    without_fence,
)

# openai: {"tool_calls": [{"function": {"name", "arguments": "JSON"}}]}, or only the list. hermes,
# also used by Qwen: <tool_call>{"name", "arguments"}</tool_call>. llama: {"name", "parameters"},
# with or without <|python_tag|> before it. mistral: [TOOL_CALLS][{"name", "arguments"}]. python:
# [name(key=value, …), …], as Llama 4 writes it.
CallForm = Literal["openai", "hermes", "llama", "mistral", "python"]
FORMS: tuple[CallForm, ...] = get_args(CallForm)
PYTHON_CHARS = 20_000
_encoded = json.JSONEncoder(sort_keys=True).encode
_ENDS = ("<|eom_id|>", "<|eot_id|>", "<|im_end|>", "</s>")
_MARKS: dict[CallForm, str] = {"llama": "<|python_tag|>", "mistral": "[TOOL_CALLS]"}


class ToolCall(NamedTuple):
    """One tool call; each argument is a text in canonical form, so
    equal values have equal texts."""

    name: str
    arguments: dict[str, str]


class NoCalls(ValueError):
    """A tool call cannot be read; the message says why."""


def calls_in(text: str, forms: Sequence[CallForm] = FORMS) -> list[ToolCall]:
    """Return the calls in a text, in order; an empty list if it makes none.

    Raises:
        NoCalls: the text has the marker of a form, but no valid call follows.
    """
    if "hermes" in forms and "<tool_call>" in text:
        return [call for block in _blocks(text) for call in _from_json(block)]
    for form, mark in _MARKS.items():
        if form in forms and mark in text:
            return _from_json(_without_ends(text.partition(mark)[2]))
    bare = without_fence(_without_ends(text))
    if bare[:1] not in ("{", "["):
        return []
    if "python" in forms and bare[:1] == "[" and (called := _from_python(bare)):
        return called
    if not {"openai", "llama", "mistral"} & set(forms):
        return []
    try:
        value = parse_json(bare)
    except NotJson:
        return []
    if is_list(value) and not all(map(is_object, value)):
        return []
    return calls_of_value(value) if _looks_like_calls(value) else []


def calls_of_value(value: Any) -> list[ToolCall]:
    """Return the calls in a JSON value: a call, a list of calls, or a message with `tool_calls`.

    Raises:
        NoCalls: the value is none of these.
    """
    if is_object(value) and is_list(value.get("tool_calls")):
        value = value["tool_calls"]
    return [_call(one) for one in (value if is_list(value) else [value])]


def _looks_like_calls(value: Any) -> bool:
    first = value[0] if is_list(value) and value else value
    return value == [] or (
        is_object(first) and bool({"tool_calls", "function", "name"} & first.keys())
    )


def _call(value: Any) -> ToolCall:
    inner = value.get("function", value) if is_object(value) else None
    if not is_object(inner) or not isinstance(inner.get("name"), str):
        raise NoCalls(f"{str(value)[:80]} has no name")
    given = [inner[key] for key in ("arguments", "parameters") if key in inner]
    arguments: Any = given[0] if given else {}
    if isinstance(arguments, str):
        try:
            arguments = parse_json(arguments) if arguments.strip() else {}
        except NotJson as error:
            raise NoCalls(f"the arguments of {inner['name'][:80]}: {error}") from None
    if not is_object(arguments):
        raise NoCalls(f"the arguments of {inner['name'][:80]} are not an object")
    return _made(inner["name"], arguments)


def _made(name: str, arguments: dict[str, Any]) -> ToolCall:
    try:
        return ToolCall(name, {key: _canonical(value) for key, value in arguments.items()})
    except (RecursionError, TypeError) as error:  # bytes and sets, from Python syntax
        raise NoCalls(f"the arguments of {name[:80]}: {error}") from None


def _canonical(value: Any) -> str:
    """Return a value as text: 1.0 equals 1, but True does not."""
    return _encoded(value if isinstance(value, str) else _plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, tuple):  # from Python syntax
        return list(map(_plain, cast("tuple[Any, ...]", value)))
    if is_object(value):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return list(map(_plain, value)) if is_list(value) else value


def _blocks(text: str) -> Iterator[str]:
    """Yield the content between each pair of tags."""
    for piece in text.split("<tool_call>")[1:]:
        inner, closing, _ = piece.partition("</tool_call>")
        if not closing:
            raise NoCalls("a <tool_call> that is not closed")
        yield inner


def _from_json(text: str) -> list[ToolCall]:
    try:
        return calls_of_value(parse_json(text.strip()))
    except NotJson as error:
        raise NoCalls(str(error)) from None


def _without_ends(text: str) -> str:
    text = text.strip()
    for end in _ENDS:
        text = text.removesuffix(end).rstrip()
    return text


def _from_python(text: str) -> list[ToolCall]:
    """Return the calls in a list in Python syntax; an empty list for anything else."""
    if len(text) > PYTHON_CHARS or not text.rstrip().endswith(")]"):
        return []
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(text, mode="eval").body
        calls = tree.elts if isinstance(tree, ast.List) else []
        return [_python_call(call) for call in calls]
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return []


def _python_call(call: ast.expr) -> ToolCall:
    if not isinstance(call, ast.Call) or call.args:
        raise ValueError("a call without keywords")
    name = ast.unparse(call.func)
    arguments = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}
    if len(arguments) < len(call.keywords) or not name.replace(".", "").replace("_", "").isalnum():
        raise ValueError("a repeated keyword or an invalid name")
    return _made(name, arguments)
