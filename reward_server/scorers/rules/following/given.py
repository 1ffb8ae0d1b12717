"""Typed access to the keyword arguments of an instruction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from touchstone_rewards.reward_server.schemas import is_list
from touchstone_rewards.reward_server.scorers.rules.rule import Unscorable

LEAST = "less than"
RELATIONS = (LEAST, "at least")


class Given:
    """Arguments of one instruction. A missing or mistyped argument is an error.

    The published checkers draw such an argument at random, which would score a row by chance.
    """

    def __init__(self, kind: str, kwargs: Mapping[str, Any]) -> None:
        self.kind = kind
        self.kwargs = kwargs

    def text(self, name: str) -> str:
        """Return a non-empty text argument."""
        value = self.kwargs.get(name)
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(name, "a text")
        return value

    def texts(self, name: str) -> list[str]:
        """Return an argument that is a list of texts."""
        value = self.kwargs.get(name)
        if not is_list(value) or not value or not all(map(_is_text, value)):
            raise self.wrong(name, "a list of texts")
        return value

    def whole(self, name: str) -> int:
        """Return an argument that is a whole number from 0; data sets write 3.0 for 3."""
        value = self.kwargs.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
            raise self.wrong(name, "a whole number")
        if value != int(value):
            raise self.wrong(name, "a whole number")
        return int(value)

    def share(self, name: str) -> float:
        """Return an argument that is a percentage."""
        value = self.kwargs.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
            raise self.wrong(name, "a number from 0 to 100")
        return float(value)

    def compare(self, count: int, bound: str, relation: str) -> bool:
        """Compare the count with the argument `bound` as `relation`
        requires: less than, or at least."""
        most = self.whole(bound)
        how = self.kwargs.get(relation)
        if how not in RELATIONS:
            raise self.wrong(relation, " or ".join(map(repr, RELATIONS)))
        return count < most if how == LEAST else count >= most

    def wrong(self, name: str, expected: str) -> Unscorable:
        """Return the error for an argument of the wrong type or value."""
        value = str(self.kwargs.get(name))[:40]
        return Unscorable(
            "bad_ground_truth", f"{self.kind}: {name} is {value!r}; expected {expected}"
        )


Check = Callable[[str, Given], bool]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
