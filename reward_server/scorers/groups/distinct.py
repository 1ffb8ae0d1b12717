"""How much of its own does a response bring to its group? Answers by math, or texts by their words.

In: a group. Out: with `by: answers`, 1 by the number of members that give the same answer, so that
the group's mean is its share of distinct answers. With `by: words`, the share of a response's runs
of words that no other member has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from touchstone_rewards.reward_server.scorers.base import Judging, Member, RunsIn, Score
from touchstone_rewards.reward_server.scorers.groups.answers import (
    MAX_MEMBERS,
    answer_classes,
    specs_of,
)
from touchstone_rewards.reward_server.scorers.groups.texts import checked_size, runs


class Distinct:
    """`by`: `answers` or `words`. `math`: as in `majority`. `words`: the length of a run."""

    version = "1"
    range = (0.0, 1.0)
    runs_in: RunsIn = "group"
    reads = ("response",)
    of = ()

    def __init__(
        self, by: str = "answers", math: dict[str, Any] | None = None, words: int = 3
    ) -> None:
        if by not in ("answers", "words"):
            raise ValueError(f"by is {by!r}; expected answers or words")
        self.by = by
        self.words = checked_size(words)
        self.specs = specs_of(math or {})
        self.asks = tuple(self.specs) if by == "answers" else ()
        self.max_members = MAX_MEMBERS

    def score(self, members: Sequence[Member], *, explain: bool = False) -> list[Score] | Judging:
        if self.by == "answers":
            return self._by_answers(members, explain)
        return self._by_words(members, explain)

    def _by_answers(self, members: Sequence[Member], explain: bool) -> Judging:
        classes = yield from answer_classes(members, self.specs)
        found: list[Score] = []
        for at, one in enumerate(classes.of):
            if (error := classes.errors.get(at)) is not None:
                found.append(error)
                continue
            size = classes.sizes[one]
            about = {"answer": classes.answers[at], "same_answer": size}
            found.append(Score(1 / size, None, about if explain else None))
        return found

    def _by_words(self, members: Sequence[Member], explain: bool) -> list[Score]:
        each = [runs(member.sample.response, self.words) for member in members]
        owners = Counter(run for one in each for run in one)
        found: list[Score] = []
        for one in each:
            own = sum(owners[run] == 1 for run in one)
            about = {"runs": len(one), "own_runs": own}
            found.append(Score(own / len(one), None, about if explain else None))
        return found
