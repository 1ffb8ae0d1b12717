"""Numbers in words: `one thousand six hundred twenty-five`, `two thirds`, `the twelfth`, 三分之二.

text2num and cn2an read the words; this module adds fractions, signs and counted things. Only a text
that consists of nothing but such a number is converted.
"""

from __future__ import annotations

import re
from functools import lru_cache

import text_to_num
from flint import fmpq

from touchstone_rewards.reward_server.scorers.math.grammar.units import is_unit

MAX_CHARS = 120
MAX_CHINESE_CHARS = 24

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SCALES = "hundred thousand million billion trillion"
_ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth thirtieth fortieth "
    "fiftieth sixtieth seventieth eightieth ninetieth hundredth thousandth millionth"
)
_CARDINAL = frozenset(f"{_UNITS} {_TENS} {_SCALES}".split())
_ORDINAL = frozenset(_ORDINALS.split())
_PARTS = {"half": 2, "halves": 2, "quarter": 4, "quarters": 4}
_SIGNS = {"minus": -1, "negative": -1}
_STARTS = _CARDINAL | _ORDINAL | frozenset(_PARTS) | frozenset(_SIGNS) | {"a", "an", "the"}
_COUNTED = frozenset(["people", "children", "men", "women", "percent"])
_WORD = re.compile(r"[a-z]+")
_WORDS_ONLY = re.compile(r"[a-zA-Z ,.-]+")
_ORDINAL_DIGITS = re.compile(r"([0-9]{1,18})(?:st|nd|rd|th)")

_CHINESE = re.compile(r"第?负?[零〇一二两三四五六七八九十百千万亿点廿半]+")
_DIGITS = "[零〇一二两三四五六七八九十百千万亿点]{1,12}"
_CHINESE_FRACTION = re.compile(rf"(负?)(?:({_DIGITS})又)?({_DIGITS})分之({_DIGITS})")
_MEASURES = (
    "小时", "分钟", "厘米", "千米", "公里", "千克", "公斤", "平方米", "立方米", "个", "只", "人",
    "天", "元", "米", "年", "岁", "次", "种", "本", "张", "棵", "名", "位", "条", "件", "克", "升",
    "度", "块",
)  # fmt: skip


def number_in_words(text: str) -> str | None:
    """Return the number that `text` consists of, in digits for the parser; else None."""
    if len(text) > MAX_CHARS:
        return None
    if text[0].isascii():
        return _english(text) if _WORDS_ONLY.fullmatch(text) else None
    return _chinese(text) if len(text) <= MAX_CHINESE_CHARS else None


def _english(text: str) -> str | None:
    words = _WORD.findall(text.lower())
    if not words or words[0] not in _STARTS:
        return None
    found = _number(words)
    if found is not None:
        return _written(found)
    return _counted(words)


def _written(value: fmpq) -> str:
    sign = "-" if value < 0 else ""
    above, below = abs(int(value.p)), int(value.q)
    return f"{sign}{above}" if below == 1 else f"{sign}\\frac{{{above}}}{{{below}}}"


def _counted(words: list[str]) -> str | None:
    """Return the digits and the noun of `seven days` or `fifty percent`."""
    *before, noun = words
    known = is_unit(noun) or noun in _COUNTED or (len(noun) > 3 and noun.endswith("s"))
    parts = noun[:-1] in _ORDINAL and noun != "seconds"
    if not before or not known or parts or before[0] in ("a", "an", "the"):
        return None
    value = _number(before)
    return None if value is None else f"{_written(value)} \\text{{ {noun}}}"


def _number(words: list[str]) -> fmpq | None:
    sign = _SIGNS.get(words[0], 1)
    if sign < 0:
        words = words[1:]
    if not words:
        return None
    value = _fraction(words)
    if value is None:
        value = _ordinal(words)
    if value is None:
        value = _cardinal(words)
    return None if value is None else value * sign


def _fraction(words: list[str]) -> fmpq | None:
    """Return the fraction in `two thirds`, `a half`, `three and a half`, `five twenty-fourths`."""
    if "and" in words:
        at = len(words) - 1 - words[::-1].index("and")
        whole, part = _cardinal(words[:at]), _fraction(words[at + 1 :])
        if whole is not None and part is not None and 0 < part < 1:
            return whole + part
    if words[-1] in _PARTS:
        above = _above(words[:-1], words[-1] in ("half", "quarter"))
        return None if above is None else above / _PARTS[words[-1]]
    many = words[-1].endswith("ths") or words[-1].endswith("rds") or words[-1] == "seconds"
    stem = words[-1][:-1] if many else words[-1]
    if stem not in _ORDINAL or stem in ("first", "second") or len(words) < 2:
        return None
    for split in range(len(words) - 1, max(0, len(words) - 3), -1):  # twenty-fourths are two words
        below = _ordinal([*words[split:-1], stem])
        above = _above(words[:split], not many)
        joined = split == len(words) - 1 or words[split] in _TENS.split()
        if joined and below is not None and above is not None and (above == 1) != many:
            return above / below
    return None


def _above(words: list[str], single: bool) -> fmpq | None:
    """Return the numerator before the parts: `two`, or 1 for `a` or nothing."""
    if words in ([], ["a"], ["an"]):
        return fmpq(1) if single else None
    return _cardinal(words)


def _ordinal(words: list[str]) -> fmpq | None:
    """Return the number of `twelfth` or `the twenty-first`."""
    if words[0] == "the":
        words = words[1:]
    if not words or words[-1] not in _ORDINAL or not _CARDINAL.issuperset({*words[:-1]} - {"and"}):
        return None
    found = _ORDINAL_DIGITS.fullmatch(text_to_num.alpha2digit(" ".join(words), "en", threshold=0))
    return fmpq(int(found[1])) if found else None


def _cardinal(words: list[str]) -> fmpq | None:
    """Return the number in `one hundred and five`, `a thousand` or `two point five`."""
    if words[:1] == ["a"] and len(words) > 1 and words[1] in _SCALES.split():
        words = ["one", *words[1:]]
    if "point" in words:
        return _decimal(words)
    if not words or not _CARDINAL.issuperset({*words} - {"and"}) or words[-1] == "and":
        return None
    try:
        return fmpq(int(text_to_num.text2num(" ".join(words), "en")))
    except ValueError:
        return None


def _decimal(words: list[str]) -> fmpq | None:
    at = words.index("point")
    digits = [_UNITS.split().index(word) for word in words[at + 1 :] if word in _UNITS.split()[:10]]
    whole = _cardinal(words[:at]) if at else fmpq(0)
    if whole is None or not digits or len(digits) < len(words) - at - 1:
        return None
    return whole + fmpq(int("".join(map(str, digits)))) / fmpq(10) ** len(digits)


def _chinese(text: str) -> str | None:
    for measure in _MEASURES:
        if text.endswith(measure) and len(text) > len(measure):
            found = _chinese_number(text[: -len(measure)])
            return None if found is None else f"{found} {measure}"
    return _chinese_number(text)


def _chinese_number(text: str) -> str | None:
    if text.startswith("百分之"):
        found = _chinese_number(text[3:])
        return None if found is None else f"{found}\\%"
    if (parts := _CHINESE_FRACTION.fullmatch(text)) is not None:
        whole, below, above = (_chinese_value(part or "零") for part in parts.groups()[1:])
        if whole is None or above is None or not below:
            return None
        return _written((whole + above / below) * (-1 if parts[1] else 1))
    if text == "一半":
        return "\\frac{1}{2}"
    value = _chinese_value(text.removeprefix("第")) if _CHINESE.fullmatch(text) else None
    return None if value is None else _written(value)


@lru_cache(maxsize=256)
def _chinese_value(text: str) -> fmpq | None:
    import cn2an  # slow to import, and few answers need it

    plain = text.replace("两", "二").replace("〇", "零")
    try:
        value = cn2an.cn2an(plain, "strict")
    except ValueError:
        return None
    above, _, decimals = str(value).partition(".")
    return fmpq(int(above + decimals), 10 ** len(decimals))


def ordinal_digits(text: str) -> str | None:
    """Return `12th` and `the 12th` as `12`; None if the ending does not fit the number."""
    found = _ORDINAL_DIGITS.fullmatch(text.removeprefix("the ").removeprefix("The "))
    if found is None:
        return None
    number = int(found[1])
    usual = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return found[1] if text.endswith("th" if number % 100 in (11, 12, 13) else usual) else None
