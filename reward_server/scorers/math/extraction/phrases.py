"""Find an announced answer: *the answer is …*, *Antwort: …*, 答案是….

The last announcement with a value counts. Comments on an answer ("This answer is correct.") and
mentions of someone else's ("a common wrong answer is 12") are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from touchstone_rewards.reward_server.scorers.math.extraction.languages import (
    ASCII_HEADS,
    HEADS,
    LINKS,
    NEGATES,
    WEAK_WORDS,
    Head,
)
from touchstone_rewards.reward_server.scorers.math.extraction.last_value import find_last_value
from touchstone_rewards.reward_server.scorers.math.extraction.places import (
    PHRASE_CHARS,
    FoundAnswer,
)
from touchstone_rewards.reward_server.scorers.math.extraction.told import Told, told
from touchstone_rewards.reward_server.scorers.math.extraction.values import last_match

MOST_TRIES = 32  # announcements to examine per noun, from the last one back
_MARKED_A = re.compile(r"^[ \t]{0,8}[*_]{0,2}A[*_]{0,2}[ \t]{0,8}:[*_]{0,2}", re.MULTILINE)
_HEADING = re.compile(r"[ \t#*_:]{0,12}\n")
_HEADING_LEAD = re.compile(r"(?:^|\n)[ \t#>*_\d.)]{0,12}(?:the |my |our )?(?:final |correct )?$")
# Words before *answer* that show it is not the response's own answer.
_NOT_OURS = re.compile(
    r"\b(?:wrong|incorrect|previous|initial|first|second|third|next|original|naive|naïve|tempting|bad|other|another"
    r"|student['’]s|earlier|old)\s{1,3}$"
    r"|\b(?:if|suppose|supposing|assume|assuming|whether|unless|thought|until|when)"
    r"\s{1,3}(?:that\s{1,3})?(?:(?:the|this|my|our|your|an)\s{1,3})?(?:(?:final|correct)\s{1,3})?$"
    r"|/\s?$|\bper\s$|(?:不|不能|不应|不要|别|勿)$",
    re.IGNORECASE,
)
_COMMENTED = re.compile(r"\b(?:this|that|which|above|such)\s{1,3}(?:final\s{1,3})?$", re.IGNORECASE)
# A value before the announcement: `so 6 is our answer`, `option C is correct`.
_BEFORE = re.compile(
    r"(?:\$(?P<math>[^$\n]{1,80})\$|\*\*(?P<bold>[^*\n]{1,60})\*\*|(?<![\w.,/^+=-])"
    r"(?P<plain>[-−]?\$?\d[\d.,/]{0,30}%?|\(?[A-J]\)?))\s{1,2}is\s{1,2}"
    r"(?:therefore\s|thus\s|hence\s)?(?:the|our|my)\s(?:(?:final|correct|right|desired|required"
    r"|only|best)\s)?$"
)
# Words that begin a value all the same: `5 or 6`, `either 5 or 6`, `not 5`.
_VALUED = re.compile(r"[-−+]?[\d\\$(\[]|(?:either|both|not|neither)\b|(?-i:[A-J]\b)", re.IGNORECASE)
_IFFY = re.compile(r"\b(?:if|suppose|assume|whether|unless|why|not|n['’]t)\s{1,2}$", re.IGNORECASE)
_CHOSEN = re.compile(
    r"\b(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer)\s\(?(?P<right>[A-J])\)?\sis\s(?:the\s)?"
    r"(?:correct|right|best)\b|(?:I|[Ww]e)(?:\swill|\swould|['’]ll|['’]d)?\s"
    r"(?:choose|pick|select|go\swith)\s(?:option\s|choice\s|answer\s)?\(?(?P<picked>[A-J])\)?(?=[.\s]{0,4}$|\.\s))"
)
_CHOOSING = ("nswer", "ption", "hoice", "hoose", "pick", "select", "go with")


class _Announced(NamedTuple):
    head: Head
    lead: int
    start: int  # end of the link
    colon: bool  # no comment can follow *Answer:*
    denied: bool
    comment: bool  # only a comment can follow *this answer is*


def _lowered(text: str) -> str:
    """Return `text` in lower case with all positions unchanged."""
    return (text.replace("İ", "i") if "İ" in text else text).lower()


def _occurrences(text: str, lowered: str, head: Head) -> Iterator[_Announced]:
    end = len(text)
    link = LINKS[head.family]
    for _ in range(MOST_TRIES):
        at = lowered.rfind(head.word, 0, end)
        if at < 0:
            return
        end, behind = at, at + len(head.word)
        if head.whole and (text[at - 1 : at].isalnum() or text[behind : behind + 1].isalnum()):
            continue
        led = link.match(text, behind)
        if led is None:
            led = _heading(text, at, behind)
        if led is None:
            continue
        before = text[max(0, at - 48) : at]
        if _NOT_OURS.search(before):
            continue
        denied = bool(NEGATES.search(led[0]))
        colon = led[0].rstrip(" \t\n*_\"'").endswith((":", "：", "=")) or "\n" in led[0]
        yield _Announced(head, at, led.end(), colon, denied, bool(_COMMENTED.search(before)))


def _heading(text: str, at: int, behind: int) -> re.Match[str] | None:
    """Match the end of a heading such as *Final Answer*, whose answer is on the next line."""
    if not _HEADING_LEAD.search(_lowered(text[max(0, at - 30) : at])):
        return None
    return _HEADING.match(text, behind)


def _announcements(text: str) -> list[_Announced]:
    """Return the announcements of `text`, the last one first."""
    lowered = _lowered(text)
    heads = ASCII_HEADS if text.isascii() else HEADS
    there = [head for head in heads if head.word in lowered]
    found = [each for head in there for each in _occurrences(text, lowered, head)]
    if "A" in text:
        marked = last_match(_MARKED_A, text, 0, len(text))
        if marked is not None and "\nB:" not in text[marked.end() :]:  # not a list of choices
            head = Head("a", "english")
            found.append(_Announced(head, marked.start(), marked.end(), True, False, False))
    return sorted(found, key=lambda each: (each.start, -each.lead), reverse=True)


def find_phrase(text: str, begin: int = 0, only_values: bool = False) -> FoundAnswer | None:
    """Return the answer in the last announcement after `begin`.

    With `only_values`, the answer must be a number, a letter, mathematics, yes or no.
    """
    offset = max(begin, len(text) - PHRASE_CHARS)
    said = text[offset:]
    for each in _announcements(said):
        if only_values and (each.head.word == "a" or each.head.word in WEAK_WORDS):
            continue
        found = told(said, each.start, each.head.comma, each.denied)
        if found is None or _is_comment(found, each):
            continue
        if only_values and not found.is_value and not _VALUED.match(found.text):
            continue
        start, end, lead = offset + found.start, offset + found.end, offset + each.lead
        answer = FoundAnswer(found.text, "phrase", start, end, lead)
        if each.colon and found.is_working and (worked := find_last_value(text[start:])):
            answer = answer._replace(
                text=worked.text, start=start + worked.start, end=start + worked.end
            )
        return _or_chosen(answer, text, offset)
    return _or_chosen(None, text, offset)


def _is_comment(found: Told, announced: _Announced) -> bool:
    if announced.comment and not found.is_number:
        return True
    return found.is_comment and not announced.denied and not announced.colon


def _or_chosen(answer: FoundAnswer | None, text: str, offset: int) -> FoundAnswer | None:
    """Return `answer`, or a later value that is called the answer: *so C is our answer*."""
    last = answer
    if not any(word in text for word in _CHOOSING):
        return last
    for found in _CHOSEN.finditer(text, offset):
        if _IFFY.search(text, max(0, found.start() - 16), found.start()):
            continue
        if last is None or found.start() > last.end:
            letter = "right" if found["right"] else "picked"
            last = FoundAnswer(found[letter], "phrase", found.start(letter), found.end(letter),
                          found.start())  # fmt: skip
    before = _said_before(text, offset)
    if before and (last is None or before.start() > last.end):
        kind = before.lastgroup or "plain"
        last = FoundAnswer(
            before[kind], "phrase", before.start(kind), before.end(kind), before.start()
        )
    return last


def _said_before(text: str, offset: int) -> re.Match[str] | None:
    """Match the last value that the following words call the answer."""
    at = len(text)
    for _ in range(MOST_TRIES):
        at = text.rfind("answer", offset, at)
        if at < 0:
            return None
        found = _BEFORE.search(text, max(offset, at - 120), at)
        if found and not _IFFY.search(text, max(0, found.start() - 16), found.start()):
            return found
    return None
