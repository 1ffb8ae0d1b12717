"""What a judge may answer, and how its answer is read: strictly, or not at all.

In: the text that a judge wrote. Out: its verdict as one number from 0 to 1, or `NoVerdict`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from msgspec import DecodeError, json

from touchstone_rewards.reward_server.schemas import is_list, is_object
from touchstone_rewards.reward_server.scorers.rules.rule import part_of

# What a verdict is: yes or no; a whole number from 1 to 10; yes or no of each criterion.
VerdictForm = Literal["yes_no", "scale", "rubric"]
_PAD, _END = r"[\s*_`]{0,4}", r"[\s*_`.]{0,4}"
_COLON = _PAD + ":" + _PAD
_YES_NO_LINE = _PAD + "verdict" + _COLON + "(yes|no)" + _END
_SCALE_LINE = _PAD + "score" + _COLON + "(10|[1-9])(?: ?/ ?10)?" + _END
_RUBRIC_LINE = _PAD + "criteria" + _COLON + "((?:(?:yes|no), ?)*(?:yes|no))" + _END
_LINES = {
    "yes_no": re.compile(_YES_NO_LINE, re.IGNORECASE),
    "scale": re.compile(_SCALE_LINE, re.IGNORECASE),
    "rubric": re.compile(_RUBRIC_LINE, re.IGNORECASE),
}
_TEXT_SCHEMA = {"type": "string"}
_YES_NO = {"type": "string", "enum": ["yes", "no"]}
LINE_CHARS = 1000


class NoVerdict(ValueError):
    """A judge's text has no verdict in the form that was asked for."""


def instruction(form: VerdictForm, guided: bool, count: int) -> str:
    """Return what a prompt says of the form of the verdict; `count`: of the criteria."""
    if guided:
        verdict = {
            "yes_no": '"verdict": "yes" or "no"',
            "scale": '"score": a whole number from 1 to 10',
            "rubric": f'"criteria": a list of {count} words, each "yes" or "no"',
        }[form]
        return f'Answer with one JSON object: {{"reasoning": a short text, {verdict}}}.'
    line = {
        "yes_no": "`Verdict: yes` or `Verdict: no`",
        "scale": "`Score: N`, where N is a whole number from 1 to 10",
        "rubric": f"`Criteria: ` and {count} words, each yes or no, with commas between them",
    }[form]
    return f"Think briefly. Then end with one line of this form and nothing behind it: {line}."


def schema(form: VerdictForm, count: int) -> dict[str, Any]:
    """Return the JSON Schema of a guided verdict."""
    verdict: dict[str, dict[str, Any]] = {
        "yes_no": {"verdict": _YES_NO},
        "scale": {"score": {"type": "integer", "minimum": 1, "maximum": 10}},
        "rubric": {
            "criteria": {"type": "array", "items": _YES_NO, "minItems": count, "maxItems": count}
        },
    }[form]
    properties = {"reasoning": _TEXT_SCHEMA, **verdict}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def read_verdict(
    text: str, form: VerdictForm, guided: bool, weights: Sequence[float] = ()
) -> float:
    """Return the verdict in a judge's text, from 0 to 1.

    `scale` 1 is 0 and 10 is 1. `weights`: of the criteria; what is met of all that counts for the
    response, less what counts against it, and never below 0.

    Example:
        >>> read_verdict("They agree.\\nVerdict: yes", "yes_no", False)
        1.0

    Raises:
        NoVerdict: it is not there in the form that was asked for.
    """
    said = (part_of(text, "said") or "").strip()
    found = _guided(said, form) if guided else _last_line(said, form)
    if form == "scale":
        if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found <= 10:
            raise NoVerdict(f"its score is {found!r:.80}, not a whole number from 1 to 10")
        return (found - 1) / 9
    words = found if is_list(found) else [found]
    if any(word not in ("yes", "no") for word in words):
        raise NoVerdict("its verdict is neither yes nor no")
    if form == "yes_no":
        return float(words == ["yes"])
    if not is_list(found) or len(words) != len(weights):
        raise NoVerdict(f"it judges {len(words)} criteria where {len(weights)} were asked for")
    met = sum(weight for weight, word in zip(weights, words, strict=True) if word == "yes")
    return min(1.0, max(0.0, met / sum(weight for weight in weights if weight > 0)))


def _guided(said: str, form: VerdictForm) -> object:
    key = {"yes_no": "verdict", "scale": "score", "rubric": "criteria"}[form]
    try:
        found = json.decode(said)
    except (DecodeError, RecursionError):
        raise NoVerdict("it is no JSON") from None
    if not is_object(found) or set(found) != {"reasoning", key}:
        raise NoVerdict(f"it is no JSON object with the keys reasoning and {key}")
    if is_list(found[key]) != (form == "rubric"):
        raise NoVerdict(f"its {key} is of another type")
    return found[key]


def _last_line(said: str, form: VerdictForm) -> object:
    line = said.rpartition("\n")[2]
    match = _LINES[form].fullmatch(line.strip()) if len(line) <= LINE_CHARS else None
    if match is None:
        raise NoVerdict(f"its last line is {line[:80]!r}")
    found = match[1].lower()
    if form == "scale":
        return int(found)
    return [word.strip() for word in found.split(",")] if form == "rubric" else found
