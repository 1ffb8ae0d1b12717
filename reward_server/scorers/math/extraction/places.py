"""Places where an answer may stand, and the type of a found answer."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

Place = Literal["boxed", "answer_tag", "hashes", "phrase", "last_value"]
PLACES: tuple[Place, ...] = get_args(Place)

ANSWER_MAX_CHARS = 8_000  # longer answers are not read
TAIL_CHARS = 4_000  # distance from the end in which a last value is searched
NOTHING_SAID = " \t\n$.*)]}"  # characters without meaning after an answer
PHRASE_CHARS = 20_000  # distance from the end in which a phrase is searched


class FoundAnswer(NamedTuple):
    """Text of an answer, the place where it was found, and its position in the response.

    `lead`: start of its announcement, such as *the answer is*, or of the answer itself. `also`:
    another answer given later, which must be right too.
    """

    text: str
    place: Place
    start: int
    end: int
    lead: int
    also: str | None = None
