"""Tell whether the time that a function takes grows faster than its text, and end a hang.

One text is made four times as long until its time can be told from none; it fails where the time
then grew eight times or more, also when both texts are timed again. How fast the machine is does
not matter: linear work grows four times on every machine, quadratic work sixteen times.
"""

from __future__ import annotations

import gc
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FIRST_CHARS, MOST_CHARS = 500, 130_000
MOST_S = 3.0  # of processor time: linear work takes a hundredth of it
TELLING_S = 0.04  # of processor time: less than this says nothing of growth
MOST_GROWTH = 8.0
# Of processor time, for work that takes some 10 ms: what takes longer hangs.
HANG_S = 20.0

SPACES = [" ", "\n", "\t", "\u00a0", "\\ ", "\\quad ", "\\,", "~", "$ ", " \n"]
WORDS = [
    "\\boxed{12}", "\\boxed{", "\\boxed", "\\fbox", "\\fboxx", "\\f", "}", "{", "or", "and", ",",
    "\\text{ or }", "$", "$$", "\\(", "\\)", "\\[", "\\]", "<answer>", "</answer>", "<think>",
    "</think>", "####", "the answer is ", "answer:", "A:", "final answer", "result is", "答案",
    "12", "1,000", "1 000", ".", "-", "/", "%", "=", "x", "\\frac{1}{2}", "(", ")", "|", "^", "_",
    "!", "</s>", "<|im_end|>", "<|", "wait", "not", "**", "\\begin{cases}", "&", "\\\\", "\u3002",
    "I", "is wrong", "a.m.", ":", "integer", "where n is an ", "<sup>", "\\", "é", "½", "²",
]  # fmt: skip

Build = Callable[[int], str]


def drawn_texts(count: int, seed: int) -> list[Build]:
    """Return texts with one or two long runs, of one piece or two alternating, between short
    pieces.
    """
    drawn = random.Random(seed)

    def short() -> str:
        return "".join(drawn.choice(WORDS + SPACES) for _ in range(drawn.randint(0, 3)))

    texts: list[Build] = []
    for _ in range(count):
        runs = [_run(drawn) for _ in range(drawn.randint(1, 3))]
        between = [short() for _ in range(len(runs) + 1)]
        texts.append(lambda size, r=runs, b=between: _joined(r, b, size))
    return texts


def _run(drawn: random.Random) -> str:
    pools = [SPACES, SPACES, WORDS, WORDS + SPACES]
    return "".join(drawn.choice(drawn.choice(pools)) for _ in range(drawn.randint(1, 3)))


def _joined(runs: list[str], between: list[str], size: int) -> str:
    each = size // len(runs)
    parts = [b + r * (each // len(r)) for b, r in zip(between, runs, strict=False)]
    return "".join([*parts, between[-1]])


class TookTooLong(Exception):
    """Work on one text took `MOST_S`."""


@contextmanager
def at_most(limit_s: float) -> Iterator[None]:
    """Interrupt the block after `limit_s` of processor time, even within a regular expression."""

    def stop(*_: object) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _took_s(judge: Callable[[str], object], text: str) -> float:
    """Return the processor time of judging a text, the least of a few."""
    best = float("inf")
    # A collection takes as long as everything that the tests before have left in memory.
    gc.disable()
    try:
        for _ in range(3):
            started_s = time.process_time()
            with at_most(MOST_S):
                judge(text)
            best = min(best, time.process_time() - started_s)
            if best < TELLING_S:
                break
    except TookTooLong:
        return MOST_S
    finally:
        gc.enable()
    return best


def growth(judge: Callable[[str], object], build: Build) -> tuple[float, str]:
    """Return how many times longer a text of four times the length takes, and the text; 0 if no
    text takes long enough or much longer."""
    size, before = FIRST_CHARS, 0.0
    while size <= MOST_CHARS:
        text = build(size)
        now = _took_s(judge, text)
        if now >= MOST_S:
            return now / (before or TELLING_S), text
        if now >= TELLING_S and before and now / before >= MOST_GROWTH:
            # Something else may have slowed one of the two.
            again = max(_took_s(judge, build(size // 4)), before)
            grew = min(_took_s(judge, text), now) / again
            if grew >= MOST_GROWTH:
                return grew, text
        size, before = size * 4, max(now, TELLING_S / 16)
    return 0.0, ""
