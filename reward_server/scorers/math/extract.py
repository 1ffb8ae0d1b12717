"""A response in, the part of it that is its answer out: which text, found where.

It reads nothing: whether the text is mathematics, and which, is for `parse` to say. Every search
is linear and looks at a bounded piece of the response.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, get_args

from touchstone_rewards.reward_server.scorers.math.grammar.symbols import TURNING_WORDS

Place = Literal["boxed", "answer_tag", "hashes", "phrase", "last_value"]
PLACES: tuple[Place, ...] = get_args(Place)

BOX_MAX_CHARS = 8_000
BOX_TRIES = 8  # an unclosed box sends us to the one before, this many times
CHAIN_MAX_BOXES = 64
TAIL_CHARS = 4_000  # how far back from the end a last value is looked for
PHRASE_CHARS = 20_000  # and how far a phrase

_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![a-zA-Z])")
_BARE_BOX = re.compile(r"\s*([^\s{}$\\.,;]+)")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
# What may stand between two boxes that are one answer: `\boxed{1}$ and $x = \boxed{2}`.
_JOINT = re.compile(
    r"[\s$.]*(?:\\[()\[\]])?[\s$.]*(?:\\q?quad|\\[ ,;])*\s*"
    r"(?P<joint>,?\s*(?:\\text\{\s*)?(?:and|or|和|与|或)(?:\s*\})?|[,;，、；])"
    r"[\s$]*(?:\\q?quad|\\[ ,;])*[\s$]*(?:\\[(\[])?[\s$]*"
    r"(?:[A-Za-z](?:_\{?\w{1,3}\}?)?\s*=\s*)?"
)
_PHRASE = re.compile(
    r"(?:\banswer\s*(?:is|are|was|=)\b|\banswer\s*:|^\s*A\s*:|\bresult\s*(?:is\b|:)"
    r"|\bcorrect\s+(?:option|choice)\s+is\b"
    r"|答案\s*(?:是|为|：|:))\s*:?",
    re.IGNORECASE | re.MULTILINE,
)
_LEADING = frozenset(' \t\n*"“')
_FINAL = re.compile(r"\bfinal answer\s*(?:is\b|:)\s*:?", re.IGNORECASE)
_SENTENCE_END = re.compile(r"\n|<\||(?<=\S)[.。](?=\s|$)(?<!\d\.\d)")
_MATH_SPAN = re.compile(
    r"\$\$(.+?)\$\$|\$([^$]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]",
    re.DOTALL,
)
_OPENING = {"$": "$", "\\)": "\\(", "\\]": "\\["}
_JOINED_TO_NEXT = re.compile(r"(\$|\\\)|\\\])\s*(,?\s*\b(?:and|or)\b|,)\s*$")
_DELIMITERS = (("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
_MATH_JOINT = re.compile(r"\s*(?:,\s*(?:and|or)\b|,|;|and\b|or\b)\s*(?=\$|\\[(\[])")
_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.])(?:[-+−–]\s?)?(?:\\?[$€£¥]\s?)?"
    r"(?:\d{1,3}(?:[, ]\d{3})+(?!\d)|\d+)?(?:(?<=\d)\.\d+|(?<!\d)\.\d+|(?<=\d))"
    r"(?:[eE][-+]?\d+)?(?:\s?/\s?\d+(?:\.\d+)?)?(?:\s?\\?%)?"
)
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}[\s,:]+(?:[A-Za-z]{2,}|[-$\d])")
_OTHER_SCRIPT = re.compile(r"[^\W\d_a-zA-Z\u0370-\u03ff]{3}")
_DIGIT = re.compile(r"\d")
_RETRACTION = re.compile(
    r"\bI\s+(?:refuse|give up|cannot|can't|can not|do not know|don't know)\b"
    r"|\bI(?:'m| am) (?:not sure|unsure|guessing)\b|\bno,? wait\b|\bjust kidding\b"
    r"|\b(?:that|this|it|which) (?:is|was) (?:wrong|incorrect|not (?:right|correct))\b"
    r"|\bthe answer is not\b|\bignore (?:the|that|this)\b",
    re.IGNORECASE,
)


class Answer(NamedTuple):
    """The text of an answer, the place that had it, and where it stands in the response."""

    text: str
    place: Place
    start: int
    end: int


def without_thoughts(response: str) -> str:
    """The response after its last `</think>`; nothing of one that never stops thinking."""
    _, closing, said = response.rpartition("</think>")
    if closing:
        return said
    return response.partition("<think>")[0]


def _group(text: str, start: int) -> int | None:
    """The index of the brace that closes the one at `start`, or None."""
    depth = 0
    for brace in _BRACE.finditer(text, start, start + BOX_MAX_CHARS):
        found = brace[0]
        if found == "{":
            depth += 1
        elif found == "}":
            depth -= 1
            if depth == 0:
                return brace.start()
    return None


class _Box(NamedTuple):
    start: int
    text: str
    end: int


def _box_at(text: str, start: int, opened: int) -> _Box | None:
    at = opened
    while at < len(text) and text[at].isspace():
        at += 1
    if at < len(text) and text[at] == "{":
        closing = _group(text, at)
        return None if closing is None else _Box(start, text[at + 1 : closing], closing + 1)
    bare = _BARE_BOX.match(text, opened)
    return _Box(start, bare[1], bare.end()) if bare else None


def _last_box_before(text: str, end: int) -> _Box | None:
    """The last closed box that starts before `end`."""
    for _ in range(BOX_TRIES):
        at = max(text.rfind("\\boxed", 0, end), text.rfind("\\f", 0, end))
        while at >= 0 and not _BOX.match(text, at):
            at = max(text.rfind("\\boxed", 0, at), text.rfind("\\fbox", 0, at))
        if at < 0:
            return None
        opened = _BOX.match(text, at)
        if opened and (box := _box_at(text, at, opened.end())):
            return box
        end = at
    return None


def find_boxes(text: str, limit: int) -> list[str]:
    """What the last `limit` closed boxes of `text` hold, first to last."""
    boxes: list[str] = []
    end = len(text)
    while len(boxes) < limit and (box := _last_box_before(text, end)):
        boxes.append(box.text)
        end = box.start
    return boxes[::-1]


def _boxed(text: str) -> Answer | None:
    """The last box; with the ones before it where `and`, `or` or a comma joins them into one."""
    last = _last_box_before(text, len(text))
    if last is None:
        return None
    parts, first = [last.text], last
    while len(parts) < CHAIN_MAX_BOXES:
        before = _last_box_before(text, first.start)
        if before is None or first.start - before.end > 80:
            break
        joint = _JOINT.fullmatch(text, before.end, first.start)
        if joint is None:
            break
        either = "or" in joint["joint"] or "或" in joint["joint"]
        parts += [r" \text{ or } " if either else ", ", before.text]
        first = before
    return Answer("".join(reversed(parts)), "boxed", first.start, last.end)


def _answer_tag(text: str) -> Answer | None:
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, end) if end >= 0 else -1
    if start < 0:
        return None
    inner = text[start + len("<answer>") : end]
    if "\\boxed" in inner or "\\fbox" in inner:
        box = _boxed(inner)
        inner = box.text if box else ""
    return Answer(inner.strip(), "answer_tag", start, end)


def _hashes(text: str) -> Answer | None:
    at = text.rfind("####")
    if at < 0:
        return None
    line, _, _ = text[at:].lstrip("#").lstrip().partition("\n")
    return Answer(line.strip(), "hashes", at, at + 4 + len(line))


def _last(pattern: re.Pattern[str], text: str, start: int = 0) -> re.Match[str] | None:
    last = deque(pattern.finditer(text, start), maxlen=1)
    return last[0] if last else None


def _leading_math(text: str, start: int) -> str | None:
    """The mathematics that `text` begins with at `start`: `$12$ and $13$`, or None."""
    parts: list[str] = []
    while span := _MATH_SPAN.match(text, start):
        parts.append(next(part for part in span.groups() if part is not None))
        joint = _MATH_JOINT.match(text, span.end())
        if not joint:
            break
        parts.append(r" \text{ or } " if "or" in joint[0] else ", ")
        start = joint.end()
    return "".join(parts) if parts else None


def _phrase(text: str) -> Answer | None:
    """What follows the last "the answer is", "Answer:", "A:" or 答案是, to the sentence's end."""
    last = _last(_PHRASE, text, max(0, len(text) - PHRASE_CHARS))
    return None if last is None else _told(text, last.end())


def _told(text: str, start: int) -> Answer:
    """The answer that a phrase ending at `start` announces."""
    while text[start : start + 1] in _LEADING or text.startswith('\\"', start):
        start += 1
    if (maths := _leading_math(text, start)) is not None:
        return Answer(maths, "phrase", start, start + len(maths))
    stop = _SENTENCE_END.search(text, start)
    said = text[start : stop.start() if stop else len(text)].strip().rstrip(".").strip("*")
    _, verb, told = said.rpartition(" is ")
    if verb:
        inner = _leading_math(told, 0)
        said = inner if inner is not None else told
    end = stop.start() if stop else len(text)
    return Answer(_only_number(said) or said[:BOX_MAX_CHARS], "phrase", start, end)


def _only_number(said: str) -> str | None:
    """The number of a sentence that has just one, and no word that turns it: `the total of 42`."""
    if len(said) > 400 or not _is_prose(said) or TURNING_WORDS & set(said.lower().split()):
        return None
    numbers = [found[0] for found in _NUMBER.finditer(said)]
    return numbers[0] if len(numbers) == 1 else None


def _last_value(text: str) -> Answer | None:
    """The last mathematics or number of the text; all of it where it is one short answer."""
    whole = text.strip()
    if len(whole) <= 200 and "\n" not in whole and not _is_prose(whole):
        maths = _leading_math(whole, 0)
        if maths is not None or not _MATH_SPAN.search(whole):
            said = whole if maths is None else maths
            return Answer(said, "last_value", 0, len(text)) if whole else None
    start = max(0, len(text) - TAIL_CHARS)
    maths, number = _last_math(text, start), _last(_NUMBER, text, start)
    if maths and (number is None or maths.end >= number.end()):
        return maths
    return Answer(number[0], "last_value", *number.span()) if number else None


def _is_prose(text: str) -> bool:
    """Words beside each other, or a run of another script's letters beside digits."""
    if _PROSE.search(text):
        return True
    return not text.isascii() and bool(_OTHER_SCRIPT.search(text) and _DIGIT.search(text))


def _last_math(text: str, start: int) -> Answer | None:
    """What stands between the last `$…$`, `\\(…\\)` or `\\[…\\]` of the text from `start` on."""
    close, opening, closing = max((text.rfind(b, start), a, b) for a, b in _DELIMITERS)
    end = close
    while closing == "$" and end > start and text[end - 1] == "$":
        end -= 1
    begin = text.rfind(opening, start, end) if close >= 0 else -1
    if begin < 0:
        return None
    said = text[begin + len(opening) : end]
    said = _with_earlier(text, start, begin, said)
    if _PROSE.search(said) and "\\" not in said:
        return None
    return Answer(said, "last_value", begin, close + len(closing))


def _with_earlier(text: str, start: int, begin: int, said: str) -> str:
    """`said` and the mathematics before it that *and*, *or* or a comma join to it."""
    for _ in range(CHAIN_MAX_BOXES):
        joint = _JOINED_TO_NEXT.search(text, max(start, begin - 24), begin)
        if joint is None:
            break
        closing = joint[1]
        opening = _OPENING[closing]
        end = joint.start(1)
        begin = text.rfind(opening, start, end)
        if begin < 0:
            break
        separator = r" \text{ or } " if "or" in joint[2] else ", "
        said = f"{text[begin + len(opening) : end]}{separator}{said}"
    return said


_FINDERS: dict[Place, Callable[[str], Answer | None]] = {
    "boxed": _boxed,
    "answer_tag": _answer_tag,
    "hashes": _hashes,
    "phrase": _phrase,
    "last_value": _last_value,
}


def find_answer(response: str, answer_from: Sequence[Place] = PLACES) -> Answer | None:
    """The response's answer: from the first place of `answer_from` that the response has.

    Thoughts (`<think>…</think>`) are not looked at. A place that is there and empty is the answer:
    an empty box is no reason to look on. What is called the final answer after a box replaces it.
    """
    said = without_thoughts(response)
    before = len(response) - len(said) if response.endswith(said) else 0
    for place in answer_from:
        if answer := _FINDERS[place](said):
            if place == "boxed" and "phrase" in answer_from:
                final = _last(_FINAL, said, answer.end)
                answer = _told(said, final.end()) if final else answer
            return answer._replace(start=before + answer.start, end=before + answer.end)
    return None


def retracted(response: str, answer: Answer) -> str | None:
    """What the response says that takes its answer back, or None: anything after the answer; where
    the answer is only the last value of the text, also just before it."""
    start = answer.end if answer.place != "last_value" else answer.end - 200
    taken_back = _RETRACTION.search(response, max(0, start), answer.end + TAIL_CHARS)
    return taken_back[0] if taken_back else None


def extract_boxed_answer(text: str) -> str | None:
    r"""What the last closed `\boxed{}` (or `\fbox{}`) of `text` holds, or None without one."""
    box = _last_box_before(text, len(text))
    return None if box is None else box.text.strip()
