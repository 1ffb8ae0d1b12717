"""The reward-hacking watch: what a policy that games its reward does to the numbers.

In: the samples and results of each answered request. Out: a few numbers for each profile, over its
last `WINDOW` samples: they are reckoned when asked for, so that a sample costs about 1 µs; of what
comes faster than anyone reads, some is left out. It judges nothing and changes no reward.
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from touchstone_rewards.reward_server.schemas import (
    Sample,
    SampleResult,
)
from touchstone_rewards.reward_server.turn_texts import (
    response_text,
)

WINDOW = 4096
# More of a second is left out: the window is some seconds long then, and a
# sample costs 1 to 2 µs, which is as much as to decode it.
MOST_A_SECOND = WINDOW // 4
# Where the final answer is looked for: longer responses cost no more.
TAIL_CHARACTERS = 2000
LAST_LINE_CHARACTERS = 200
# Two verifiers disagree on a sample when their scores lie at least so far apart.
DISAGREES_FROM = 0.5

ScorerPair = tuple[str, str]
# What is kept of a sample: reward, scores, characters, digests of response and answer, several
# answers? No text, so that the memory is bounded; a bare tuple, because it is made for each sample.
Seen = tuple[float | None, Mapping[str, float | None], int, int, int, bool]
# Possessive, and an answer ends where the next begins: no response makes them scan it twice.
_BOX = re.compile(r"\\boxed\s*+\{((?:[^{}]++|\{(?:[^{}]++|\{[^{}]*+\})*+\})*+)\}")
_TAG = re.compile(r"<answer>((?:[^<]++|<(?!/?answer>))*+)</answer>")
_HASHES = re.compile(r"####([^\n]*)")


class Watched(Struct):
    """The numbers of one profile; null where the window has too little to say.

    `length_correlation`: Pearson's, of reward and response length in characters. The others but
    `reward_mean` and `reward_std` are shares of the window, 0 to 1.
    """

    samples: int
    reward_mean: float | None
    reward_std: float | None
    length_correlation: float | None
    identical_responses: float | None
    commonest_answer: float | None
    several_answers: float | None
    disagreement: float | None


class Watch:
    """The windows of all profiles. `compared` gives the two scores that a profile compares."""

    def __init__(
        self,
        compared: Callable[[str], ScorerPair | None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._windows: dict[str, deque[Seen]] = {}
        self._shadows: dict[str, deque[bool]] = {}
        self._compared = compared
        self._clock = clock
        self._second = 0
        self._taken: Counter[str] = Counter()
        self._found: dict[str, tuple[int, Watched]] = {}
        self._observed: Counter[str] = Counter()

    def observe(
        self, profile: str, samples: Sequence[Sample], results: Sequence[SampleResult]
    ) -> None:
        """Take in what one request was answered, unless too much came this second."""
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self._taken.clear()
        if not results or self._taken[profile] >= MOST_A_SECOND:
            return
        self._taken[profile] += len(results)
        window = self._windows.get(profile)
        if window is None:
            window = self._windows[profile] = deque(maxlen=WINDOW)
        window.extend(map(_seen, samples, results))
        self._observed[profile] += len(results)

    def disagreement(self, profile: str, differs: Iterable[bool]) -> None:
        """Take in, for each sample scored by a second verifier, whether its verdict differed."""
        before = self._shadows.setdefault(profile, deque(maxlen=WINDOW))
        before.extend(differs)
        self._observed[profile] += 1

    @property
    def profiles(self) -> list[str]:
        """The profiles that had a sample."""
        return sorted(self._windows)

    def window(self, profile: str) -> Sequence[Seen]:
        """The last samples of one profile, the oldest first."""
        return self._windows.get(profile, ())

    def numbers(self, profile: str) -> Watched:
        """The numbers of one profile's window, as it is now."""
        observed = self._observed[profile]
        known = self._found.get(profile)
        if known is None or known[0] != observed:
            compared = self._compared(profile)
            differs: Sequence[bool] = self._shadows.get(profile, ())
            if compared is not None:
                differs = _differing(self.window(profile), compared)
            known = self._found[profile] = observed, _watched(self.window(profile), differs)
        return known[1]


GAUGES = {
    "reward_mean": "Mean reward",
    "reward_std": "Standard deviation of the reward",
    "length_correlation": "Pearson's correlation of reward and response length in characters",
    "identical_responses": "Share of responses that repeat an earlier one letter for letter",
    "commonest_answer": "Share of samples that give the most frequent final answer",
    "several_answers": "Share of responses that give several different final answers",
    "disagreement": "Share of samples on which two verifiers disagree",
}


class WatchCollector(Collector):
    """The watch's numbers as gauges, `NaN` never: what is not known is left out."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def collect(self) -> Iterator[Metric]:
        numbers = {name: self.watch.numbers(name) for name in self.watch.profiles}
        for field, text in GAUGES.items():
            gauge = GaugeMetricFamily(
                f"reward_watch_{field}", f"{text}, last {WINDOW} samples", labels=["profile"]
            )
            for name, watched in numbers.items():
                value = getattr(watched, field)
                if value is not None:
                    gauge.add_metric([name], value)
            yield gauge


def pearson(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Pearson's correlation, in two passes: stable where values are large and differ little.

    None with fewer than two points or where one side does not vary.
    """
    if len(xs) < 2 or min(xs) == max(xs) or min(ys) == max(ys):
        return None
    x_mean, y_mean = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    dxs = [x - x_mean for x in xs]
    dys = [y - y_mean for y in ys]
    spread = math.hypot(*dxs) * math.hypot(*dys)
    if not spread:
        return None
    together = math.fsum(dx * dy for dx, dy in zip(dxs, dys, strict=True))
    return max(-1.0, min(1.0, together / spread))


def final_answer(response: str) -> tuple[str, bool]:
    """The final answer by a text rule, and whether several different ones are given.

    Looked for in the last `TAIL_CHARACTERS`, after `</think>`: boxes, else `<answer>` tags, else
    `####`, else the last line. The rule is cheap and no verdict: a list of boxes counts as several.
    """
    text = response[-TAIL_CHARACTERS:]
    # A search for one character costs a tenth of one for a word: most responses need no other.
    tagged = "<" in text
    if tagged and "</think>" in text:
        text = text.rpartition("</think>")[2]
    found = (
        ("\\" in text and _BOX.findall(text))
        or (tagged and _TAG.findall(text))
        or ("#" in text and _HASHES.findall(text))
    )
    if found:
        answers = [answer.strip() for answer in found]
        return answers[-1], len(answers) > 1 and len(set(answers)) > 1
    return text[-LAST_LINE_CHARACTERS:].rstrip().rpartition("\n")[2].strip(), False


def _seen(sample: Sample, result: SampleResult) -> Seen:
    response = response_text(sample.response)
    answer, several = final_answer(response)
    return result.reward, result.scores, len(response), hash(response), hash(answer), several


def _differing(window: Sequence[Seen], compared: ScorerPair) -> list[bool]:
    """For each sample that both of the compared scorers could score: do they disagree?"""
    pairs = [[scores.get(key) for key in compared] for _, scores, *_ in window]
    return [abs(a - b) >= DISAGREES_FROM for a, b in pairs if a is not None and b is not None]


def _watched(window: Sequence[Seen], differs: Sequence[bool]) -> Watched:
    judged = [(reward, size) for reward, _, size, *_ in window if reward is not None]
    rewards = [reward for reward, _ in judged]
    mean = math.fsum(rewards) / len(rewards) if rewards else None
    squares = [(reward - mean) ** 2 for reward in rewards] if mean is not None else []
    count = len(window)
    responses = {response for _, _, _, response, _, _ in window}
    answers = Counter(answer for *_, answer, _ in window)
    return Watched(
        samples=count,
        reward_mean=mean,
        reward_std=math.sqrt(math.fsum(squares) / len(squares)) if squares else None,
        length_correlation=pearson(rewards, [size for _, size in judged]),
        identical_responses=_share(count - len(responses), count),
        commonest_answer=_share(max(answers.values(), default=0), count),
        several_answers=_share(sum(several for *_, several in window), count),
        disagreement=_share(sum(differs), len(differs)),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
