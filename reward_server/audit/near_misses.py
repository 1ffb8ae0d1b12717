"""Make wrong answers close to the right one: another digit, sign, order, unit or endpoint.

Each function takes the right answer as the data set spells it and returns a wrong one, or None if
it does not apply.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Context, Decimal, InvalidOperation

NearMiss = Callable[[str], str | None]
_INTERVAL = re.compile(r"([\[(])([^,]+,[^,]+)([\])])")
_PAIR = re.compile(r"(\\left)?\(([^,()]+),([^,()]+?)(\\right)?\)")
_WHOLE_LIST = re.compile(r"-?\d+(?:, ?-?\d+)+")
_NUMBER = re.compile(r"(?<![\d.])\d+(?![\d.])")
_UNIT = re.compile(r"(-?\d[\d.,]*\s*)(km|cm|mm|m|kg|g|hours?|minutes?|%|dollars?|years?|days?)\.?")
_OTHER_UNIT = {
    **{"km": "cm", "cm": "km", "mm": "m", "m": "mm", "kg": "g", "g": "kg"},
    **{"hour": "minutes", "hours": "minutes", "minute": "hours", "minutes": "hours"},
}
_PREFIXABLE = re.compile(
    r"(\d\s?(?:\\,|~)?(?:\\(?:text|mathrm)\{ ?)?)((?:m|g|s|A|V|W|J|N|Pa|Hz|eV|mol|L|B)\b)"
)
# The first of each pair occurs in an answer; the second changes its meaning.
_SIGNS = (
    *(("\\leq", "\\geq"), ("\\geq", "\\leq"), ("\\le ", "\\ge "), ("\\ge ", "\\le ")),
    *(("<", ">"), (">", "<"), ("\\cup", "\\cap"), ("\\cap", "\\cup")),
    *(("\\wedge", "\\vee"), ("\\vee", "\\wedge"), ("\\land", "\\lor"), ("\\lor", "\\land")),
    *(("\\forall", "\\exists"), ("\\exists", "\\forall"), ("+", "-"), ("-", "+")),
)
_RELATION = re.compile(r"(?<!\s)\s*+(?:=|\\approx|\\in)\s*")


def number_in(text: str) -> Decimal | None:
    """Return the number that a text consists of, or None.

    `52_8` is not read, because it means 52 in base 8.

    Example:
        >>> number_in("$1,200")
        Decimal('1200')
    """
    if "_" in text:
        return None
    try:
        number = Decimal(text.replace(",", "").lstrip("$").strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) < 30 else None


def _changed(change: Callable[[Decimal], Decimal]) -> NearMiss:
    """Write another number."""

    def write(answer: str) -> str | None:
        number = number_in(answer)
        if number is None or change(number) == number:
            return None
        return f"{change(number):f}"

    return write


def _spelled(pattern: str) -> NearMiss:
    """Write a text that contains the number among others."""

    def write(answer: str) -> str | None:
        number = number_in(answer)
        if number is None:
            return None
        return pattern.format(right=f"{number:f}", less=f"{number - 1:f}", more=f"{number + 1:f}")

    return write


def _rounded(answer: str) -> str | None:
    """Write a number with one digit less, unless the value stays the same."""
    number = number_in(answer)
    digits = len(number.normalize().as_tuple().digits) if number else 0
    if number is None or digits < 2:
        return None
    return f"{Context(prec=digits - 1).plus(number):f}"


def _nearly(answer: str) -> str | None:
    """Write a whole number with an error as in floating-point sums."""
    number = number_in(answer)
    if number is None or number < 1 or number != number.to_integral_value():
        return None
    return f"{number - 1:f}.9999999999999999"


def _digits_apart(answer: str) -> str | None:
    """Write the parts of a number as a list: *1, 5* for 1.5; *4, 2* for 42."""
    number = number_in(answer)
    if number is None:
        return None
    text = f"{abs(number):f}"
    if "." in text:
        return text.replace(".", ", ")
    return f"{text[:-1]}, {text[-1]}" if len(text) > 1 else None


def _interval(answer: str) -> str | None:
    found = _INTERVAL.fullmatch(answer)
    return found and f"{'(' if found[1] == '[' else '['}{found[2]}{found[3]}"


def _exchanged(answer: str) -> str | None:
    """Swap the members of a pair."""
    found = _PAIR.fullmatch(answer)
    if found is None or found[2].strip() == found[3].strip():
        return None
    return f"({found[3].strip()}, {found[2].strip()})"


def _point_for_comma(answer: str) -> str | None:
    """Write a list of whole numbers as a decimal."""
    return answer.replace(", ", ",").replace(",", ".", 1) if _WHOLE_LIST.fullmatch(answer) else None


def _other_number(answer: str) -> str | None:
    """Add one to the last whole number in an expression."""
    found = None if number_in(answer) is not None else [*_NUMBER.finditer(answer)][-1:]
    if not found:
        return None
    return f"{answer[: found[0].start()]}{int(found[0][0]) + 1}{answer[found[0].end() :]}"


def _other_sign(answer: str) -> str | None:
    """Replace one sign in an expression by its opposite."""
    if number_in(answer) is not None:
        return None
    for sign, other in _SIGNS:
        if sign in answer:
            return answer.replace(sign, other, 1)
    return None


def _left_side(answer: str) -> str | None:
    """Write the part before the first relation sign, unless it is a number."""
    left, *right = _RELATION.split(answer, maxsplit=1)
    return left if right and left and number_in(left) is None else None


def _unit(answer: str) -> str | None:
    found = _UNIT.fullmatch(answer)
    other = _OTHER_UNIT.get(found[2]) if found else None
    return f"{found[1]}{other}" if found and other else None


def _prefixed(answer: str) -> str | None:
    """Add the prefix *kilo* to a unit."""
    other = _PREFIXABLE.sub(r"\1k\2", answer, count=1)
    return None if other == answer else other


def _letter(answer: str) -> str | None:
    found = re.fullmatch(r"\(?([A-E])\)?\.?", answer)
    return None if found is None else "ABCDE"[("ABCDE".index(found[1]) + 1) % 5]


NEAR_MISSES: Mapping[str, NearMiss] = {
    "sign changed": _changed(lambda n: -n),
    "one more": _changed(lambda n: n + 1),
    "one less": _changed(lambda n: n - 1),
    "ten times": _changed(lambda n: n * 10),
    "a tenth": _changed(lambda n: n / 10),
    "a half more": _changed(lambda n: n + Decimal("0.5")),
    "rounded": _rounded,
    "nearly": _nearly,
    "digits apart": _digits_apart,
    "digits inside another number": lambda text: f"1{text}1" if text.isdecimal() else None,
    "a range around it": _spelled("between {less} and {more}"),
    "an interval around it": _spelled("[{less}, {more}]"),
    "at least": _spelled("at least {right}"),
    "as a bound": _spelled("x < {right}"),
    "more or less": _spelled("{right} \\pm 1"),
    "one number in it changed": _other_number,
    "one sign in it changed": _other_sign,
    "left side alone": _left_side,
    "pair exchanged": _exchanged,
    "point for comma": _point_for_comma,
    "open end closed": _interval,
    "other unit": _unit,
    "a thousand times the unit": _prefixed,
    "next letter": _letter,
}
