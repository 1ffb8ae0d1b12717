"""An answer's text in, its tokens out: three parallel lists, made by one compiled pattern.

A token has a kind (what the grammar asks for) and a payload. It knows no grammar: whether `|`
opens or closes is for `parse` to say.
"""

from __future__ import annotations

import re
from functools import lru_cache

from msgspec import Struct

from reward_server.scorers.math.symbols import (
    ACCENTS,
    COMMANDS,
    FUNCTIONS,
    GREEK,
    IGNORED,
    JOINTS,
)
from reward_server.scorers.math.tree import Unreadable
from reward_server.scorers.math.units import is_unit

MAX_CHARS = 4_000
MAX_TOKENS = 2_000

_TEXT = "text|textbf|textit|textrm|textsf|texttt|textnormal|mathrm|mathbf|mathit|mathsf|mbox|hbox"
_RATES = "m|km|cm|mm|ft|mi|g|kg|L|l|mL|J|N|W"
_PATTERN = re.compile(
    r"(?P<skip>(?:\s|\\[,;:!> \n]|\$|~|\\left\s*\.|\\right\s*\.|\\[hv]space\*?\{[^{}]*\}|\{\})+)"
    r"|(?P<repeating>\d*\.\d*\\(?:overline|bar|dot)\s*(?:\{\d+\}|\d)|\d+\.\(\d+\))"
    r"|(?P<number>(?:[1-9]\d{0,2}(?:(?:\s?\{\s?,\s?\}\s?|,\\!\s?|\\,|\{,\\!\}|\\ |\\!,|,)\d{3})+(?!\d)"
    r"|\d{1,3}(?: \d{3})+(?![\d/]| \d)|\d+)(?:\.\d+|\.(?![.\d]))?"
    r"(?:[eE][-+]?\d+(?![\d.a-zA-Z]))?|\.\d+(?:[eE][-+]?\d+)?)"
    rf"|\\(?:{_TEXT}|emph|operatorname\*?|boldsymbol|bm|unit)\s*\{{(?P<text>[^{{}}]*)\}}"
    r"|\\(?P<env>begin|end)\s*\{(?P<envname>\w*\*?)\}(?:\s*\{[lcr|@{} ]*\})?"
    r"|\\(?:mathbb|mathbf|Bbb)\s*\{?(?P<field>[RZNQCP])\}?(?![a-zA-Z])"
    r"|\\(?P<command>[a-zA-Z]+)\*?"
    rf"|(?<=[\d}})\s])(?P<rate>(?:{_RATES})\s?/\s?(?:s|h|hr|sec|min)(?![a-zA-Z]))"
    r"|(?P<word>[a-zA-Z]+)"
    r"|(?P<sign>\*\*|<=|>=|!=|==|<>|->|=>|\.\.\.+|\\\\|\\[{}|%$#&_]|[-+*/^_=<>()\[\]{}|!,;:.'%&#?\"])"
    r"|(?P<letters>[和与及或]|[^\x00-\x7f和与及或]+)",
    re.ASCII,
)
_SIGNS: dict[str, str] = {
    "**": "^", "==": "=", "<>": "!=", "\\%": "%", "\\$": "money", "\\|": "norm", "\\&": "and",
    "...": "dots", "\\_": "_", "->": "->",
}  # fmt: skip


# In brackets a comma parts two numbers: (1,234) is a pair. 1,000 is not: nobody writes 000.
_SEPARATED = re.compile(r"\d{1,3}(?:,[1-9]\d\d)+$")
_NESTING = {"(": 1, "[": 1, "\\{": 1, ")": -1, "]": -1, "\\}": -1}


class Tokens(Struct):
    """`gaps[i]`: was there white space before token i? `plain[i]`: does it stand in `\\text{}`?"""

    kinds: list[str]
    values: list[str]
    gaps: list[bool]
    plain: list[bool]


@lru_cache(maxsize=4096)
def split_word(word: str, in_text: bool, after_number: bool) -> tuple[tuple[str, str], ...]:
    """A run of letters as tokens: a function, a constant, a unit, a word, or one-letter names.

    `abc` is a product of three; `Even` and `metres` are words; `xsin` is `x` and a function.
    """
    if (known := _whole_word(word, in_text, after_number)) is not None:
        return (known,)
    tokens: list[tuple[str, str]] = []
    at = 0
    while at < len(word):
        for length in range(min(len(word) - at, 9), 1, -1):
            part = word[at : at + length]
            if length > 2 and part in FUNCTIONS:
                tokens.append(("func", FUNCTIONS[part]))
                break
            if part == "pi" or (length > 3 and part in GREEK):
                tokens.append(("const", "pi") if part == "pi" else ("name", part))
                break
        else:
            length = 1
            tokens.append(_letter(word[at]))
        at += length
    if len(word) > 3 and not any(kind == "func" or name == "pi" for kind, name in tokens):
        return (("word", word),)
    return tuple(tokens)


def _letter(letter: str) -> tuple[str, str]:
    return ("const", letter) if letter in "ei" else ("name", letter)


def _whole_word(word: str, in_text: bool, after_number: bool) -> tuple[str, str] | None:
    lower = word.lower()
    if len(word) == 1:
        return ("unit", word) if in_text and after_number and is_unit(word) else _letter(word)
    if lower in JOINTS:
        return (JOINTS[lower], "")
    if lower in ("degree", "degrees", "deg"):
        return ("degree", "")
    if lower in ("infinity", "inf", "infty", "oo"):
        return ("const", "inf")
    if word in FUNCTIONS and not (after_number and is_unit(word)):
        return ("func", FUNCTIONS[word])
    if word in GREEK:
        return ("name", word)
    if word == "pi":
        return ("const", "pi")
    if is_unit(word) and (after_number or len(word) > 3):
        return ("unit", word)
    if in_text and len(word) > 1:
        return ("word", word)
    if lower in _SHORT_WORDS:
        return ("word", word)
    return None


_SHORT_WORDS = frozenset(
    [
        "no",
        "yes",
        "men",
        "day",
        "cat",
        "dog",
        "red",
        "odd",
        "one",
        "two",
        "six",
        "ten",
        "for",
        "all",
        "are",
        "the",
        "per",
        "nan",
        "was",
        "has",
        "can",
        "not",
        "but",
        "hen",
        "pig",
        "cow",
        "kid",
        "bus",
        "car",
        "pen",
        "box",
    ]
)


def tokenize(text: str) -> Tokens:
    """The tokens of `text`, ending with one of kind `end`.

    Raises:
        Unreadable: too long, too many tokens, or a character that no answer has.
    """
    if len(text) > MAX_CHARS:
        raise Unreadable(f"{len(text)} characters; at most {MAX_CHARS} are read")
    tokens = Tokens([], [], [], [])
    _scan(text, tokens, in_text=False)
    if len(tokens.kinds) > MAX_TOKENS:
        raise Unreadable(f"{len(tokens.kinds)} tokens; at most {MAX_TOKENS} are read")
    for column, last in zip(
        (tokens.kinds, tokens.values, tokens.gaps, tokens.plain),
        ("end", "", True, False),
        strict=True,
    ):
        column.append(last)
    return tokens


def _scan(text: str, tokens: Tokens, *, in_text: bool) -> None:
    kinds, values, gaps, plain = tokens.kinds, tokens.values, tokens.gaps, tokens.plain
    match = _PATTERN.match
    at, end, gap, depth = 0, len(text), in_text, 0
    while at < end:
        found = match(text, at)
        if found is None:
            raise Unreadable(f"character {text[at]!r}")
        at = found.end()
        group = found.lastgroup
        if group == "skip":
            gap = True
            continue
        payload = found[group or ""]
        if group == "rate" and (not kinds or kinds[-1] not in ("num", "}")):
            payload = payload.partition("/")[0].strip()  # m/s of two variables
            at, group = found.start() + len(payload), "word"
        if group == "number":
            if depth > 0 and _SEPARATED.match(payload):
                payload = payload.partition(",")[0]
                at = found.start() + len(payload)
            made = (("num", payload),)
            if kinds and kinds[-1] == "frac" and payload.isdigit() and len(payload) > 1:
                made = tuple(("num", digits) for digits in (*payload[:2], payload[2:]) if digits)
        elif group == "sign":
            depth += _NESTING.get(payload, 0)
            made = ((_SIGNS.get(payload, payload), payload),)
        elif group == "command":
            if payload in IGNORED:
                continue
            made = (COMMANDS.get(payload) or _unknown_command(payload),)
        elif group == "word":
            after = bool(kinds) and kinds[-1] in _BEFORE_UNIT
            made = split_word(payload, in_text, after)
        elif group == "text":
            if in_text:
                raise Unreadable("text in text")
            before = len(kinds)
            _scan(payload, tokens, in_text=True)
            if len(kinds) > before:
                gaps[before] = True
            gap = True
            continue
        else:
            made = _special(group, payload, found)
        for kind, value in made:
            kinds.append(kind)
            values.append(value)
            gaps.append(gap)
            plain.append(in_text)
            gap = False


_BEFORE_UNIT = frozenset(
    ["num", "repeating", "}", ")", "unit", "/", "word", "%", "*", "const", "^"]
)


def _unknown_command(name: str) -> tuple[str, str]:
    if name in ACCENTS:
        return ("accent", name)
    if name == "operatorname":
        return ("word", name)
    raise Unreadable(f"command \\{name}")


def _special(group: str | None, payload: str, found: re.Match[str]) -> tuple[tuple[str, str], ...]:
    if group == "repeating":
        return (("repeating", payload),)
    if group == "envname":
        return (("begin" if found["env"] == "begin" else "end_env", payload.rstrip("*")),)
    if group == "rate":
        above, _, below = payload.partition("/")
        return (("unit", above.strip()), ("/", "/"), ("unit", below.strip()))
    if group == "field":
        return (("field", payload),)
    return ((JOINTS.get(payload, "word"), payload),)  # letters of another script
