"""Read the text after an announcement: a value, words, a comment, or nothing."""

from __future__ import annotations

import re
from typing import NamedTuple

from touchstone_rewards.reward_server.scorers.math.end_tokens import without_end_tokens
from touchstone_rewards.reward_server.scorers.math.extraction.languages import (
    BAD_STARTS,
    BAD_WORDS,
    DENIALS,
    ENDINGS,
    GOOD_STARTS,
    GOOD_WORDS,
    KINDS,
    words,
)
from touchstone_rewards.reward_server.scorers.math.extraction.places import ANSWER_MAX_CHARS
from touchstone_rewards.reward_server.scorers.math.extraction.values import (
    NUMBER,
    FoundValue,
    is_expression,
    is_prose,
    joined_math_at,
    last_step,
)
from touchstone_rewards.reward_server.scorers.math.grammar.symbols import TURNING_WORDS

_MARKS = re.compile(r"[\s*_`\"“”「『#>}]*+(?:-{3,40}\s*+)?[*_`\"“「『]*+")
_SENTENCE_END = re.compile(r"\n|<\||[。！？]|(?<=\S)\.(?=\s|$)")
_QUOTES = {'"': '"', "“": "”", "`": "`", "*": "*", "「": "」", "『": "』"}
# Where an announced value ends although its sentence goes on: `C because …`, `5, not 6`,
# `4 (four)`.
_GOES_ON = re.compile(
    r"\s?(?:[,，;]|\s[-–—])?\s?\b(?:because|since|which|so\b(?!\s(?:many|much))|therefore|thus|hence"
    r"|due\sto|given\sthat|rather\sthan|instead\sof|and\snot|but\snot|not|i\.e\.|that\sis|weil|da"
    r"|denn|porque|pues|parce\sque|car|perché|poiché|потому|так\sкак|nicht|as\s(?:shown|required"
    r"|expected|desired|needed|stated|claimed|above|we|it|the|in|there|this|you))\b"
    r"|[,，;；]?\s?(?:因为|因為|而不是|不是|所以|なぜなら|왜냐하면)"
    r"|[,，](?=[\u4e00-\u9fff])"
    r"|\s?[（(](?=[A-Za-zÀ-ÿ\u4e00-\u9fff]{2})(?!(?:mod|or|if|and|unless|when|for|where|maybe"
    r"|perhaps|possibly)\b)"
    r"|\sand\s(?=(?:we|i|it|this|that|so|the|can|they|you)\b)"
    r"|;\s(?=\S{1,12}\s(?:is|are|was|were|has|would|does|gives)\b)"
    r"|\sis\s(?:the\s)?(?:correct|right|best)\b(?!\sonly)"
    r"|,\s(?=(?:altogether|in\stotal|exactly|respectively|as)\b)",
    re.IGNORECASE,
)
_LETTER = re.compile(r"\(?(?P<letter>[A-J])\)?(?:\s?[-–—,:]\s|\s?\)\s)(?P<rest>[a-z].*)", re.DOTALL)
_LETTER_AND_TEXT = re.compile(r"\(?(?P<letter>[A-J])\)? \((?!or\b|and\b|if\b)[^()]{1,80}\)")
_HEDGES = frozenset(["or", "and", "but", "if", "unless", "maybe", "perhaps", "possibly", "not"])
_UNSURE = _HEDGES | words(
    "either neither about approximately around nearly almost roughly least most between unknown"
    " undefined cannot never no guess guessing unsure"
)
_COMMENTS = GOOD_WORDS | BAD_WORDS
_TURNING = TURNING_WORDS | _HEDGES
_ALONE = re.compile(r"\b[A-J]\b")
# Words that may precede an announced value: `option C`, `la opción (C)`, `is 5`.
_LEAD = re.compile(
    r"(?:is|are|it\sis|it's|that\sis|simply|just)\s"
    r"|(?:(?:the|la|el|le|les|l['’]|a|o|die|das)\s?)?(?:option|choice|letter|opción|letra|lettre"
    r"|opzione|lettera|alternativa|вариант|选项|選択肢)\s?(?=[(（]?[A-J]\b)"
    r"|(?:la|le|el|die)\s(?=[(（]?[A-J]\b)",
    re.IGNORECASE,
)
_UNIT_BEHIND = re.compile(
    r" ?((?!and|or|but|if|as|so|is|in|for)[A-Za-z°][A-Za-z/^²³]{0,12})(?=[.\n]|$)"
)
_DIGIT = re.compile(r"\d")
_WORDS = re.compile(r"[^\W\d_]+")
_STATED = frozenset(
    [
        "true",
        "false",
        "yes",
        "no",
        "none",
        "undefined",
        "正确",
        "错误",
        "是",
        "否",
        "sí",
        "oui",
        "non",
    ]
)
_EURO_BEHIND = re.compile(
    r"^([\d.,\u00a0\u202f ]{1,40}?)\s?€$"
)  # money is read with its sign before
_LOCAL_NUMBER = re.compile(
    r"(?<![\w.,])\d{1,3}(?:(?:\.|[\u0020\u00a0\u2009\u202f](?=\d{3}(?!\d)))\d{3})+(?:,\d+)?(?![\d.,]?\d)"
    r"|(?<![\w.,])\d+\{?,\}?\d+(?![.,]?\d)"
)


class Told(NamedTuple):
    """Text and position of an announced answer.

    `is_number`: it is a number or mathematics. `is_working`: it is a calculation that ends with the
    answer.
    """

    text: str
    start: int
    end: int
    is_value: bool
    is_number: bool
    is_comment: bool = False
    is_working: bool = False


def told(text: str, start: int, comma: bool, denied: bool) -> Told | None:
    """Return the announced text from `start` to the end of its sentence, or None if there is none.

    `comma`: read 1,5 as a decimal.
    """
    marks = _MARKS.match(text, start)
    begin = marks.end() if marks else start
    if text.startswith('\\"', begin):
        begin += 2
    mark = text[begin - 1 : begin]
    if not denied and (maths := joined_math_at(text, begin)) is not None:
        said = _localised(maths.text) if comma else maths.text
        if (unit := _UNIT_BEHIND.match(text, maths.end)) and NUMBER.fullmatch(maths.text.strip()):
            said = f"{said} {unit[1]}"
        return Told(said, begin, maths.end, True, True)
    stop = _SENTENCE_END.search(text, begin)
    end = stop.start() if stop else len(text)
    if text.startswith("\\begin{", begin):
        end = _end_of_environment(text, begin, end)
    if mark in _QUOTES and begin > start:
        quoted = text.find(_QUOTES[mark], begin, min(end, begin + 200))
        end = quoted if quoted >= 0 else end
    said = text[begin:end]
    if _is_cut(said):
        return Told("", begin, end, True, True)
    cut = _GOES_ON.search(said)
    if denied or any(each in (said[: cut.start()] if cut else said) for each in DENIALS):
        return Told("not " + said.strip(), begin, end, False, False)
    value = _value_of(said, begin, cut.start() if cut else 0)
    if value is not None:
        found = _localised(value.text) if comma else value.text
        return Told(found, value.start, value.end, True, bool(_DIGIT.search(found)))
    said = said.strip().rstrip(".").strip("*")
    if not said:
        return None
    return Told(
        said[:ANSWER_MAX_CHARS], begin, end, False, False, _is_comment(said), _is_working(said)
    )


def _end_of_environment(text: str, begin: int, end: int) -> int:
    """Return the end of the environment that begins at `begin`; it may contain line ends."""
    closing = text.find("\\end{", begin, begin + ANSWER_MAX_CHARS)
    brace = text.find("}", closing) if closing >= 0 else -1
    return max(end, brace + 1)


def _is_cut(said: str) -> bool:
    """Tell whether `said` opens mathematics that never closes; a dollar sign
    before an amount does not."""
    if said.startswith(("\\(", "\\[", "$$")):
        return True
    return said.startswith("$") and any(sign in said for sign in "+*^=\\_{")


def _is_comment(said: str) -> bool:
    if not said[:1].isalpha():
        return False
    first, second, *_ = [*_words_of(said)[:3], "", ""]
    if first in ("a", "an", "the"):
        return second in KINDS
    if second and first in ("also", "indeed", "therefore", "clearly", "not"):
        first = second
    return first in _COMMENTS or first.startswith((*GOOD_STARTS, *BAD_STARTS))


def _words_of(said: str) -> list[str]:
    return _WORDS.findall(said.lower())


def _is_working(said: str) -> bool:
    """Tell whether `said` is a sentence with numbers and without hedging words."""
    return is_prose(said) and bool(_DIGIT.search(said)) and not _UNSURE & set(_words_of(said))


def _value_of(said: str, begin: int, cut: int) -> FoundValue | None:
    """Return the value stated by a sentence, or None if it states words.

    `cut`: position where the sentence goes on with a reason or an aside, or 0.
    """
    if cut and (head := _plain(_without_lead(said[:cut]))) and _is_value(head):
        return FoundValue(_stepped(head), begin, begin + cut)
    whole = _plain(_without_lead(said))
    if beside := _LETTER_AND_TEXT.fullmatch(whole):
        return FoundValue(beside["letter"], begin, begin + len(said))
    if whole and _is_value(whole):
        return FoundValue(_stepped(whole), begin, begin + len(said))
    letter = _LETTER.match(said)
    if letter and not _goes_on_with_others(letter["rest"]):
        return FoundValue(letter["letter"], begin, begin + letter.end("letter"))
    return _value_in_prose(said, begin)


def _without_lead(said: str) -> str:
    said = _without_ending(said.strip())
    lead = _LEAD.match(said)
    return said[lead.end() :] if lead else said


def _stepped(said: str) -> str:
    return last_step(said).strip() if "=" in said else said


def _goes_on_with_others(rest: str) -> bool:
    return rest.split()[0].lower().strip(",") in _HEDGES or bool(_ALONE.search(rest))


def _plain(said: str) -> str:
    """Return `said` without the markup and end tokens around it."""
    said = without_end_tokens(said.strip()).strip(' \t*_`"”」』】。').rstrip(".").rstrip()
    if said.endswith("}") and said.count("{") < said.count("}"):
        said = said.rstrip("}").rstrip("\"' ")
    if said.endswith(")") and len(said) == 2 and said[0].isalpha():
        said = f"({said}"
    return said


def _without_ending(said: str) -> str:
    """Return `said` without the verb that ends a sentence in Japanese or Korean."""
    plain = said.rstrip(" .。")
    for ending in ENDINGS:
        if plain.endswith(ending):
            return plain[: -len(ending)]
    return said


def _is_value(said: str) -> bool:
    """Tell whether `said` is a number with its unit, an expression, a letter, yes or no."""
    if len(said) > 600:
        return False
    lowered = said.lower()
    if lowered in _STATED:
        return True
    if _TURNING & set(lowered.replace("(", " ").replace(")", " ").split()):
        return False
    if said[0].isdigit() or said[0] in "-−–+.$\\(|[{√π€£¥":
        return not is_prose(said) or (len(_WORDS.findall(said)) <= 4 and _is_counted(said))
    return is_expression(said)


def _is_counted(said: str) -> bool:
    """Tell whether `said` is one number and the things it counts: `12 red apples`."""
    number = NUMBER.match(said)
    return bool(number and number.end() and not _DIGIT.search(said, number.end()))


def _value_in_prose(said: str, begin: int) -> FoundValue | None:
    """Return the value after the last *is* of a sentence, or its only number: `the total of 42`."""
    if len(said) > 400:
        return None
    at = said.rfind(" is ")
    if at >= 0:
        behind = begin + at + 4
        if (maths := joined_math_at(said, at + 4)) is not None:
            return FoundValue(maths.text, behind, begin + maths.end)
        tail = _plain(said[at + 4 :])
        if tail and _is_value(tail):
            return FoundValue(tail, behind, begin + len(said))
    if not is_prose(said) or TURNING_WORDS & set(said.lower().split()):
        return None
    numbers = list(NUMBER.finditer(said))
    if len(numbers) != 1:
        return None
    only = numbers[0]
    return FoundValue(only[0], begin + only.start(), begin + only.end())


def _localised(said: str) -> str:
    """Return `said` with European decimal commas and thousands dots converted to English format.

    A list in brackets is left unchanged.
    """
    if any(sign in said for sign in "([") or not any(sign in said for sign in ",. \u00a0\u202f"):
        return said
    return _LOCAL_NUMBER.sub(_in_english, _EURO_BEHIND.sub(r"€\1", said))


def _in_english(found: re.Match[str]) -> str:
    number = found[0]
    if number.startswith("0.") or (
        "," not in number and number.count(".") == 1 and len(number) < 5
    ):
        return number
    whole, _, decimals = number.replace("{", "").replace("}", "").partition(",")
    whole = "".join(filter(str.isdigit, whole))
    return f"{whole}.{decimals}" if decimals else whole
