"""Group responses to one prompt by equal answers, as judged by the reward server.

Each response gets a class, None without an answer. Wrong answers are compared with each other by
the scorer that compared them with the ground truth, so that 1/2 and 0.5 count as one answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

from touchstone_rewards.clients import Sample, ScoreResult

RIGHT = "right"
# Compare only the most frequent spellings of wrong answers: the number of pairs grows
# quadratically, and rare answers do not decide a vote.
COMPARED = 12
ScoreFunction = Callable[[list[Sample]], list[ScoreResult | None]]


class Answer(NamedTuple):
    """An extracted answer: its text in the response, its normalized spelling, and whether it is
    right."""

    text: str
    spelling: str
    right: bool


class Pair(NamedTuple):
    """Two spellings of one group; `sample` asks the server whether they are equal."""

    group: int
    first: str
    second: str
    sample: Sample


def answer_of(result: ScoreResult | None) -> Answer | None:
    """Return the answer in a scorer's explanation; None if there is none."""
    for explained in ((result and result.explanation) or {}).values():
        if isinstance(explained, dict) and explained.get("answer") is not None:
            text = str(explained["answer"])
            spelling = str(explained.get("read_answer") or text)
            return Answer(text, spelling, explained.get("equal") is True)
    return None


def classes_of(
    groups: Sequence[Sequence[Sample]],
    results: Sequence[Sequence[ScoreResult | None]],
    score: ScoreFunction,
) -> list[list[str | None]]:
    """Return the class of every response, group by group; equal strings mean equal answers."""
    answers = [[answer_of(result) for result in group] for group in results]
    pairs = [
        pair
        for number, (samples, given) in enumerate(zip(groups, answers, strict=True))
        for pair in wrong_pairs(number, samples, given)
    ]
    same = score([pair.sample for pair in pairs]) if pairs else []
    names: list[dict[str, str]] = [{} for _ in groups]
    for pair, result in zip(pairs, same, strict=True):
        if (found := answer_of(result)) and found.right:
            _unite(names[pair.group], pair.first, pair.second)
    return [
        [_class(answer, own) for answer in given] for given, own in zip(answers, names, strict=True)
    ]


def wrong_pairs(
    group: int, samples: Sequence[Sample], answers: Sequence[Answer | None]
) -> list[Pair]:
    """Return all pairs of frequent wrong spellings: the response with one, the text of the
    other."""
    first: dict[str, tuple[Sample, str]] = {}
    for sample, answer in zip(samples, answers, strict=True):
        if answer and not answer.right:
            first.setdefault(answer.spelling, (sample, answer.text))
    counts = Counter(each.spelling for each in answers if each and not each.right)
    frequent = [spelling for spelling, _ in counts.most_common(COMPARED)]
    return [
        Pair(
            group,
            one,
            other,
            Sample(
                id=f"{group}:{place}",
                response=first[one][0].response,
                prompt=first[one][0].prompt,
                ground_truth=first[other][1],
            ),
        )
        for place, (one, other) in enumerate(combinations(frequent, 2))
    ]


def _unite(names: dict[str, str], one: str, other: str) -> None:
    # `names` maps a spelling to another of its class; the last one has no entry.
    one, other = _name(names, one), _name(names, other)
    if one != other:
        names[other] = one


def _name(names: dict[str, str], spelling: str) -> str:
    while spelling in names:
        spelling = names[spelling]
    return spelling


def _class(answer: Answer | None, names: dict[str, str]) -> str | None:
    if answer is None:
        return None
    return RIGHT if answer.right else f"wrong: {_name(names, answer.spelling)}"
