"""Extract the prose of a story turn from its JSON, and split it into sentences, words and phrases.

Works on responses and on earlier turns alike.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Struct

# Text beyond this is ignored: by then the length is long since wrong.
MAX_CHARACTERS = 20_000
PHRASE_UNITS = 4
# Length of a letter run that identifies glued copies; times a word must recur to be a frame's.
LETTERS, FRAME_WORDS = 16, 3
# Least size of a response's part: enough words to be about something.
PART_UNITS, MAX_PARTS = 32, 16
# Characters that a word and a Chinese character take with punctuation, and a free allowance.
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
# Letters of other alphabets that look Latin, mapped to the letter they imitate.
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
    """The format asked for.

    Other keys are forbidden and the short fields bounded, so that all long text stands in
    `narrative` or `utterance`, where every part of the score sees it.
    """

    plot_list: Annotated[list[Plot], Meta(min_length=1, max_length=16)]
    next_episode: Annotated[str, Meta(max_length=200)] | int | None


class StoryReading(Struct, frozen=True):
    """How far a response keeps to the format, and its text: the whole response if it is not JSON of
    the schema. `thought` is the text before `</think>`."""

    fenced: bool
    parsed: bool
    turn: Turn | None
    text: str
    thought: str


_decode_turn = msgspec.json.Decoder(Turn).decode


def read(response: str) -> StoryReading:
    """Parse a response. Text before `</think>` is not part of the story; text beside the JSON is.

    Example:
        >>> read("<think>Hm.</think>The door opens.").text
        'The door opens.'
    """
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
    """Return the prose of a response or an earlier turn, cut at `MAX_CHARACTERS`, without invisible
    characters."""
    return _UNSEEN.sub("", read(response).text[:MAX_CHARACTERS])


def size(text: str) -> float:
    """Return the length of a text in units, with every character counted.

    Four characters of punctuation, or four letters beyond the usual length of a word, count as one
    unit.
    """
    found = _UNIT.findall(text)
    chinese = sum(len(one) == 1 and is_chinese(one) for one in found)
    seen = len(text) - text.count(" ") - text.count("\n")
    expected = CHARACTERS_A_WORD * (len(found) - chinese) + CHARACTERS_A_SIGN * chinese
    return len(found) + max(seen - expected - FREE_CHARACTERS, 0) / 4


def is_chinese(character: str) -> bool:
    """Whether it is a Chinese character or kana."""
    return _CHINESE_RUN.match(character * 2) is not None


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, without those of one or two words."""
    return [one.strip() for one in _SENTENCE.findall(text) if len(_UNIT.findall(one)) > 2]


def parts_of(text: str) -> list[str]:
    """Join the sentences of a text into at most `MAX_PARTS` parts of at least `PART_UNITS` units.

    The last part may have half as many. A sentence of more than twice as many is cut. Nothing of
    the text is left out.

    Example:
        >>> [len(units(part)) for part in parts_of("One two three. " * 30)]
        [33, 33, 24]
    """
    parts: list[str] = []
    part, count = "", 0
    for piece, size in _pieces(text):
        part, count = part + piece, count + size
        if count >= PART_UNITS and len(parts) < MAX_PARTS - 1:
            parts.append(part.strip())
            part, count = "", 0
    if count * 2 < PART_UNITS and parts:
        parts[-1] = f"{parts[-1]} {part.strip()}".strip()
    elif part.strip():
        parts.append(part.strip())
    return parts


def _pieces(text: str) -> Iterator[tuple[str, int]]:
    """Yield the sentences with their length in units, those that are too long in pieces."""
    for sentence in _WHOLE_SENTENCE.findall(text):
        starts = [unit.start() for unit in _UNIT.finditer(sentence)]
        step = PART_UNITS if len(starts) > 2 * PART_UNITS else len(starts) + 1
        cuts = [0, *starts[step::step], len(sentence)]
        for place, (begin, end) in enumerate(pairwise(cuts)):
            yield sentence[begin:end], len(starts[place * step : (place + 1) * step])


def clauses(text: str) -> list[str]:
    """Return the stretches of text between punctuation marks."""
    return _CLAUSE.findall(text[:MAX_CHARACTERS])


def units(text: str) -> list[str]:
    """Return the words in lower case, each Chinese character as one, lookalike letters folded.

    Example:
        >>> units("The 门 opens")
        ['the', '门', 'opens']
    """
    return _UNIT.findall(folded(text[:MAX_CHARACTERS]))


def folded(text: str) -> str:
    """Normalize a text: lower case, compatibility form, no accents, no invisible characters, Latin
    letters for lookalikes.

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
    """Return the hashes of all runs of four units."""
    return frozenset(map(hash, runs(units(text), PHRASE_UNITS)))


class ToldBefore(NamedTuple):
    """Everything told before, in the forms in which a copy is recognised."""

    units: frozenset[str]
    phrases: frozenset[int]
    letters: frozenset[int]


def copied(text: str, known: ToldBefore) -> float:
    """Return the share of a text that was told before, the largest of three measures.

    They are the share of runs of four units; of runs of letters, which sees through words glued
    together or torn apart; and of runs of the known units alone, which sees through filler words.
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
    """Return the share of runs of `size` units that occurred before."""
    there = runs(found, size)
    return 1 - len(set(there)) / len(there) if there else 0.0


def templated(text: str) -> float:
    """Return the share of a text, in units, that stands in clauses of one repeated template: the
    same frame of recurring words with other words in its slots."""
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
    """Return the content words: words of four letters or more, and pairs of Chinese characters."""
    pairs = (a + b for run in _CHINESE_RUN.findall(text[:MAX_CHARACTERS]) for a, b in pairwise(run))
    return frozenset([*(unit for unit in units(text) if len(unit) >= 4), *pairs])


# Samples of a group come one after another and share all of this.
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
def all_parts(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the parts of all texts (`parts_of`), each once."""
    return tuple(dict.fromkeys(part for text in texts for part in parts_of(text)))


def runs(found: list[str], size: int) -> list[tuple[str, ...]]:
    """Return all runs of `size` neighbours."""
    return list(zip(*(found[i:] for i in range(size)), strict=False))


def _letter_runs(found: list[str]) -> list[str]:
    """Return all runs of `LETTERS` letters, the words written without spaces."""
    joined = "".join(one for one in found if not is_chinese(one[0]))
    return [joined[i : i + LETTERS] for i in range(len(joined) - LETTERS + 1)]


def _share(found: Sequence[Hashable], known: frozenset[int]) -> float:
    distinct = set(map(hash, found))
    return len(distinct & known) / len(distinct) if distinct else 0.0


def _decoded(text: str) -> tuple[Turn | None, bool]:
    """Return the turn if the text is one, and whether the text is JSON at all."""
    try:
        return _decode_turn(text), True
    except msgspec.ValidationError:
        return None, _is_json(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return None, False


def _is_json(text: str) -> bool:
    # The typed decoder stops at a wrong field, before it has seen the rest.
    try:
        msgspec.json.decode(text, type=Any)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return False
    return True


def names(turn: Turn | None) -> list[str]:
    """Return the speaker of each line of a turn."""
    return [line.name for plot in (turn.plot_list if turn else ()) for line in _lines(plot)]


def _prose(turn: Turn) -> str:
    pieces: list[str] = []
    for plot in turn.plot_list:
        pieces += [plot.narrative, *(line.utterance for line in _lines(plot))]
    return "\n".join(pieces)


def _lines(plot: Plot) -> list[StoryLine]:
    lines = plot.role_dialogue
    return lines if isinstance(lines, list) else [lines]
