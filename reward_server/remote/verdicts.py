"""Ask a judge for a verdict in a fixed form, and read its answer strictly.

The verdict is a number from 0 to 1, read from the judge's text or from the log-probabilities of its
first token. Anything else raises `NoVerdict`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import DecodeError, json

from touchstone_rewards.reward_server.schemas import is_list, is_object
from touchstone_rewards.reward_server.scorers.rules.rule import part_of

# Form of a verdict: yes or no; a whole number from 1 to 10; yes or no per criterion; which of two
# responses is better.
VerdictForm = Literal["yes_no", "scale", "rubric", "pair"]
# How the judge gives the verdict: in a last line, in a JSON object enforced by the engine, or by
# the log-probabilities of the first token.
VerdictWay = Literal["line", "json", "logprobs"]
# Forms with a verdict of one word, and the value of each word.
WORDS: Mapping[str, Mapping[str, float]] = {
    "yes_no": {"yes": 1.0, "no": 0.0},
    "pair": {"A": 1.0, "tie": 0.5, "B": 0.0},
}
_PAD, _END = r"[\s*_`]{0,4}", r"[\s*_`.]{0,4}"
_COLON = _PAD + ":" + _PAD
_YES_NO_LINE = _PAD + "verdict" + _COLON + "(yes|no)" + _END
_SCALE_LINE = _PAD + "score" + _COLON + "(10|[1-9])(?: ?/ ?10)?" + _END
_PAIR_LINE = _PAD + "verdict" + _COLON + "(A|B|tie)" + _END
_RUBRIC_LINE = _PAD + "criteria" + _COLON + "((?:(?:yes|no), ?)*(?:yes|no))" + _END
_LINES = {
    "yes_no": re.compile(_YES_NO_LINE, re.IGNORECASE),
    "scale": re.compile(_SCALE_LINE, re.IGNORECASE),
    "rubric": re.compile(_RUBRIC_LINE, re.IGNORECASE),
    "pair": re.compile(_PAIR_LINE, re.IGNORECASE),
}
_KEYS = {"yes_no": "verdict", "scale": "score", "rubric": "criteria", "pair": "verdict"}
_TEXT_SCHEMA = {"type": "string"}
_YES_NO = {"type": "string", "enum": ["yes", "no"]}
LINE_CHARS = 1000
# Largest number of candidates for the first token that endpoints accept.
TOP_LOGPROBS = 20
# Tolerance for rounding in probabilities that sum to 1.
ROUNDING = 1e-3


class NoVerdict(ValueError):
    """A judge's text has no verdict in the requested form."""


def instruction(form: VerdictForm, way: VerdictWay, count: int) -> str:
    """Return the part of a prompt that states the verdict's form; `count`: number of criteria."""
    if way == "logprobs":
        return f"Answer with one word and nothing else: {' or '.join(_shown(form))}."
    if way == "json":
        verdict = {
            "yes_no": '"verdict": "yes" or "no"',
            "scale": '"score": a whole number from 1 to 10',
            "rubric": f'"criteria": a list of {count} words, each "yes" or "no"',
            "pair": '"verdict": "A", "B" or "tie"',
        }[form]
        return f'Answer with one JSON object: {{"reasoning": a short text, {verdict}}}.'
    line = {
        "yes_no": "`Verdict: yes` or `Verdict: no`",
        "scale": "`Score: N`, where N is a whole number from 1 to 10",
        "rubric": f"`Criteria: ` and {count} words, each yes or no, with commas between them",
        "pair": "`Verdict: A`, `Verdict: B` or `Verdict: tie`",
    }[form]
    return f"Think briefly. Then end with one line of this form and nothing behind it: {line}."


def _shown(form: VerdictForm) -> list[str]:
    """Return the words whose log-probabilities are compared; a tie shows as equal probabilities."""
    return [word for word in WORDS[form] if word != "tie"]


def schema(form: VerdictForm, count: int) -> dict[str, Any]:
    """Return the JSON Schema of a guided verdict."""
    verdict: dict[str, Any] = {
        "yes_no": _YES_NO,
        "scale": {"type": "integer", "minimum": 1, "maximum": 10},
        "rubric": {"type": "array", "items": _YES_NO, "minItems": count, "maxItems": count},
        "pair": {"type": "string", "enum": ["A", "B", "tie"]},
    }[form]
    properties = {"reasoning": _TEXT_SCHEMA, _KEYS[form]: verdict}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def read_verdict(
    text: str, form: VerdictForm, guided: bool, weights: Sequence[float] = ()
) -> float:
    r"""Return the verdict in a judge's text, from 0 to 1.

    `scale`: 1 maps to 0 and 10 to 1. `pair`: 1 if the first response is better, 0.5 for a tie.
    `weights`: those of the criteria; the result is the sum of the weights met, divided by the sum
    of the positive weights and clipped to [0, 1].

    Example:
        >>> read_verdict("They agree.\nVerdict: yes", "yes_no", False)
        1.0

    Raises:
        NoVerdict: the text has no verdict in the requested form.
    """
    said = (part_of(text, "said") or "").strip()
    found = _guided(said, form) if guided else _last_line(said, form)
    if form == "scale":
        if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found <= 10:
            raise NoVerdict(f"its score is {found!r:.80}, not a whole number from 1 to 10")
        return (found - 1) / 9
    if form in WORDS:
        if not isinstance(found, str) or found not in WORDS[form]:
            raise NoVerdict(f"its verdict is not one of {', '.join(WORDS[form])}")
        return WORDS[form][found]
    words = found if is_list(found) else [found]
    if any(word not in ("yes", "no") for word in words):
        raise NoVerdict("its verdict is neither yes nor no")
    if len(words) != len(weights):
        raise NoVerdict(f"it judges {len(words)} criteria where {len(weights)} were asked for")
    met = sum(weight for weight, word in zip(weights, words, strict=True) if word == "yes")
    return min(1.0, max(0.0, met / sum(weight for weight in weights if weight > 0)))


def read_logprobs(tokens: Sequence[Any], form: VerdictForm, least_mass: float) -> float:
    """Return the first word's share of the probability of all words of a form.

    `tokens`: candidates for the first token, each with `token` and `logprob`. Tokens that differ
    only in spaces and letter case count as one word. `least_mass`: smallest total probability of
    the words.

    Example:
        >>> read_logprobs([{"token": " Yes", "logprob": -0.1054}], "yes_no", 0.5)
        1.0

    Raises:
        NoVerdict: the judge was about to write something else, or a log-probability is invalid.
    """
    words = {word.lower(): 0.0 for word in _shown(form)}
    for each in tokens:
        token, logprob = (each.get("token"), each.get("logprob")) if is_object(each) else (0, 0)
        if not isinstance(token, str) or not isinstance(logprob, int | float):
            raise NoVerdict("a token in its log-probabilities has no number")
        word = token.strip().lower()
        if word in words:
            words[word] += math.exp(min(logprob, 1.0))
    mass = sum(words.values())
    if mass > 1.0 + ROUNDING:
        raise NoVerdict(f"its words have the probability {mass:.3g}, which is more than 1")
    if mass < least_mass or mass <= 0:
        likely = [str(each.get("token"))[:20] for each in tokens[:3]]
        names = " and ".join(_shown(form))
        raise NoVerdict(
            f"{names} have {mass:.2g} of the probability; its likeliest tokens are {likely}"
        )
    return words[_shown(form)[0].lower()] / mass


def _guided(said: str, form: VerdictForm) -> object:
    key = _KEYS[form]
    try:
        found = json.decode(said)
    except (DecodeError, RecursionError):
        raise NoVerdict("it is not JSON") from None
    if not is_object(found) or set(found) != {"reasoning", key}:
        raise NoVerdict(f"it is not a JSON object with the keys reasoning and {key}")
    if is_list(found[key]) != (form == "rubric"):
        raise NoVerdict(f"its {key} has the wrong type")
    return found[key]


def _last_line(said: str, form: VerdictForm) -> object:
    line = said.rpartition("\n")[2]
    match = _LINES[form].fullmatch(line.strip()) if len(line) <= LINE_CHARS else None
    if match is None:
        raise NoVerdict(f"its last line is {line[:80]!r}")
    found = match[1].lower()
    if form == "scale":
        return int(found)
    if form == "rubric":
        return [word.strip() for word in found.split(",")]
    return next(word for word in WORDS[form] if word.lower() == found)
