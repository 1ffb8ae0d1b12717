"""Find the final answer in a response: its text and position.

Nothing is parsed here; `read` decides whether the text is mathematics. Every search is linear and
limited to a bounded part of the response; `extraction` holds the search for each place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from touchstone_rewards.reward_server.scorers.math.extraction.beside import (
    alternative_behind,
    earlier_alternatives,
)
from touchstone_rewards.reward_server.scorers.math.extraction.boxes import (
    find_boxed,
    find_boxes,
    last_box,
)
from touchstone_rewards.reward_server.scorers.math.extraction.last_value import find_last_value
from touchstone_rewards.reward_server.scorers.math.extraction.marked import (
    find_answer_tag,
    find_hashes,
)
from touchstone_rewards.reward_server.scorers.math.extraction.phrases import find_phrase
from touchstone_rewards.reward_server.scorers.math.extraction.places import (
    NOTHING_SAID,
    PLACES,
    FoundAnswer,
    Place,
)
from touchstone_rewards.reward_server.scorers.math.extraction.retractions import retracted
from touchstone_rewards.reward_server.scorers.math.extraction.thoughts import said_span

__all__ = [
    "PLACES",
    "FoundAnswer",
    "Place",
    "extract_boxed_answer",
    "find_answer",
    "find_boxes",
    "retracted",
]

_FINDERS: dict[Place, Callable[[str], FoundAnswer | None]] = {
    "boxed": find_boxed,
    "answer_tag": find_answer_tag,
    "hashes": find_hashes,
    "phrase": find_phrase,
    "last_value": find_last_value,
}
_MARKED = (
    "boxed",
    "answer_tag",
    "hashes",
)  # places with explicit delimiters
_IN_WORDS = re.compile(r"(?:\\text\w{0,2}\s?\{)?\s?[^\W\d_]{2,}[^\d\\]{0,60}")
_SMALL_CHOICE = re.compile(r"(?:[Oo]ption|[Cc]hoice) ([a-j])|([a-j])\)")
_VALUE = re.compile(r"[-−+.$\\(\[{|]{0,3}\w.{0,200}")


def find_answer(response: str, answer_from: Sequence[Place] = PLACES) -> FoundAnswer | None:
    r"""Return the response's answer, from the first place in `answer_from` that occurs in it.

    Thoughts (`<think>…</think>`) are skipped. An empty place still counts: after an empty box no
    other place is tried. A later announcement of another answer replaces a marked one.

    Example:
        >>> find_answer(r"So it is \boxed{7}.").text
        '7'
    """
    start, end = said_span(response)
    said = response if end - start == len(response) else response[start:end]
    for place in answer_from:
        if answer := _FINDERS[place](said):
            if place in _MARKED:
                answer = _last_word(said, answer, answer_from)
            answer = _tidied(_with_alternatives(said, answer))
            return answer._replace(
                start=start + answer.start, end=start + answer.end, lead=start + answer.lead
            )
    return None


def _last_word(said: str, answer: FoundAnswer, answer_from: Sequence[Place]) -> FoundAnswer:
    """Return `answer`, or a later one that replaces it: a tag, `####` or *the answer is*.

    A later answer in a place outside `answer_from` does not replace it but must be right as well.
    """
    begin = answer.lead if answer.place == "boxed" and not answer.text else answer.end
    if begin == answer.lead and last_is_closed(said):
        return answer
    later = _later(said, begin, answer.place)
    if later is None:
        return answer
    if later.place in answer_from:
        return later
    return answer._replace(also=later.text)


def last_is_closed(said: str) -> bool:
    box = last_box(said)
    return box is None or box.closed


def _later(said: str, begin: int, place: Place) -> FoundAnswer | None:
    """Return the last answer after `begin`, or None."""
    if len(said) - begin < 3:
        return None
    found: list[FoundAnswer] = []
    behind = said[begin:]
    if not behind.strip(NOTHING_SAID):
        return None
    if place != "answer_tag" and "<answer>" in behind and (tag := find_answer_tag(behind)):
        found.append(tag)
    if place != "hashes" and "####" in behind and (hashes := find_hashes(behind)):
        found += [hashes] if _VALUE.fullmatch(hashes.text) and _is_short(hashes.text) else []
    found = [
        each._replace(start=begin + each.start, end=begin + each.end, lead=begin + each.lead)
        for each in found
        if each.text
    ]
    if phrase := find_phrase(said, begin, only_values=True):
        found.append(phrase)
    return max(found, key=lambda each: each.lead, default=None)


def _is_short(text: str) -> bool:
    return len(text) <= 40 and len(text.split()) <= 3


def _with_alternatives(said: str, answer: FoundAnswer) -> FoundAnswer:
    r"""Return `answer` with values joined by *or* outside its delimiters: `\boxed{5} or 6`."""
    if answer.place == "last_value" or not answer.text:
        return answer
    text, lead = answer.text, answer.lead
    if answer.place == "boxed":
        text, lead = earlier_alternatives(said, answer.lead, text, only_or=True)
    in_words = _IN_WORDS.fullmatch(text) is not None
    if other := alternative_behind(said, answer.end, in_words):
        text = f"{text} \\text{{ or }} {other}"
    return answer._replace(text=text, lead=lead) if text != answer.text else answer


def _tidied(answer: FoundAnswer) -> FoundAnswer:
    """Return `answer` with runs of spaces merged and a lower-case choice letter in brackets."""
    if choice := _SMALL_CHOICE.fullmatch(answer.text):
        return answer._replace(text=f"({choice[1] or choice[2]})")
    if answer.text[:1] == answer.text[-1:] == "*":
        answer = answer._replace(text=answer.text.strip("*"))
    if "  " in answer.text or "\n" in answer.text or "\t" in answer.text:
        return answer._replace(text=" ".join(answer.text.split()))
    return answer


def extract_boxed_answer(text: str) -> str | None:
    r"""Return the content of the last `\boxed{}` (or `\fbox{}`) in `text`, or None if there is
    none.

    Example:
        >>> extract_boxed_answer(r"So it is \boxed{7}.")
        '7'
    """
    box = last_box(text)
    return box.text.strip() if box and box.closed else None
