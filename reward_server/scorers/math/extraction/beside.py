"""Detect remarks directly beside an answer, such as *not* before it or *is wrong* after it.

Every search is limited to a bounded piece of text.
"""

from __future__ import annotations

import re

from touchstone_rewards.reward_server.scorers.math.extraction.languages import words
from touchstone_rewards.reward_server.scorers.math.extraction.values import (
    NUMBER,
    FoundValue,
    is_expression,
    last_match,
    math_at,
)

_BEFORE_CHARS, _BEHIND_CHARS = 80, 160

# A negation that reaches up to the value: `is not equal to $x = `.
_NEGATION = re.compile(
    r"(?:\b(?:not|never|neither|nor|cannot|doubt|anything\sbut|(?:other|rather|more|less|fewer"
    r"|greater|larger|smaller)\sthan|instead\sof|different\sfrom|unlike"
    r"|except(?:\sfor)?|excluding|nicht|kein|keine|niet|не|n['’]est\spas|pas|no\ses|non\sè|não\sé)"
    r"|(?:wrong|incorrect|false|untrue)\s(?:that|to\s(?:say|think|claim))"
    r"|n['’]t|不是|不等于|并非|不可能是|不会是|不应是|不为"
    r"|(?:wrong|incorrect|false)\s(?:answer|choice|option|value|result)s?(?:\s(?:is|was|would)|\s?:))"
    r"(?:[ \t]{1,3}(?:be|equal|equals|to|the|a|an|exactly|simply|just|answer|value|same|as|is|get"
    r"|have|obtain|find|accept|think|it|that|true|correct|so|case|mean|option|choice|become)\b){0,5}"
    r"\s{0,3}(?:[A-Za-z]\s{0,2}=\s{0,2})?(?:\\text\s?\{?|[\s$*_\"“({}\[\\]){0,6}$"
    r"|(?:≠|\\neq?(?![a-z])|\\not\s?=|!=)[\s$*({]{0,6}$"
    r"|(?:\\[bx]?cancel|\\sout|\\not)\s?\{?[\s$]{0,4}$|~~[\s$*]{0,4}$",
    re.IGNORECASE,
)
_NEGATING = (
    "not", "NOT", "Not", "n't", "n’t", "ne", "Ne", "nor", "than", "instead", "different", "unlike",
    "xcept", "xclud", "nicht", "kein", "pas", "no es", "non", "não", "не", "不", "并非", "≠", "!=",
    "rong", "ncorrect", "alse", "doubt", "thing but", "cancel", "sout", "~~",
)  # fmt: skip
_PASS = r"(?:[\s$.(){}\[\]*_,;:!}’'\"”–—-]|\\[)\]]){0,12}"
_RIGHT = (
    r"(?:correct|right|valid|true|possible|allowed|acceptable|it\b|what\b"
    r"|(?:the|my|our|a)\s(?:(?:right|correct|final|actual|valid)\s)?(?:answer|solution|value|result"
    r"|choice|option))"
)
_DENIED = re.compile(
    _PASS
    + r"(?:(?:which|that|this|it)\s)?(?:(?:is|was|are|were|would\sbe|seems|looks|appears|must\sbe"
    r"|has\sto\sbe)\s(?:\w{4,12}ly\s|also\s)?(?:wrong|incorrect|false|invalid|impossible"
    r"|(?:a|an|the)\s(?:wrong|incorrect|false)\s(?:answer|choice|option|value|result|solution)|a\smistake"
    r"|an\serror|not\s(?:\w{4,12}ly\s)?" + _RIGHT + r")"
    r"|(?:is|was|are)n['’]t\s"
    + _RIGHT
    + r"|(?:cannot|can['’]t|could\snot|couldn['’]t)\sbe\s"
    + _RIGHT
    + r"|(?:[(\[]|(?<=[,.:;?!—–-])|(?<=[,.:;?!—–-]\s))(?:wrong|incorrect|nope)\b"
    r"|(?:wrong|incorrect)(?=[.!)\]]|\s{0,3}$)|[(\[]no[)\]]|\?\s{0,3}(?:no|nope|wrong)\b"
    r"|(?:not|nicht)\s"
    + _RIGHT
    + r"|(?:是|为)?(?:错误的|错的|不对|不正确)|(?:では|じゃ)(?:な|あり)"
    r"|(?:가|이)\s?아[니닙]|ist\sfalsch|not(?=\s{0,2}!|\s?\.?\s{0,3}$)|es\sincorrect[oa]|est\s(?:faux|incorrect)"
    r"|(?:is|was)\s(?:only|just)\sa\sguess|unless\b)",
    re.IGNORECASE,
)
# Words after *or* that hedge although they are not values.
_OR = re.compile(
    r"(?:[\s$.(){}\[\]*_,?]|\\[)\] ,;]){0,12}(?:\\text\s?\{\s?)?"
    r"(?:\b(?i:or|oder|ou)\b|\\lor|\\vee|或者?|或是|или|または|또는)"
    r"(?:\s|\\[,; ]|\\q?quad(?![a-z])){0,4}\}?\s{0,3}"
    r"(?:(?:maybe|perhaps|possibly|even|also|equivalently|alternatively|it(?:'s|\sis|\scould\sbe)"
    r"|[A-Za-z]\s{0,2}=),?\s{0,3})?"
)
_ORS = ("or", "或", "oder", "ou", "или")
_ASIDES = words("in equivalently simply rather as if we you the just to put")
_MAYBE = re.compile(
    r"(?:[\s$.(){}\[\]*_,?;]|\\[)\]]){0,12}(?i:maybe|perhaps|possibly|alternatively"
    r"|(?:it\s)?(?:could|might|may)\s(?:also\s)?be),?\s{1,3}(?:even\s|also\s)?"
)
_HEDGE = re.compile(r"(?:anything|something|any|none|not|more|less|fewer|greater|so|else)\b")
_AND = re.compile(r"(?:[\s$)\]*_}]|\\[)\]]){0,12},?\s?(?:and|und|et|y|和)\s(?=[-−$\\\d])")
_IF = re.compile(
    _PASS + r"(?:\\text\s?\{\s?)?(?:if|when|for|whenever|in\scase|provided|otherwise|else)\b"
)
_ANOTHER_CASE = re.compile(
    r"\b(?:otherwise|else)\b|(?:;|\band\b|\bbut\b)\s(?:if|when|for)\b"
    r"|(?:[,;]|\band\b|\bbut\b|\bor\b)\s?(?:it\sis\s|is\s)?[^\s,;]{1,30}\s(?:if|when|for)\b"
)
_ANOTHER_BEFORE = re.compile(
    r"(?:[;,.]|\band\b|\bbut\b)\s(?:and\s|but\s|while\s)?(?:if|when|for|otherwise|else)\b[^.;\n]{0,60}$"
)
_SENTENCE = re.compile(r"\.\s|[\n。]")
_ALTERNATIVE_BEFORE = re.compile(
    r"(?:\$(?P<math>[^$\n]{1,60})\$|(?<![\w.,/=^$-])(?<!\bin\s)(?P<plain>(?:[A-Za-z]\s{0,2}=\s{0,2})?"
    r"[-−]?\$?\d[\d.,/]{0,20}%?))\s{0,2},?\s{0,2}(?P<joint>\bor\b|\band\b|或|或者|oder|и|или)\s{1,2}"
    r"(?:maybe\s|perhaps\s|possibly\s)?(?:[A-Za-z]\s{0,2}=\s{0,2})?[\s$(\\\[*]{0,4}$"
)
# An expression before *or*: it has a digit or a command, and no space.
_CHUNK_BEFORE = re.compile(
    r"(?<!\S)(?<!\bin\s)(?P<chunk>[^\s\d\\]{0,20}[\d\\]\S{0,60})\s{1,2}(?:or|或|或者|oder|ou|или)\s{1,2}"
    r"(?:maybe\s|perhaps\s|possibly\s)?[\s$(\\\[*]{0,4}$"
)
_EITHER = re.compile(
    r"\b[Ee]ither\s(?P<chunk>[^.\n]{1,60}?)\s{1,2}or\s{1,2}(?:maybe\s|perhaps\s)?[\s$(\\\[*]{0,4}$"
)
_RANGE_BEFORE = re.compile(
    r"(?<![\w.,/=^$-])(?P<plain>[-−]?\$?\d[\d.,/]{0,20}%?)\s{1,2}(?:to|through)\s{1,2}[$(\\\[*]{0,4}$"
)
_COMMA_BEFORE = re.compile(
    r"(?<![\w.,/=^$-])(?P<plain>(?:[A-Za-z]\s=\s)?[-−]?\d[\d./]{0,20})\s?,\s{1,2}$"
)
_INSTEAD = re.compile(r"\s{0,2}[,;]?\s{0,2}(?:and|but|is|it's|it\sis|,)?\s{0,2}$")


def negation_before(text: str, start: int) -> str | None:
    """Return the words directly before `start` that negate the value there, or None."""
    before = text[max(0, start - _BEFORE_CHARS) : start]
    if not any(word in before for word in _NEGATING):
        return None
    found = _NEGATION.search(before)
    return " ".join(found[0].split()) if found else None


def value_instead(text: str, start: int) -> FoundValue | None:
    """Return the value directly before a negated one at `start`: the 4 of `4, not 5`."""
    negation = _NEGATION.search(text, max(0, start - _BEFORE_CHARS), start)
    if negation is None:
        return None
    end = negation.start()
    joint = _INSTEAD.search(text, max(0, end - 12), end)
    end = joint.start() if joint else end
    low = max(0, end - _BEFORE_CHARS)
    if text[end - 1 : end] == "$":
        begin = text.rfind("$", low, end - 1)
        return math_at(text, begin) if begin >= 0 else None
    last = last_match(NUMBER, text, low, end)
    if last is None or last.end() != end or negation_before(text, last.start()):
        return None
    return FoundValue(last[0], last.start(), last.end())


def _ends_at(text: str, end: int) -> bool:
    """Tell whether nothing meaningful follows `end`."""
    return not text[end : end + _BEHIND_CHARS].strip(" \n$.\\])}*")


def denial_behind(text: str, end: int) -> str | None:
    """Return the words directly after `end` that call the value wrong, or None."""
    if _ends_at(text, end):
        return None
    found = _DENIED.match(text, end, end + _BEHIND_CHARS)
    return " ".join(found[0].split()) if found else None


def alternative_behind(text: str, end: int, in_words: bool) -> str | None:
    """Return the other value joined by *or* after `end`, or the hedging word; None without either.

    `in_words`: the other value may be a word, because the answer is one.
    """
    if _ends_at(text, end):
        return None
    joint = _OR.match(text, end, end + _BEHIND_CHARS)
    if joint is not None:
        if hedge := _HEDGE.match(text, joint.end()):
            return hedge[0]
        return _value_at(text, joint.end(), in_words)
    if (said := _maybe(text, end)) is not None:
        return said
    joint = _AND.match(text, end, end + _BEHIND_CHARS)
    if joint is None:
        return None
    maths = math_at(text, joint.end())
    number = None if maths else NUMBER.match(text, joint.end())
    stop = maths.end if maths else number.end() if number else -1
    said = maths.text if maths else number[0] if number else ""
    if not said.strip() or "=" in said or text[stop : stop + 2].strip(" \n.,;!") != "":
        return None
    return said


def _maybe(text: str, end: int) -> str | None:
    """Return the value of *maybe 6* after `end`, if it ends the sentence."""
    joint = _MAYBE.match(text, end, end + _BEHIND_CHARS)
    if joint is None:
        return None
    number = NUMBER.match(text, joint.end())
    maths = math_at(text, joint.end())
    stop = maths.end if maths else number.end() if number and number[0].strip() else -1
    if stop < 0 or text[stop : stop + 1].strip(" \n.,;!?)") != "":
        return None
    return text[joint.end() : stop].strip("$")


def _value_at(text: str, at: int, in_words: bool) -> str | None:
    if (maths := math_at(text, at)) is not None:
        return maths.text
    number = NUMBER.match(text, at)
    if number and number[0].strip():
        return number[0]
    word = text[at : at + 40].split(None, 1)[0].rstrip(".,;)") if text[at : at + 40].strip() else ""
    if in_words and word.isalpha() and word.lower() not in _ASIDES:
        return word
    return word if is_expression(word) or word[:1] == "\\" else None


def cases_around(text: str, start: int, end: int, earlier: int) -> str | None:
    """Return the words that make the value at `start` one of several cases, or None.

    An example is `if n is odd` after it, with another case before or after. `earlier`: end of
    another value before it, or -1.
    """
    led = _IF.match(text, end, end + _BEHIND_CHARS)
    if led is not None:
        sentence = _SENTENCE.search(text, led.end(), led.end() + _BEHIND_CHARS)
        stop = sentence.start() if sentence else min(len(text), led.end() + _BEHIND_CHARS)
        if other := _ANOTHER_CASE.search(text, led.end(), stop):
            return other[0]
        if earlier >= 0 and _IF.match(text, earlier, start):
            return " ".join(led[0].split())
    if earlier >= 0 and start - earlier <= _BEHIND_CHARS:
        between = _ANOTHER_BEFORE.search(text, earlier, start)
        if between and (led is None or between):
            return " ".join(between[0].split())
    return None


def earlier_alternatives(
    text: str, start: int, said: str, only_or: bool = False
) -> tuple[str, int]:
    """Prepend to `said` the values joined to it by *or*, *and* or commas; return text and start.

    With `only_or`, only values joined by *or* are added.
    """
    for _ in range(8):
        tail = text[max(0, start - 12) : start].rstrip(" $(\\[*")
        if tail.endswith((" to", " through")) and not only_or:
            span = _RANGE_BEFORE.search(text, max(0, start - _BEFORE_CHARS), start)
            return (f"{span['plain']} to {said}", span.start()) if span else (said, start)
        if not tail.endswith(
            ("or", "and", "或", "或者", "oder", ",", "=", "maybe", "perhaps", "или")
        ):
            break
        low = max(0, start - _BEFORE_CHARS)
        if only_or and not any(joint in text[low:start] for joint in _ORS):
            break
        found = _ALTERNATIVE_BEFORE.search(text, low, start)
        if found is None and (
            chunk := _CHUNK_BEFORE.search(text, low, start) or _EITHER.search(text, low, start)
        ):
            said, start = f"{chunk['chunk']} \\text{{ or }} {said}", chunk.start()
            continue
        if found is not None:
            other = found["math"] or found["plain"]
            is_and = found["joint"] in ("and", "и")
            if is_and and only_or:
                break
            either = ", " if is_and else r" \text{ or } "
            said, start = f"{other}{either}{said}", found.start()
            continue
        comma = _COMMA_BEFORE.search(text, low, start)
        if comma is None or only_or or not ("," in said or "or" in said):
            break
        said, start = f"{comma['plain']}, {said}", comma.start()
    return said, start
