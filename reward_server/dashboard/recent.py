"""Keep the latest scored samples in memory for the dashboard, bounded in count and bytes.

The dashboard lists excerpts and opens a whole sample on request. Nothing is written to disk;
explanations are computed on request.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from touchstone_rewards.reward_server.schemas import (
    Message,
    Sample,
    SampleError,
    SampleResult,
)
from touchstone_rewards.reward_server.turn_texts import (
    response_text,
)
from touchstone_rewards.reward_server.watching.held_bytes import held_bytes
from touchstone_rewards.reward_server.watching.signals import excerpt

# A sample with more bytes of JSON is shown as an excerpt only.
MAX_SAMPLE_BYTES = 32 * 1024
# Upper bound on bytes in memory per byte of JSON, reached by `[],`.
ROOM_OF_OBJECTS = 32
# A whole sample plus its list entry: four excerpts, scores, an error's message.
SLOT_BYTES = MAX_SAMPLE_BYTES + 32 * 1024
# Nobody reads faster, and each sample costs some 10 µs.
KEPT_A_SECOND = 50


class Recent(Struct):
    """List entry of one sample. `seq`: a running number. `at_s`: Unix time."""

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


_decode_listed = msgspec.json.Decoder(tuple[Recent, msgspec.Raw]).decode
_decode_whole = msgspec.json.Decoder(tuple[Recent, Sample | None]).decode


class RecentSamples:
    """The last `size` samples: at most `KEPT_A_SECOND` per second, spread evenly over the request.

    They are stored as JSON in memory allocated once: blocks that live for seconds among short-lived
    ones would fragment the heap.
    """

    def __init__(self, size: int, clock: Callable[[], float] = time.time) -> None:
        self._size = size
        self._memory = mmap.mmap(-1, max(1, size) * SLOT_BYTES)
        self._lengths = [0] * size
        self._clock = clock
        self._seq = 0
        self._second = 0
        self._left = 0

    def observe(
        self, profile: str, samples: Sequence[Sample], results: Sequence[SampleResult]
    ) -> None:
        """Keep some of these samples."""
        now_s = self._clock()
        if now_s >= self._second + 1 or now_s < self._second:
            self._second, self._left = int(now_s), KEPT_A_SECOND
        if not self._left:
            return
        room = min(len(samples), self._left, self._size)
        self._left -= room
        for place in range(room):
            i = place * len(samples) // room
            self._keep(now_s, profile, samples[i], results[i])

    def since(self, seq: int) -> list[Recent]:
        """Return the entries after number `seq`, the oldest first."""
        oldest = max(seq, self._seq - self._size) + 1
        return [_decode_listed(self._slot(n))[0] for n in range(oldest, self._seq + 1)]

    def whole(self, seq: int) -> tuple[str, Sample] | None:
        """Return profile and sample of number `seq`; None if it is gone or was too large."""
        if not max(0, self._seq - self._size) < seq <= self._seq:
            return None
        recent, sample = _decode_whole(self._slot(seq))
        return None if sample is None else (recent.profile, sample)

    def all_whole(self) -> list[tuple[float | None, Sample]]:
        """Return the samples kept whole, each with its reward, newest first."""
        newest_first = range(self._seq, max(0, self._seq - self._size), -1)
        kept = (_decode_whole(self._slot(seq)) for seq in newest_first)
        return [(recent.reward, sample) for recent, sample in kept if sample is not None]

    def _keep(self, now_s: float, profile: str, sample: Sample, result: SampleResult) -> None:
        prompt = _prompt_text(sample.prompt)
        whole = _encoded(sample, len(prompt))
        recent = Recent(
            seq=self._seq + 1,
            at_s=round(now_s, 3),
            profile=profile,
            id=excerpt(sample.id),
            prompt=excerpt(prompt),
            response=excerpt(response_text(sample.response)),
            ground_truth=excerpt("" if sample.ground_truth is None else str(sample.ground_truth)),
            reward=result.reward,
            scores=result.scores,
            error=result.error,
            can_open=whole is not None,
        )
        kept = msgspec.json.encode((recent, msgspec.Raw(whole or b"null")))
        if len(kept) > SLOT_BYTES:
            return
        self._seq += 1
        start = self._start(self._seq)
        self._memory[start : start + len(kept)] = kept
        self._lengths[self._seq % self._size] = len(kept)

    def _slot(self, seq: int) -> bytes:
        start = self._start(seq)
        return self._memory[start : start + self._lengths[seq % self._size]]

    def _start(self, seq: int) -> int:
        return seq % self._size * SLOT_BYTES


def _encoded(sample: Sample, prompt_characters: int) -> bytes | None:
    if len(response_text(sample.response)) + prompt_characters > MAX_SAMPLE_BYTES:
        return None
    # An object takes more memory than its JSON, but by less than this factor.
    most_bytes = ROOM_OF_OBJECTS * MAX_SAMPLE_BYTES
    if held_bytes([sample], most=most_bytes) > most_bytes:
        return None
    encoded = msgspec.json.encode(sample)
    return encoded if len(encoded) <= MAX_SAMPLE_BYTES else None


def _prompt_text(prompt: str | list[Message] | None) -> str:
    if isinstance(prompt, list):
        return "\n".join(f"{turn.role}: {turn.content}" for turn in prompt)
    return prompt or ""
