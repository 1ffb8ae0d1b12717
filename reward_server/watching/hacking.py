"""Watch statistics of each profile's samples that change when a policy games its reward.

The statistics cover the last `WINDOW` samples of a profile. They are computed only when read, so a
sample costs about 1 µs, and at most `MOST_A_SECOND` samples per second are recorded. Rewards are
never changed.
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
# Samples beyond this rate are skipped: the window then spans several seconds, and the cost stays
# small. A sample costs 1 to 2 µs, about as much as decoding it.
MOST_A_SECOND = WINDOW // 4
# The final answer is searched in this many last characters, which bounds the cost.
TAIL_CHARACTERS = 2000
LAST_LINE_CHARACTERS = 200
# Two verifiers disagree on a sample if their scores differ by at least this much.
DISAGREES_FROM = 0.5

ScorerPair = tuple[str, str]
# Record of a sample: reward, scores, characters, digest of the response, digest of the answer, and
# whether it has several answers. Without texts memory is bounded; a bare tuple is cheap.
Seen = tuple[float | None, Mapping[str, float | None], int, int, int, bool]
# Possessive quantifiers, and an answer ends where the next one begins, so no text is scanned twice.
_BOX = re.compile(r"\\boxed\s*+\{((?:[^{}]++|\{(?:[^{}]++|\{[^{}]*+\})*+\})*+)\}")
_TAG = re.compile(r"<answer>((?:[^<]++|<(?!/?answer>))*+)</answer>")
_HASHES = re.compile(r"####([^\n]*)")


class Watched(Struct):
    """Statistics of one profile; null if the window is too small.

    `length_correlation`: Pearson correlation of reward and response length in characters. All
    others except `reward_mean` and `reward_std` are shares of the window, from 0 to 1.
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
    """Windows of all profiles. `compared` returns the two scorers that a profile compares."""

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
        """Record the samples and results of a request, unless this second's limit is reached."""
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
        """Record for each sample scored by a second verifier whether the verdicts differ."""
        before = self._shadows.setdefault(profile, deque(maxlen=WINDOW))
        before.extend(differs)
        self._observed[profile] += 1

    @property
    def profiles(self) -> list[str]:
        """Names of the profiles that have scored a sample."""
        return sorted(self._windows)

    def window(self, profile: str) -> Sequence[Seen]:
        """Return the last samples of one profile, the oldest first."""
        return self._windows.get(profile, ())

    def numbers(self, profile: str) -> Watched:
        """Return the current statistics of one profile."""
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
    "length_correlation": "Pearson correlation of reward and response length in characters",
    "identical_responses": "Share of responses identical to an earlier one",
    "commonest_answer": "Share of samples with the most frequent final answer",
    "several_answers": "Share of responses that give several different final answers",
    "disagreement": "Share of samples on which two verifiers disagree",
}


class WatchCollector(Collector):
    """Prometheus collector for the watch's statistics; unknown values are omitted."""

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
    """Return the Pearson correlation, in two passes for numerical stability.

    Return None if there are fewer than two points or one side does not vary.
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
    """Return the final answer found by a text rule, and whether there are several different ones.

    The rule searches the last `TAIL_CHARACTERS` after `</think>` for boxes, else `<answer>` tags,
    else `####`, else takes the last line. It is a cheap heuristic: for example, it counts a list of
    boxes as several answers.
    """
    text = response[-TAIL_CHARACTERS:]
    # Searching for one character is ten times as fast as for a word, and enough for most responses.
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
    """Return, for each sample with both scores, whether the compared scorers disagree."""
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
