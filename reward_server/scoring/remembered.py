"""Remember answers, to find one that resembles an answer given to another prompt.

It completes the scores of `duplicates` for one request at a time. The answers of a request are
remembered first and compared afterwards, so that their order within the request does not matter.
Only answers to other prompts are compared: a prompt asked again, the other members of a group and a
request sent twice never count against themselves.

The memory ends with the process. It belongs to one caller, one profile and one configured scorer.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

from msgspec.structs import replace
from prometheus_client.core import GaugeMetricFamily

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.scorers.groups.duplicates import SKETCH, Duplicates
from touchstone_rewards.reward_server.scorers.groups.texts import likeness
from touchstone_rewards.reward_server.telemetry.metrics import MetricReading

# An answer is found by its smallest hashes. Of two answers with a likeness of .3, 997 in 1,000 pairs
# have one of these in common.
INDEXED = 16
# Number of answers found by one hash: the latest. It bounds the work for a phrase that all use.
MOST_ALIKE = 8
MOST_MEMORIES = 16
# Samples of a request that are compared before other tasks get a turn.
SLICE_SAMPLES = 64

NO_PROMPT = sample_error(
    "missing_field", "answers to other prompts are remembered: send the prompt with every sample"
)


class Answer(NamedTuple):
    """A remembered answer: the sample's id, a digest of its prompt, a sketch of the response."""

    id: str
    prompt: bytes
    sketch: Sequence[int]


class Remembered:
    """The last `most` answers, without those that resemble a later one to the same prompt.

    `from_share`: smallest likeness of answers that resemble each other.
    """

    def __init__(self, most: int, from_share: float) -> None:
        self.most, self.from_share = most, from_share
        self._answers: OrderedDict[int, Answer] = OrderedDict()
        self._places: dict[int, list[int]] = {}  # numbers of answers by hash
        self._added = 0

    def __len__(self) -> int:
        return len(self._answers)

    def add(self, answer: Answer) -> None:
        """Remember the answer; forget the oldest one if there are too many."""
        for number, *_ in list(self._alike(answer, same_prompt=True)):
            self._forget(number)
        self._added += 1
        self._answers[self._added] = answer
        for place in answer.sketch[:INDEXED]:
            numbers = self._places.setdefault(place, [])
            numbers.append(self._added)
            del numbers[:-MOST_ALIKE]
        if len(self._answers) > self.most:
            self._forget(next(iter(self._answers)))

    def given_elsewhere(self, answer: Answer) -> list[tuple[float, Answer]]:
        """Return for each other prompt the answer most like this one, with its likeness, the most
        alike first; of many prompts, some of the latest."""
        best: dict[bytes, tuple[float, Answer]] = {}
        for _, other, share in self._alike(answer, same_prompt=False):
            if share > best.get(other.prompt, (0.0,))[0]:
                best[other.prompt] = share, other
        return sorted(best.values(), key=lambda one: -one[0])

    def _alike(self, answer: Answer, *, same_prompt: bool) -> Iterator[tuple[int, Answer, float]]:
        places = (self._places.get(place, ()) for place in answer.sketch[:INDEXED])
        for number in sorted({number for place in places for number in place}):
            other = self._answers[number]
            if (other.prompt == answer.prompt) != same_prompt:
                continue
            share = likeness(answer.sketch, other.sketch)
            if share >= self.from_share:
                yield number, other, share

    def _forget(self, number: int) -> None:
        for place in self._answers.pop(number).sketch[:INDEXED]:
            numbers = self._places.get(place, [])
            if number in numbers:
                numbers.remove(number)
            if not numbers:
                self._places.pop(place, None)


class Memories:
    """The remembered answers of an engine: of at most `MOST_MEMORIES` callers and scorers."""

    def __init__(self) -> None:
        self._memories: OrderedDict[tuple[str, ...], Remembered] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._memories.values()))

    def readings(self) -> list[MetricReading]:
        """Return the metric of the remembered answers."""
        about = "Answers remembered to compare with answers to other prompts"
        counted: Callable[[], dict[str, float]] = lambda: {"answers": float(len(self))}
        return [MetricReading(GaugeMetricFamily, "reward_remembered", about, "unit", counted)]

    async def completed(
        self,
        whose: tuple[str, ...],
        scorer: Duplicates,
        samples: Sequence[Sample],
        scores: Sequence[Score],
        *,
        learn: bool,
    ) -> list[Score]:
        """Return the scores of one request's samples, completed by what was answered before.

        `whose` names caller, profile and scorer. `learn`: remember these answers first.
        """
        memory = self._memories.pop(whose, None) or Remembered(
            scorer.remember, scorer.remembered_share
        )
        self._memories[whose] = memory
        if len(self._memories) > MOST_MEMORIES:
            self._memories.popitem(last=False)
        answers = [_answer(*pair) for pair in zip(samples, scores, strict=True)]
        for at, answer in enumerate(answers if learn else ()):
            await _let_others_run(at)
            if answer.prompt and answer.sketch:
                memory.add(answer)
        found: list[Score] = []
        for at, (score, answer) in enumerate(zip(scores, answers, strict=True)):
            await _let_others_run(at)
            found.append(_completed(score, answer, memory))
        return found


async def _let_others_run(at: int) -> None:
    if at and at % SLICE_SAMPLES == 0:
        await asyncio.sleep(0)


def _answer(sample: Sample, score: Score) -> Answer:
    """Return the sample's answer; without a prompt or a sketch if it has none."""
    prompt = sha256(repr(sample.prompt).encode()).digest()[:16] if sample.prompt else b""
    return Answer(sample.id, prompt, array("I", (score.explanation or {}).get(SKETCH, ())))


def _completed(score: Score, answer: Answer, memory: Remembered) -> Score:
    """Return the lower of the group's score and that of the answers to other prompts."""
    if score.value is None or score.explanation is None:
        return score
    if not answer.prompt:
        return Score(error=NO_PROMPT)
    about = {name: value for name, value in score.explanation.items() if name != SKETCH}
    found = memory.given_elsewhere(answer) if answer.sketch else []
    if not found:
        return replace(score, explanation=about or None)
    share, other = found[0]
    if about:
        about |= {"resembles": other.id, "likeness": round(share, 3), "prompts": len(found)}
    value = min(score.value, -len(found) / (len(found) + 1))
    return replace(score, value=value, explanation=about or None)
