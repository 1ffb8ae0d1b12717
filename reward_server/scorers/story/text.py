"""What a turn of a story says: the prose inside its JSON, its sentences, words and phrases.

In: a response, or an earlier turn. Out: texts and sets of them. It scores nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

# What lies beyond is not looked at: the length has long been wrong by then.
MAX_CHARACTERS = 20_000
PHRASE_UNITS = 4
_CHINESE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_UNIT = re.compile(rf"[{_CHINESE}]|[^\W_{_CHINESE}]+")
_CHINESE_RUN = re.compile(rf"[{_CHINESE}]{{2,}}")
_SENTENCE = re.compile(r"[^.!?。！？…\n]+[.!?。！？…]*")
_OPENING, _CLOSING = "```json", "```"


class StoryLine(Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(max_length=100)]
    utterance: str


class Plot(Struct, forbid_unknown_fields=True):
    narrative: Annotated[str, Meta(pattern=r"\S")]
    role_dialogue: StoryLine | list[StoryLine]


class Turn(Struct, forbid_unknown_fields=True):
    """The format asked for. What is long must stand in `narrative` or `utterance`, where every
    part sees it: hence no other keys, and bounds on the rest."""

    plot_list: Annotated[list[Plot], Meta(min_length=1)]
    next_episode: Annotated[str, Meta(max_length=200)] | int | None


class StoryReading(Struct, frozen=True):
    """How far a response keeps to the format, and what it tells: without JSON, all it says."""

    fenced: bool
    parsed: bool
    turn: Turn | None
    text: str


_decode_turn = msgspec.json.Decoder(Turn).decode


def read(response: str) -> StoryReading:
    """The response, read. What stands before `</think>` is no part of the story; what stands
    beside the JSON is."""
    said = response.rpartition("</think>")[2].strip()
    before, opening, rest = said.partition(_OPENING)
    inside, closing, after = rest.partition(_CLOSING)
    if not (opening and closing):
        before, inside, after = "", said, ""
    fenced = bool(opening and closing) and not before.strip() and not after.strip()
    turn, parsed = _decoded(inside)
    if turn is None:
        return StoryReading(fenced, parsed, None, " ".join([before, inside, after]).strip())
    return StoryReading(
        fenced, parsed, turn, "\n".join(filter(None, [before, _prose(turn), after]))
    )


def told(response: str) -> str:
    """What a response, or an earlier turn, tells; cut at `MAX_CHARACTERS`."""
    return read(response).text[:MAX_CHARACTERS]


def sentences(text: str) -> list[str]:
    """The sentences of a text, those of one or two words left out."""
    return [one.strip() for one in _SENTENCE.findall(text) if len(_UNIT.findall(one)) > 2]


def units(text: str) -> list[str]:
    """Words, in lower case; each Chinese character is one."""
    return _UNIT.findall(text[:MAX_CHARACTERS].lower())


def phrases(text: str) -> frozenset[int]:
    """The hashes of all runs of four units: enough to know them again."""
    return frozenset(map(hash, runs(units(text), PHRASE_UNITS)))


def terms(text: str) -> frozenset[str]:
    """What carries meaning: words of four letters or more, pairs of Chinese characters."""
    pairs = (a + b for run in _CHINESE_RUN.findall(text[:MAX_CHARACTERS]) for a, b in pairwise(run))
    return frozenset([*(unit for unit in units(text) if len(unit) >= 4), *pairs])


# The samples of a group stand side by side and have all of this in common.
@lru_cache(maxsize=64)
def phrases_of(texts: tuple[str, ...]) -> frozenset[int]:
    return frozenset(phrase for text in texts for phrase in phrases(text))


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


def _prose(turn: Turn) -> str:
    pieces: list[str] = []
    for plot in turn.plot_list:
        pieces.append(plot.narrative)
        lines = plot.role_dialogue
        pieces += [line.utterance for line in (lines if isinstance(lines, list) else [lines])]
    return "\n".join(pieces)
