"""Find the answer of a response without markers: its last value."""

from __future__ import annotations

import re

from touchstone_rewards.reward_server.scorers.math.extraction.beside import (
    earlier_alternatives,
    negation_before,
    value_instead,
)
from touchstone_rewards.reward_server.scorers.math.extraction.places import TAIL_CHARS, FoundAnswer
from touchstone_rewards.reward_server.scorers.math.extraction.values import (
    MOST_JOINED,
    NUMBER,
    FoundValue,
    expression_around,
    is_expression,
    is_prose,
    joined_math_at,
    last_match,
    last_number,
    last_step,
    separator,
    without_unit,
)

_DELIMITERS = (("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
_OPENING = {"$": "$", "\\)": "\\(", "\\]": "\\["}
_JOINED_TO_NEXT = re.compile(
    r"(?P<closing>\$|\\\)|\\\])\s{0,3}(?P<joint>,?\s{0,3}\b(?:and|or)\b|[,和与或、])\s{0,3}$"
)
_IN_TEXT = re.compile(r"\\text(?:bf|rm|it)?\{[^{}]{1,60}\}")
_STATED = frozenset(["true", "false", "yes", "no"])
_QED = "□∎■◻▪◼ \t\n\r"
_COPULA = re.compile(
    r"\b(?:is|are|equals|be|to|gives?|get|obtain|have|becomes?|option|choice)\s|:\s|[：是为]\s?"
)
_QED_COMMAND = re.compile(r"\s?\$?\\(?:blacksquare|square|Box|qed|qedsymbol)\$?\s{0,3}$")
# Text after a final value: `x = 8 (rejecting x = -3).`, `x = 8, as x > 0.`
_ASIDE_BEHIND = re.compile(
    r"(?<=[\d)$}%])(?:\s?\((?=[A-Za-z]{3})(?!(?:maybe|perhaps|possibly|could|might|not|either|but)\b)"
    r"[^()\n]{3,120}\)|,?\s(?:because|since|as)\s[^.\n]{3,120})[.\s]{0,4}$"
)
_RELATED = re.compile(r"\b(?:multiples?\sof|divisible\sby)\s[$(\\]{0,3}$")  # about another number
# A sentence that asks for a value states none: *Evaluate $6 + 9$.*, *What is $9/2$ as a decimal?*
_ASKED_BEHIND = re.compile(r"\A[^.?!\n。？！]{0,200}[?？]")
_ASKED_BEFORE = re.compile(
    r"(?:^|[.?!:\n]\s{0,3})(?:calculate|compute|convert|determine|evaluate|expand|express|factor"
    r"|find|simplify|solve|write)\b[^.?!=\n]{0,200}$",
    re.IGNORECASE,
)
_CUT = ("=", "+", "-", "−", "×", "·", "÷", "^", "{", "(", "[", "<", "\\", "≈", "/")
_CONNECTIVE = re.compile(
    r"(?:so|thus|hence|therefore|then|finally|and|now|ergo|also|it['’]s|it is|that['’]s)\b"
    r",?\s{0,2}",
    re.IGNORECASE,
)
_ARITHMETIC = re.compile(r"[\d)] ?(?:[-+*/x×÷]) ?[$(]?\d[\d.,]{0,20}%?(?: [a-z]{1,12})? ?$")
_ASIDE = re.compile(r" ?[A-Za-z][^,;:.=<>\n]{0,160}")  # the counted things and their purpose
_HEDGED = re.compile(r"\b(?:or|not|maybe|but|no|wrong|rather|instead|if|else|unless|never)\b")
_UNIT_POWER = re.compile(r"[\d}$ ](?:\\text\{ ?|\\mathrm\{ ?)?[a-z]{2,6}\}?\^\{?$")  # of cm^2
_WHOLE_CHARS = 200


def find_last_value(text: str) -> FoundAnswer | None:
    """Return the last value of a text without markers, or None if it ends inside a formula.

    This is all of a short text, else the value that ends the last sentence, else the last formula
    or number.
    """
    end = len(text.rstrip(_QED))
    if mark := _QED_COMMAND.search(text, max(0, end - 40), end):
        end = mark.start()
    if is_cut(text[max(0, end - TAIL_CHARS) : end]):
        return None
    if aside := _ASIDE_BEHIND.search(text, max(0, end - _WHOLE_CHARS), end):
        end = aside.start()
    whole = _whole(text, end)
    if whole is not None:
        return whole
    start = max(0, end - TAIL_CHARS)
    found = _line(text, start, end) or _last(text, start, end)
    if found is None:
        return None
    if _RELATED.search(text, max(0, found.start - 24), found.start) or _is_asked(text, found):
        return None
    if negation_before(text, found.start):
        found = value_instead(text, found.start)
        if found is None:
            return None
    said, begin = earlier_alternatives(text, found.start, found.text)
    return FoundAnswer(said, "last_value", begin, found.end, begin)


def _is_asked(text: str, found: FoundValue) -> bool:
    """Tell whether the value is part of a question or task that asks for one."""
    if _ASKED_BEHIND.match(text[found.end : found.end + 201]):
        return True
    said = text[found.start : found.end]
    return "=" not in said and bool(
        _ASKED_BEFORE.search(text[max(0, found.start - _WHOLE_CHARS) : found.start])
    )


def is_cut(text: str) -> bool:
    """Tell whether `text` ends in the middle of a formula."""
    tail = text.rstrip()
    if tail.endswith(_CUT) and not tail.endswith(("--", "</", "//", "](")):
        return True
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]"), ("\\begin{", "\\end{")):
        opened = tail.rfind(opening)
        if opened > tail.rfind(closing) and tail[opened - 1 : opened] != "\\":
            return True
    brace = tail.rfind("{")
    if brace > tail.rfind("}"):
        return True
    line = tail[tail.rfind("\n") + 1 :].replace("\\$", "")
    if line.count("$") % 2:
        behind = line[line.rfind("$") :]
        if any(sign in behind for sign in "\\^_{"):
            return True
        return any(sign in behind for sign in "=+") and not _is_money(line)
    return False


def _is_money(line: str) -> bool:
    """Tell whether every dollar sign of `line` precedes an amount."""
    return all(part[:1].isdigit() for part in line.replace("$ ", "$").split("$")[1:])


def _whole(text: str, end: int) -> FoundAnswer | None:
    whole = text[:end].strip() if end <= 2 * _WHOLE_CHARS else ""
    if not whole or len(whole) > _WHOLE_CHARS or "\n" in whole or is_prose(whole):
        return None
    if _CONNECTIVE.match(whole) or whole.count("**") == 2:
        return None
    maths = joined_math_at(whole, 0)
    if maths is None and any(opening in whole for opening, _ in _DELIMITERS):
        return None
    return FoundAnswer(whole if maths is None else maths.text, "last_value", 0, len(text), 0)


def _line(text: str, start: int, end: int) -> FoundValue | None:
    """Return the last line, or the end of its last sentence after *is* or
    a colon, if an expression."""
    begin = max(text.rfind("\n", start, end) + 1, start)
    line = text[begin:end]
    if line.count("**") == 2 and line.rstrip(" .").endswith("**"):
        begin = text.index("**", begin) + 2  # text in bold type
        line = text[begin:end]
    if led := _CONNECTIVE.match(line):
        begin += led.end()
        line = line[led.end() :]
    bare = line.lstrip(" \t*_`=").rstrip(" \t*_`.=,;")
    if _is_stated(bare):
        return _steps(bare, text.index(bare, begin), end)
    low = max(begin, end - 2 * _WHOLE_CHARS)
    low = max(low, text.rfind(". ", low, end - 1) + 1, text.rfind("。", low, end - 1) + 1)
    copula = last_match(_COPULA, text, low, end)
    if copula is None:
        return None
    bare = text[copula.end() : end].lstrip(" \t*_`").rstrip(" \t*_`.,;")
    return _steps(bare, text.index(bare, copula.end()), end) if _is_stated(bare) else None


def _is_stated(bare: str) -> bool:
    return is_expression(bare) or bare.lower() in _STATED or bool(_IN_TEXT.fullmatch(bare))


def _steps(bare: str, at: int, end: int) -> FoundValue:
    last = last_step(bare)
    begin = at + len(bare) - len(last)
    return FoundValue(without_unit(last.strip(), bare[: begin - at]), begin, end)


def _last(text: str, start: int, end: int) -> FoundValue | None:
    maths, number = _last_math(text, start, end), last_number(text, start, end)
    while number and _UNIT_POWER.search(text, max(start, number.start - 16), number.start):
        number = last_number(text, start, number.start - 1)
    if maths and (number is None or maths.end >= number.end):
        return maths
    if number is None:
        return None
    return expression_around(text, _computed(text, start, number) or number)


def _computed(text: str, start: int, last: FoundValue) -> FoundValue | None:
    """Return the number after the last `=` of a calculation in the sentence that ends with `last`.

    In *3 * 5 = 15 laps in 5 minutes* this is 15.
    """
    low = max(start, last.start - _WHOLE_CHARS, text.rfind("\n", start, last.start) + 1)
    low = max(low, text.rfind(". ", low, last.start) + 1)
    equals = text.rfind("=", low, last.start)
    if equals < 0 or not _ARITHMETIC.search(text, max(low, equals - 30), equals):
        return None
    number = NUMBER.match(text, equals + 1 + (text[equals + 1 : equals + 2] == " "))
    if number is None or not number[0] or number.end() >= last.start:
        return None
    if not _ASIDE.fullmatch(text, number.end(), last.start):
        return None
    if _HEDGED.search(text, number.end(), last.end):
        return None
    return FoundValue(number[0], number.start(), number.end())


def _last_math(text: str, start: int, end: int) -> FoundValue | None:
    r"""Return the content of the last `$…$`, `\(…\)` or `\[…\]` of the text from `start` on."""
    close, opening, closing = max((_last_of(text, b, start, end), a, b) for a, b in _DELIMITERS)
    stop = close
    while closing == "$" and stop > start and text[stop - 1] == "$":
        stop -= 1
    begin = _last_of(text, opening, start, stop) if close >= 0 else -1
    if begin < 0:
        return None
    said = text[begin + len(opening) : stop]
    said, begin = _with_earlier(text, start, begin, said)
    if is_prose(said) and "\\" not in said:
        return None
    return FoundValue(said, begin, close + len(closing))


def _last_of(text: str, sign: str, start: int, end: int) -> int:
    """Return the position of the last unescaped `sign`, or -1."""
    at = text.rfind(sign, start, end)
    while at > start and sign == "$" and text[at - 1] == "\\":
        at = text.rfind(sign, start, at)
    return at


def _with_earlier(text: str, start: int, begin: int, said: str) -> tuple[str, int]:
    """Return `said` with earlier formulas joined to it by *and*, *or* or a comma, and its start."""
    for _ in range(MOST_JOINED):
        joint = _JOINED_TO_NEXT.search(text, max(start, begin - 24), begin)
        if joint is None:
            break
        opening = _OPENING[joint["closing"]]
        end = joint.start("closing")
        earlier = text.rfind(opening, start, end)
        if earlier < 0:
            break
        said = text[earlier + len(opening) : end] + separator(joint["joint"]) + said
        begin = earlier
    return said, begin
