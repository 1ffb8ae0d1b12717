"""Name the places where an answer may stand, and what is found there."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

Place = Literal["boxed", "answer_tag", "hashes", "phrase", "last_value"]
PLACES: tuple[Place, ...] = get_args(Place)

ANSWER_MAX_CHARS = 8_000  # a longer answer is not read
TAIL_CHARS = 4_000  # how far back from the end a last value is looked for
NOTHING_SAID = " \t\n$.*)]}"  # what may stand behind an answer and says nothing
PHRASE_CHARS = 20_000  # and how far a phrase


class FoundAnswer(NamedTuple):
    """The text of an answer, the place that had it, and where it stands in the response.

    `lead` is where its announcement begins: the start of *the answer is*, or of the answer itself.
    `also` is another answer that the response gives later and that must be right too.
    """

    text: str
    place: Place
    start: int
    end: int
    lead: int
    also: str | None = None
