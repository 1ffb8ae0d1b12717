"""Group the responses that give the same answer, using the math scorer without a ground truth.

Answers are extracted and compared in workers, each with its own deadline. An answer whose
comparison times out is left out with its error; the others are grouped without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import Ask, Member, RunsIn, Score, ScorerSpec
from touchstone_rewards.reward_server.scorers.math.end_tokens import without_end_tokens
from touchstone_rewards.reward_server.scorers.math.equal import UnreadableGroundTruth, math_equal
from touchstone_rewards.reward_server.scorers.math.extract import find_answer
from touchstone_rewards.reward_server.scorers.math.policy import make_policy

MathConfig = Annotated[
    dict[str, Any] | None, Field(description="config of the math scorer that compares answers")
]
# At most 8,128 pairs are compared, each in at most two directions.
MAX_MEMBERS = 128
ANSWER_CHARACTERS = 2_000


class AnswerFinder:
    """Score 1 if a response gives an answer, which the explanation contains, else 0."""

    version = "1"
    range = (0.0, 1.0)
    runs_in: RunsIn = "worker"
    deterministic = True
    reads = ("response",)

    def __init__(self, **config: Any) -> None:
        self.policy = make_policy(config)

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        return [self._score(sample.response) for sample in samples]

    def _score(self, response: str) -> Score:
        answer = find_answer(without_end_tokens(response), self.policy.answer_from)
        if answer is None or not answer.text or len(answer.text) > ANSWER_CHARACTERS:
            return Score(0.0, None, {"answer": None})
        return Score(1.0, None, {"answer": answer.text})


class SameAnswer:
    """Score 1 if the answers in `response` and `ground_truth` are the same, else 0.

    Both come from a model, so an unreadable one is not an error but equal to no other.
    """

    version = "1"
    range = (0.0, 1.0)
    runs_in: RunsIn = "worker"
    deterministic = True
    reads = ("response", "ground_truth")

    def __init__(self, **config: Any) -> None:
        self.policy = make_policy(config)

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        return [Score(self._same(sample)) for sample in samples]

    def _same(self, sample: Sample) -> float:
        try:
            return float(math_equal(sample.response, sample.ground_truth, self.policy))
        except UnreadableGroundTruth:
            return 0.0


class Specs(NamedTuple):
    """The scorers that extract and compare answers."""

    found: ScorerSpec
    same: ScorerSpec


def specs_of(config: Mapping[str, Any]) -> Specs:
    """Return the scorers for a config of the math scorer.

    Raises:
        TypeError, ValueError: the config is not valid for the math scorer.
    """
    make_policy(dict(config))
    return Specs(
        ScorerSpec(f"{__name__}:AnswerFinder", config), ScorerSpec(f"{__name__}:SameAnswer", config)
    )


class Classes(NamedTuple):
    """The answers of a group and its classes of equal answers.

    `answers`: per member, None without an answer. `of`: per member, the number of its class.
    `errors`: by position, for the members that could not be judged.
    """

    answers: Sequence[str | None]
    of: Sequence[int]
    sizes: Mapping[int, int]
    errors: Mapping[int, Score]


def answer_classes(members: Sequence[Member], specs: Specs) -> Generator[Ask, list[Score], Classes]:
    """Return the classes of members with the same answer; class -1 holds those without an answer.

    The result does not depend on the order of the members: answers are compared in sorted order and
    in both directions. Two answers are the same if either direction says so, or through a third
    answer.
    """
    samples = [Sample(member.sample.id, member.sample.response) for member in members]
    found = yield Ask(specs.found, samples, explain=True)
    errors = {at: score for at, score in enumerate(found) if score.error is not None}
    answers = [(score.explanation or {}).get("answer") for score in found]
    texts = sorted({answer for answer in answers if answer is not None})
    pairs = [(a, b) for i, a in enumerate(texts) for b in texts[i + 1 :]]
    same, unknown = yield from _compared(pairs, specs)
    left_out = _left_out(unknown)
    errors |= {at: left_out[answer] for at, answer in enumerate(answers) if answer in left_out}
    roots = _joined([text for text in texts if text not in left_out], same)
    of = [-1 if answer is None else roots.get(answer, -1) for answer in answers]
    sizes = Counter(one for at, one in enumerate(of) if at not in errors)
    return Classes(answers, of, sizes, errors)


AnswerPair = tuple[str, str]


def _compared(
    pairs: Sequence[AnswerPair], specs: Specs
) -> Generator[Ask, list[Score], tuple[list[AnswerPair], dict[AnswerPair, Score]]]:
    """Return the pairs that are the same, and the errors of the pairs
    that could not be compared."""
    same: list[AnswerPair] = []
    unknown: dict[AnswerPair, Score] = {}
    differ: list[AnswerPair] = list(pairs)
    for turned in (False, True):
        if not differ:
            break
        asked: list[AnswerPair] = differ
        scores = yield Ask(specs.same, [_held(pair, turned) for pair in asked])
        differ = []
        for pair, score in zip(asked, scores, strict=True):
            if score.value is None:
                unknown[pair] = score
            elif score.value:
                same.append(pair)
            else:
                differ.append(pair)
    return same, unknown


def _held(pair: AnswerPair, turned: bool) -> Sample:
    answer, truth = reversed(pair) if turned else pair
    return Sample("", answer, ground_truth=truth)


def _left_out(unknown: Mapping[AnswerPair, Score]) -> dict[str, Score]:
    """Return a small set of answers that covers all unknown pairs, chosen greedily."""
    open_pairs: dict[AnswerPair, Score] = dict(unknown)
    left_out: dict[str, Score] = {}
    while open_pairs:
        counts = Counter(text for pair in open_pairs for text in pair)
        culprit = max(sorted(counts), key=lambda text: (counts[text], len(text)))
        left_out[culprit] = next(s for pair, s in open_pairs.items() if culprit in pair)
        open_pairs = {pair: s for pair, s in open_pairs.items() if culprit not in pair}
    return left_out


def _joined(texts: Sequence[str], same: Sequence[AnswerPair]) -> dict[str, int]:
    """Return the number of each text's class, joining texts transitively."""
    parent = {text: text for text in texts}

    def root(text: str) -> str:
        while parent[text] != text:
            parent[text] = parent[parent[text]]
            text = parent[text]
        return text

    for a, b in same:
        if a in parent and b in parent:
            parent[root(b)] = root(a)
    numbers = {text: number for number, text in enumerate(texts)}
    return {text: numbers[root(text)] for text in texts}
