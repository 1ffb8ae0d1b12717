"""Remember responses, to find one that resembles a response given to another prompt.

It completes the scores of `duplicates` for one request at a time. The responses of a request are
remembered first and compared afterwards, so that their order within the request does not matter.
Only responses to other prompts are compared: a prompt asked again, the other members of a group and
a request sent twice never count against themselves.

The memory ends with the process. It belongs to one caller, one profile and one configured scorer.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
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

# A response is found by its smallest hashes: 997 in 1,000 pairs with a likeness of .3 have one of
# these in common.
INDEXED = 16
# Number of responses found by one hash: the latest. It bounds the work for a phrase that all use.
MOST_ALIKE = 8
MOST_MEMORIES = 16
SHOWN_CHARACTERS = 80
# Samples of a request that are compared before other tasks get a turn.
SLICE_SAMPLES = 64

NO_PROMPT = sample_error(
    "missing_field", "responses to other prompts are remembered: send the prompt with every sample"
)


class SeenResponse(NamedTuple):
    """A remembered response: the sample's id, a digest of its prompt, a sketch of the response."""

    id: str
    prompt: bytes
    sketch: Sequence[int]


class Remembered:
    """The last `most` responses, without those that resemble a later one to the same prompt.

    `from_share`: smallest likeness of responses that resemble each other.
    """

    def __init__(self, most: int, from_share: float) -> None:
        self.most, self.from_share = most, from_share
        self._responses: OrderedDict[int, SeenResponse] = OrderedDict()
        self._places: dict[int, list[int]] = {}  # numbers of responses by hash
        self._added = 0

    def __len__(self) -> int:
        return len(self._responses)

    def add(self, response: SeenResponse) -> None:
        """Remember the response; forget the oldest one if there are too many."""
        for number, *_ in list(self._alike(response, same_prompt=True)):
            self._forget(number)
        self._added += 1
        self._responses[self._added] = response
        for place in response.sketch[:INDEXED]:
            numbers = self._places.setdefault(place, [])
            numbers.append(self._added)
            del numbers[:-MOST_ALIKE]
        if len(self._responses) > self.most:
            self._forget(next(iter(self._responses)))

    def given_elsewhere(self, response: SeenResponse) -> list[tuple[float, SeenResponse]]:
        """Return for each other prompt the response most like this one, with its likeness, the most
        alike first; of many prompts, some of the latest."""
        best: dict[bytes, tuple[float, SeenResponse]] = {}
        for _, other, share in self._alike(response, same_prompt=False):
            if share > best.get(other.prompt, (0.0,))[0]:
                best[other.prompt] = share, other
        return sorted(best.values(), key=lambda one: -one[0])

    def _alike(
        self, response: SeenResponse, *, same_prompt: bool
    ) -> Iterator[tuple[int, SeenResponse, float]]:
        mine = {*response.sketch}
        places = (self._places.get(place, ()) for place in response.sketch[:INDEXED])
        for number in sorted({number for place in places for number in place}):
            other = self._responses[number]
            if (other.prompt == response.prompt) != same_prompt:
                continue
            least = self.from_share * max(len(mine), len(other.sketch))
            if len(mine.intersection(other.sketch)) < least:
                continue  # too few for this share; a sixth of the work
            share = likeness(response.sketch, other.sketch)
            if share >= self.from_share:
                yield number, other, share

    def _forget(self, number: int) -> None:
        for place in self._responses.pop(number).sketch[:INDEXED]:
            numbers = self._places.get(place, [])
            if number in numbers:
                numbers.remove(number)
            if not numbers:
                self._places.pop(place, None)


class Memories:
    """The remembered responses of an engine: of at most `MOST_MEMORIES` callers and scorers."""

    def __init__(self) -> None:
        self._memories: OrderedDict[tuple[str, ...], Remembered] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._memories.values()))

    def readings(self) -> list[MetricReading]:
        """Return the metric of the remembered responses."""
        about = "Responses remembered to compare with responses to other prompts"

        def counted() -> dict[str, float]:
            return {"responses": float(len(self))}

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

        `whose` names caller, profile and scorer. `learn`: remember these responses first.
        """
        if whose not in self._memories:
            self._memories[whose] = Remembered(scorer.remember, scorer.remembered_share)
        self._memories.move_to_end(whose)
        memory = self._memories[whose]
        if len(self._memories) > MOST_MEMORIES:
            self._memories.popitem(last=False)
        responses = [_seen(*pair) for pair in zip(samples, scores, strict=True)]
        for at, response in enumerate(responses if learn else ()):
            await _let_others_run(at)
            if response.prompt and response.sketch:
                memory.add(response)
        found: list[Score] = []
        for at, (score, response) in enumerate(zip(scores, responses, strict=True)):
            await _let_others_run(at)
            found.append(_completed(score, response, memory))
        return found


async def _let_others_run(at: int) -> None:
    if at and at % SLICE_SAMPLES == 0:
        await asyncio.sleep(0)


def _seen(sample: Sample, score: Score) -> SeenResponse:
    """Return the sample's response; without a prompt or a sketch if it has none."""
    prompt = sha256(repr(sample.prompt).encode()).digest()[:16] if sample.prompt else b""
    found = array("I", (score.explanation or {}).get(SKETCH, ()))
    return SeenResponse(sample.id[:SHOWN_CHARACTERS], prompt, found)


def _completed(score: Score, response: SeenResponse, memory: Remembered) -> Score:
    """Return the lower of the group's score and that of the responses to other prompts."""
    if score.value is None or score.explanation is None:
        return score
    if not response.prompt:
        return Score(error=NO_PROMPT)
    about = {name: value for name, value in score.explanation.items() if name != SKETCH}
    found = memory.given_elsewhere(response) if response.sketch else []
    if not found:
        return replace(score, explanation=about or None)
    share, other = found[0]
    if about:
        about |= {"resembles": other.id, "likeness": round(share, 3), "prompts": len(found)}
    value = min(score.value, -len(found) / (len(found) + 1))
    return replace(score, value=value, explanation=about or None)
