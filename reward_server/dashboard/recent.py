"""The last samples that were scored, for people to look at: in memory, bounded in count and bytes.

In: the samples and results of each request. Out: excerpts of the newest, and a whole sample again
when someone opens it. Nothing is written anywhere; explanations are not made until asked for.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from reward_server.schemas import Message, Sample, SampleError, SampleResult

EXCERPT_CHARACTERS = 300
# A sample that is larger as JSON is shown as an excerpt, and cannot be opened.
MAX_SAMPLE_BYTES = 32 * 1024
# Faster than this no one reads, and each costs some 10 µs.
KEPT_A_SECOND = 50


class Recent(Struct):
    """One sample as the list shows it; `seq` counts up, `at_s` is Unix time."""

    seq: int
    at_s: float
    profile: str
    id: str
    prompt: str
    response: str
    ground_truth: str
    reward: float | None
    scores: dict[str, float | None]
    error: SampleError | None
    can_open: bool


class RecentSamples:
    """The last `size` samples, at most `KEPT_A_SECOND` of each second, spread over the request."""

    def __init__(self, size: int, clock: Callable[[], float] = time.time) -> None:
        self._kept: deque[tuple[Recent, bytes | None]] = deque(maxlen=size)
        self._clock = clock
        self._seq = 0
        self._second = 0
        self._left = 0

    def observe(
        self, profile: str, samples: Sequence[Sample], results: Sequence[SampleResult]
    ) -> None:
        """Keep some of these."""
        now_s = self._clock()
        if int(now_s) != self._second:
            self._second, self._left = int(now_s), KEPT_A_SECOND
        room = min(len(samples), self._left, self._kept.maxlen or 0)
        self._left -= room
        for place in range(room):
            i = place * len(samples) // room
            self._keep(now_s, profile, samples[i], results[i])

    def since(self, seq: int) -> list[Recent]:
        """What came after number `seq`, the oldest first."""
        return [recent for recent, _ in self._kept if recent.seq > seq]

    def whole(self, seq: int) -> tuple[str, Sample] | None:
        """Profile and sample of number `seq`; None where it is no longer kept, or was too large."""
        found = next((pair for pair in self._kept if pair[0].seq == seq), None)
        if found is None or found[1] is None:
            return None
        return found[0].profile, msgspec.json.decode(found[1], type=Sample)

    def _keep(self, now_s: float, profile: str, sample: Sample, result: SampleResult) -> None:
        self._seq += 1
        whole = _encoded(sample)
        recent = Recent(
            seq=self._seq,
            at_s=round(now_s, 3),
            profile=profile,
            id=excerpt(sample.id),
            prompt=excerpt(_prompt_text(sample.prompt)),
            response=excerpt(sample.response),
            ground_truth=excerpt("" if sample.ground_truth is None else str(sample.ground_truth)),
            reward=result.reward,
            scores=result.scores,
            error=result.error,
            can_open=whole is not None,
        )
        self._kept.append((recent, whole))


def excerpt(text: str) -> str:
    """The beginning and the end of a long text, which is where the answer stands."""
    if len(text) <= EXCERPT_CHARACTERS:
        return text
    half = EXCERPT_CHARACTERS // 2
    return f"{text[:half]} … {text[-half:]}"


def _encoded(sample: Sample) -> bytes | None:
    if len(sample.response) > MAX_SAMPLE_BYTES:
        return None
    encoded = msgspec.json.encode(sample)
    return encoded if len(encoded) <= MAX_SAMPLE_BYTES else None


def _prompt_text(prompt: str | list[Message] | None) -> str:
    if isinstance(prompt, list):
        return "\n".join(f"{turn.role}: {turn.content}" for turn in prompt)
    return prompt or ""
