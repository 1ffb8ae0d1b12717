"""Find the value at a position of a text: mathematics in dollars, a number, an expression.

Nothing is parsed here: a value is a piece of text that looks like one.
"""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple

from touchstone_rewards.reward_server.scorers.math.extraction.languages import words
from touchstone_rewards.reward_server.scorers.math.extraction.places import ANSWER_MAX_CHARS

MOST_JOINED = 64  # largest number of values that `and`, `or` and commas join into one answer
_DELIMITERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
_MATH_JOINT = re.compile(r"\s{0,3}(?:,\s{0,3}(?:and|or)\b|[,;]|and\b|or\b|[和与或、])\s{0,3}")
NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.])(?:[-+−–]\s?)?(?:\\?[$€£¥]\s?)?"
    r"(?:\d{1,3}(?:[, ]\d{3})+(?!\d)|\d+)?(?:(?<=\d)\.\d+|(?<!\d)\.\d+|(?<=\d))"
    r"(?:[eE][-+]?\d+)?(?:\s?/\s?\d+(?:\.\d+)?)?(?:\s?\\?%)?"
)
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,40}[\s,:]{1,9}(?:[A-Za-z]{2}|[-$\d])")
_OTHER_SCRIPT = re.compile(r"[^\W\d_a-zA-Z\u0370-\u03ff]{3}")
_DIGIT = re.compile(r"\d")
# Tokens of an expression in plain text; all else is prose or punctuation.
_PIECE = re.compile(r"\\(?:[a-zA-Z]+|.)|[^\W\d_]+|\d+(?:[.,]\d+)*|\s+|.", re.DOTALL)
_NAME = re.compile(r"[A-Za-z](?:_\{?\w{1,3}\}?)?'?(?:\([a-z]\))?")
_TIMES = re.compile(r"(?<=[\d%)]) ?x ?(?=[\d($])")
_COUNTED_STEP = re.compile(r"[A-Z][a-z]{2,12} \d{1,3}$")
_IN_TEXT = re.compile(r"\\(?:text|mbox|mathrm|textbf|textit) ?\{[^{}]{0,60}\}")
_LEADING_TIMES = re.compile(r"\s?[x×] (?=[\d(])")
_UNITS = re.compile(r"\d ?([A-Za-z]{1,3})(?![A-Za-z])")
_WITH_UNIT = re.compile(r" ?(\$?\d[\d.,]{0,30}) ?([A-Za-z]{1,3})")
_LETTER = re.compile(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])")
_SIGNS = frozenset("+-*/^=<>≤≥≠≈×·÷√π∞±−–()[]{}|_!&'°%,²³∪∩∈∅\\")
_FUNCTIONS = words(
    "sqrt sin cos tan cot sec csc ln log exp pi mod arcsin arccos arctan min max gcd lcm"
    " pmatrix bmatrix vmatrix matrix cases array"
)
_ARTICLES = frozenset(["a", "A", "I"])
_NUMBER_CHARS = 60  # most numbers are shorter
_LOOK_LEFT, _LOOK_RIGHT = 240, 120  # characters of an expression around its last number


class FoundValue(NamedTuple):
    """Text and position of a value."""

    text: str
    start: int
    end: int


def is_prose(text: str) -> bool:
    """Tell whether words stand side by side, or letters of another script beside digits."""
    if _PROSE.search(text):
        return True
    return not text.isascii() and bool(_OTHER_SCRIPT.search(text) and _DIGIT.search(text))


def math_at(text: str, start: int) -> FoundValue | None:
    """Return the mathematics in dollars or brackets that begins at `start`, or None."""
    for opening, closing in _DELIMITERS:
        if not text.startswith(opening, start):
            continue
        begin = start + len(opening)
        end = _closing(text, closing, begin)
        inner = text[begin:end] if end >= 0 else ""
        if not inner.strip() or (opening == "$" and _is_money(inner)):
            continue
        return FoundValue(inner, start, end + len(closing))
    return None


def _closing(text: str, sign: str, begin: int) -> int:
    r"""Return the position where `sign` closes the mathematics from `begin`,
    or -1; `\$` does not count."""
    end = text.find(sign, begin, begin + ANSWER_MAX_CHARS)
    while end > begin and sign == "$" and text[end - 1] == "\\":
        end = text.find(sign, end + 1, begin + ANSWER_MAX_CHARS)
    return end


def _is_money(inner: str) -> bool:
    """Tell whether a dollar before `inner` is money: prose follows up to the next dollar."""
    if "\n\n" in inner:
        return True
    return inner[0].isdigit() and "\\" not in inner and is_prose(inner)


def joined_math_at(text: str, start: int) -> FoundValue | None:
    """Return the mathematics that begins at `start`, with further parts
    joined by `and`, `or` or commas."""
    found = math_at(text, start)
    if found is None:
        return None
    parts, end = [found.text], found.end
    while len(parts) < 2 * MOST_JOINED and (joint := _MATH_JOINT.match(text, end)):
        more = math_at(text, joint.end())
        if more is None:
            break
        parts += [separator(joint[0]), more.text]
        end = more.end
    return FoundValue("".join(parts), start, end)


def separator(joint: str) -> str:
    """Return the separator that a list uses for this joint of two values."""
    return r" \text{ or } " if any(each in joint for each in ("or", "或", "/")) else ", "


def last_number(text: str, start: int, end: int) -> FoundValue | None:
    """Return the last number of `text[start:end]`, or None."""
    last = None
    if text.isascii():  # start near the last digit, because most texts are long
        digit = max(text.rfind(each, start, end) for each in "0123456789")
        if digit < 0:
            return None
        last = last_match(NUMBER, text, max(start, digit - _NUMBER_CHARS), end)
    last = last or last_match(NUMBER, text, start, end)
    return None if last is None else FoundValue(last[0], last.start(), last.end())


def last_match(pattern: re.Pattern[str], text: str, start: int, end: int) -> re.Match[str] | None:
    """Return the last match of `pattern` in `text[start:end]`, or None."""
    last = deque(pattern.finditer(text, start, end), maxlen=1)
    return last[0] if last else None


def _is_part(piece: str) -> bool:
    if piece[0] == "\\":
        return len(piece) > 1 and not piece.startswith(("\\text", "\\box"))
    if piece[0].isalpha():
        if len(piece) == 1:
            return piece.isascii() or "\u0370" <= piece <= "\u03ff"
        return piece in _FUNCTIONS or _is_label(piece)
    return piece[0].isdigit() or piece in _SIGNS or (piece.isspace() and "\n" not in piece)


def _is_label(piece: str) -> bool:
    """Tell whether `piece` may name a segment or a triangle: AD, ABC."""
    return len(piece) <= 3 and piece.isascii() and piece.isupper()


def is_expression(text: str) -> bool:
    """Tell whether `text` as a whole is an expression in plain text, without words or sentences."""
    if not text or len(text) > _LOOK_LEFT or text in ("a", "I"):
        return False
    pieces = _PIECE.findall(_IN_TEXT.sub("", text) if "\\" in text else text)
    if (
        len(pieces) > 2
        and _is_label(pieces[-1])
        and len(pieces[-1]) > 1
        and pieces[-3][-1].isdigit()
    ):
        return False  # 52 WPM
    return all(map(_is_part, pieces)) and any(p[0].isalnum() or p[1:2].isalpha() for p in pieces)


def expression_around(text: str, number: FoundValue) -> FoundValue:
    """Return the expression that contains `number`, from the last `=` on.

    Examples are `x + 1` for its 1 and `(3, 4)` for its 4.
    """
    low = max(0, number.start - _LOOK_LEFT)
    start = number.start
    for piece in reversed(list(_PIECE.finditer(text, low, number.start))):
        if not _is_part(piece[0]) and not _is_colon(text, piece.start()):
            if piece[0].isalpha() or piece[0] in "’&":
                start = _behind_word(text, start, number.start)
            break
        start = piece.start()
    end = number.end
    for piece in _PIECE.finditer(text, number.end, number.end + _LOOK_RIGHT):
        if not _is_part(piece[0]) and not _is_colon(text, piece.start()):
            break
        if piece[0] == "!" and not text[piece.end() : piece.end() + 2].strip():
            break
        end = piece.end()
    return _trimmed(text, start, end, number)


def _behind_word(text: str, start: int, stop: int) -> int:
    """Return the end of the word that covers `start`: that's, 2 kg x 3."""
    while start < stop and not text[start].isspace() and text[start] not in "+-*/=(":
        start += 1
    times = _LEADING_TIMES.match(text, start, stop)
    return times.end() if times else start


def _is_colon(text: str, at: int) -> bool:
    """Tell whether the colon at `at` is a ratio's, with digits on both
    sides; not in `Day 3:210`."""
    if text[at] != ":" or not text[at - 1 : at].isdigit() or not text[at + 1 : at + 2].isdigit():
        return False
    return _COUNTED_STEP.search(text, max(0, at - 24), at) is None


def _trimmed(text: str, start: int, end: int, number: FoundValue) -> FoundValue:
    start, end = _within_brackets(text, start, end, number)
    start = end - len(last_step(text[start:end]))
    behind = text[number.end : end]
    if not any(sign in behind for sign in "+-*/^=<>()[]{}|_,:−"):  # no longer than a unit
        end -= len(behind.lstrip("%°"))
    while start < number.start and (text[start] in " \t=*+/^),]}|%!" or _is_article(text, start)):
        start += 1
    if text[start : number.start].strip() in ("-", "–", "−") and _is_bullet(text, start):
        start = number.start
    while end > number.end and (text[end - 1] in " \t=*+-–−/^(,[{<" or _is_article(text, end - 1)):
        end -= 1
    return FoundValue(text[start:end], start, end)


def last_step(said: str) -> str:
    """Return the last of equal steps: the 7 of `3 + 4 = 7`; an equation or `x = 7` stays whole."""
    at = said.rfind("=")
    if at <= 0 or any(sign in said for sign in (*"<>≤≥≠!≈", ", ")):
        return said
    left, right = said[:at].strip(), said[at + 1 :]
    if "=" in left or (len(left) > 1 and left.isupper() and left.isalpha()):
        return right
    unit = _WITH_UNIT.fullmatch(right)
    if unit and unit[2] in _UNITS.findall(left):
        return right
    if not left or _NAME.fullmatch(left):
        return said if left else right
    lost = set(_LETTER.findall(_TIMES.sub("*", left))) - set(_LETTER.findall(right))
    return said if lost else right


def without_unit(said: str, steps: str) -> str:
    """Return `said` without a unit shared by the steps before it: the 5 of `2g + 3g = 5g`."""
    unit = _WITH_UNIT.fullmatch(said)
    return unit[1] if unit and unit[2] in _UNITS.findall(steps) else said


def _is_article(text: str, at: int) -> bool:
    around = text[at - 1 : at] if at else ""
    return text[at] in _ARTICLES and not around.strip() and not text[at + 1 : at + 2].strip()


def _is_bullet(text: str, at: int) -> bool:
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return not line.strip() and text[at + 1 : at + 2] == " "


def _is_in_number(text: str, comma: int) -> bool:
    return text[comma - 1 : comma].isdigit() and text[comma + 1 : comma + 2].isdigit()


def _within_brackets(text: str, start: int, end: int, number: FoundValue) -> tuple[int, int]:
    """Trim a piece around `number` at unmatched brackets and at commas outside brackets."""
    depth, opened = 0, list[int]()
    for at in range(start, number.start):
        sign = text[at]
        if sign in "([{":
            opened.append(at)
        elif sign in ")]}" and opened:
            opened.pop()
        elif sign == "," and not opened and not _is_in_number(text, at):
            start = at + 1
    for at in range(number.end, end):
        sign = text[at]
        if sign in "([{":
            depth += 1
        elif sign in ")]}":
            if depth:
                depth -= 1
            elif opened:
                opened.pop()
            else:
                return start, at
        elif sign == "," and not (opened or depth or _is_in_number(text, at)):
            end = at
            break
    return (opened[-1] + 1 if opened else start), end
