"""What a turn of a story says: the prose inside its JSON, its sentences, words and phrases.

In: a response, or an earlier turn. Out: texts and sets of them. It scores nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Struct

# What lies beyond is not looked at: the length has long been wrong by then.
MAX_CHARACTERS = 20_000
PHRASE_UNITS = 4
# Letters of a run that is known again where words are glued; times a word makes a frame.
LETTERS, FRAME_WORDS = 16, 3
# Of a response's part: enough to be about something.
PART_UNITS, MAX_PARTS = 32, 16
# What a word and a Chinese character take up with their signs, and what any text may have beyond.
CHARACTERS_A_WORD, CHARACTERS_A_SIGN, FREE_CHARACTERS = 8, 1.5, 40
_CHINESE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_UNIT = re.compile(rf"[{_CHINESE}]|[^\W_{_CHINESE}]+")
_CHINESE_RUN = re.compile(rf"[{_CHINESE}]{{2,}}")
_SENTENCE = re.compile(r"[^.!?。！？…\n]+[.!?。！？…]*")
_WHOLE_SENTENCE = re.compile(r"[^.!?。！？…\n]*[.!?。！？…\n]+|[^.!?。！？…\n]+")
_CLAUSE = re.compile(r"[^.!?,;:。！？…，；：、\n]+")
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff0-\ufffb\U000e0000-\U000e0fff]+"
)
# Letters of other alphabets that look Latin, to the letter that they pass for.
_LATIN = str.maketrans(
    "аеорсхуіјѕԁһӏклмнтвгАЕОРСХУІЈЅТМНВКαορντικυωΑΒΕΖΗΙΚΜΝΟΡΤΥΧıɑɡ",
    "aeopcxyijsdhlklmhtbraeopcxyijstmhbkaopvtikuwabezhikmnoptyxiag",
)
_OPENING, _CLOSING = "```json", "```"


class StoryLine(Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(max_length=40)]
    utterance: str


class Plot(Struct, forbid_unknown_fields=True):
    narrative: Annotated[str, Meta(pattern=r"\S")]
    role_dialogue: StoryLine | Annotated[list[StoryLine], Meta(max_length=32)]


class Turn(Struct, forbid_unknown_fields=True):
    """The format asked for. What is long must stand in `narrative` or `utterance`, where every
    part sees it: hence no other keys, and bounds on the rest."""

    plot_list: Annotated[list[Plot], Meta(min_length=1, max_length=16)]
    next_episode: Annotated[str, Meta(max_length=200)] | int | None


class StoryReading(Struct, frozen=True):
    """How far a response keeps to the format, and what it tells: without JSON, all it says.
    `thought` is what stands before `</think>`."""

    fenced: bool
    parsed: bool
    turn: Turn | None
    text: str
    thought: str


_decode_turn = msgspec.json.Decoder(Turn).decode


def read(response: str) -> StoryReading:
    """The response, read. What stands before `</think>` is no part of the story; what stands
    beside the JSON is."""
    thought, _, said = response.rpartition("</think>")
    said = said.strip()
    before, opening, rest = said.partition(_OPENING)
    inside, closing, after = rest.partition(_CLOSING)
    if not (opening and closing):
        before, inside, after = "", said, ""
    fenced = bool(opening and closing) and not before.strip() and not after.strip()
    turn, parsed = _decoded(inside)
    if turn is None:
        text = " ".join([before, inside, after]).strip()
    else:
        text = "\n".join(filter(None, [before, _prose(turn), after]))
    return StoryReading(fenced, parsed, turn, text, thought.removeprefix("<think>"))


def told(response: str) -> str:
    """What a response, or an earlier turn, tells: cut at `MAX_CHARACTERS`, without the characters
    that cannot be seen."""
    return _UNSEEN.sub("", read(response).text[:MAX_CHARACTERS])


def size(text: str) -> float:
    """How long a text is in units, every character counted: signs, and the letters by which words
    are longer than words are, count as a unit for four of them."""
    found = _UNIT.findall(text)
    chinese = sum(len(one) == 1 and is_chinese(one) for one in found)
    seen = len(text) - text.count(" ") - text.count("\n")
    expected = CHARACTERS_A_WORD * (len(found) - chinese) + CHARACTERS_A_SIGN * chinese
    return len(found) + max(seen - expected - FREE_CHARACTERS, 0) / 4


def is_chinese(character: str) -> bool:
    """Is it a Chinese character, or kana?"""
    return _CHINESE_RUN.match(character * 2) is not None


def sentences(text: str) -> list[str]:
    """The sentences of a text, those of one or two words left out."""
    return [one.strip() for one in _SENTENCE.findall(text) if len(_UNIT.findall(one)) > 2]


def parts_of(text: str) -> list[str]:
    """The sentences of a text, joined to parts of `PART_UNITS` units or more, at most `MAX_PARTS`;
    the last takes what is left, half as many or more. Nothing of the text is left out.

    Example:
        >>> [len(units(part)) for part in parts_of("One two three. " * 30)]
        [33, 33, 24]
    """
    parts: list[str] = []
    part, count = "", 0
    for sentence in _WHOLE_SENTENCE.findall(text):
        part, count = part + sentence, count + len(_UNIT.findall(sentence))
        if count >= PART_UNITS and len(parts) < MAX_PARTS - 1:
            parts.append(part.strip())
            part, count = "", 0
    if count * 2 < PART_UNITS and parts:
        parts[-1] = f"{parts[-1]} {part.strip()}".strip()
    elif part.strip():
        parts.append(part.strip())
    return parts


def clauses(text: str) -> list[str]:
    """What stands between two marks of punctuation."""
    return _CLAUSE.findall(text[:MAX_CHARACTERS])


def units(text: str) -> list[str]:
    """Words, in lower case; each Chinese character is one. Letters that only look Latin are."""
    return _UNIT.findall(folded(text[:MAX_CHARACTERS]))


def folded(text: str) -> str:
    """A text in lower case and compatibility form, without accents and what cannot be seen, and
    with Latin letters for those that look the same.

    Example:
        >>> folded("Тhе la\u00admp")
        'the lamp'
    """
    plain = _UNSEEN.sub("", text) if not text.isascii() else text
    if not plain.isascii():
        plain = unicodedata.normalize("NFKD", plain)
        plain = "".join(one for one in plain if not unicodedata.combining(one)).translate(_LATIN)
    return plain.lower()


def phrases(text: str) -> frozenset[int]:
    """The hashes of all runs of four units: enough to know them again."""
    return frozenset(map(hash, runs(units(text), PHRASE_UNITS)))


class ToldBefore(NamedTuple):
    """What was told before, as it is recognised: its words, its phrases, its runs of letters."""

    units: frozenset[str]
    phrases: frozenset[int]
    letters: frozenset[int]


def copied(text: str, known: ToldBefore) -> float:
    """The share of a text that stands in what is known: the largest of three.

    By runs of four units; by runs of letters, so that words glued together or torn apart are seen;
    and by runs of the units that are known at all, so that words put in between are seen through.
    """
    found = units(text)
    kept = [one for one in found if one in known.units]
    through = set(map(hash, runs(kept, PHRASE_UNITS))) & known.phrases
    return max(
        _share(runs(found, PHRASE_UNITS), known.phrases),
        _share(_letter_runs(found), known.letters),
        len(through) / max(len(found) - PHRASE_UNITS + 1, 1),
    )


def repeated(found: list[str], size: int) -> float:
    """The share of runs of `size` units that were there before."""
    there = runs(found, size)
    return 1 - len(set(there)) / len(there) if there else 0.0


def templated(text: str) -> float:
    """The share of a text, in units, whose clauses have the form of one that was there before:
    the same frame of words that come again and again, with other words in its slots."""
    found = [units(one) for one in clauses(text)]
    counts = Counter(one for clause in found for one in clause)
    seen: Counter[tuple[str, ...]] = Counter()
    for clause in found:
        frame = tuple(one if counts[one] >= FRAME_WORDS else "_" for one in clause)
        if len(frame) - frame.count("_") >= 2 and "_" in frame:
            seen[frame] += 1
    total = sum(map(len, found))
    again = sum(len(frame) * count for frame, count in seen.items() if count >= FRAME_WORDS)
    return again / total if total else 0.0


def terms(text: str) -> frozenset[str]:
    """What carries meaning: words of four letters or more, pairs of Chinese characters."""
    pairs = (a + b for run in _CHINESE_RUN.findall(text[:MAX_CHARACTERS]) for a, b in pairwise(run))
    return frozenset([*(unit for unit in units(text) if len(unit) >= 4), *pairs])


# The samples of a group stand side by side and have all of this in common.
@lru_cache(maxsize=64)
def known_of(texts: tuple[str, ...]) -> ToldBefore:
    found = [units(text) for text in texts]
    return ToldBefore(
        frozenset(one for each in found for one in each),
        frozenset(phrase for text in texts for phrase in phrases(text)),
        frozenset(hash(run) for each in found for run in _letter_runs(each)),
    )


@lru_cache(maxsize=64)
def terms_of(texts: tuple[str, ...]) -> frozenset[str]:
    return frozenset(term for text in texts for term in terms(text))


@lru_cache(maxsize=64)
def with_sentences(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The texts and each of their sentences, every one once."""
    return tuple(dict.fromkeys([*texts, *(one for text in texts for one in sentences(text))]))


def runs(found: list[str], size: int) -> list[tuple[str, ...]]:
    """All runs of `size` neighbours."""
    return list(zip(*(found[i:] for i in range(size)), strict=False))


def _letter_runs(found: list[str]) -> list[str]:
    """Runs of `LETTERS` letters, of the words written as one."""
    joined = "".join(one for one in found if not is_chinese(one[0]))
    return [joined[i : i + LETTERS] for i in range(len(joined) - LETTERS + 1)]


def _share(found: Sequence[Hashable], known: frozenset[int]) -> float:
    distinct = set(map(hash, found))
    return len(distinct & known) / len(distinct) if distinct else 0.0


def _decoded(text: str) -> tuple[Turn | None, bool]:
    """The turn, where the text is one; and whether it is JSON at all."""
    try:
        return _decode_turn(text), True
    except msgspec.ValidationError:
        return None, _is_json(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return None, False


def _is_json(text: str) -> bool:
    # A wrong field stops the typed reader before it has seen the rest.
    try:
        msgspec.json.decode(text, type=Any)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return False
    return True


def names(turn: Turn | None) -> list[str]:
    """Who speaks in a turn, once a line."""
    return [line.name for plot in (turn.plot_list if turn else ()) for line in _lines(plot)]


def _prose(turn: Turn) -> str:
    pieces: list[str] = []
    for plot in turn.plot_list:
        pieces += [plot.narrative, *(line.utterance for line in _lines(plot))]
    return "\n".join(pieces)


def _lines(plot: Plot) -> list[StoryLine]:
    lines = plot.role_dialogue
    return lines if isinstance(lines, list) else [lines]
