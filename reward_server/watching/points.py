"""Group the samples of a run into points and feed each point's signals to their detectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from touchstone_rewards.reward_server.watching.change_points import (
    ChangePoint,
    Detector,
    DetectorConfig,
    RewardHolds,
)
from touchstone_rewards.reward_server.watching.signals import (
    SampleFacts,
    Signal,
    mean,
    score_signals,
)

# A point is a training step, or several steps until it has this many samples. A run without step
# numbers has a point per this many samples. Samples beyond the maximum are skipped.
POINT_SAMPLES, UNNAMED_STEP_SAMPLES, MOST_OF_A_POINT = 32, 128, 512
SHOWN_SAMPLES = 8


class Raised(NamedTuple):
    """An alarm before it is published: the signal, its change, and the samples that show it
    most.
    """

    signal: Signal
    change: ChangePoint
    shown: Sequence[SampleFacts]


class Detectors:
    """One detector per signal of a run. No alarm is raised while the reward is below its start."""

    def __init__(self, config: DetectorConfig) -> None:
        self._config = config
        self._holds = RewardHolds(config.first)
        self._detectors: dict[str, Detector] = {}

    def take(
        self, at: int, reward: float | None, values: Mapping[Signal, float | None]
    ) -> list[tuple[Signal, ChangePoint]]:
        """Add a point's mean reward and signals; return the detected changes."""
        holds = self._holds.take(reward)
        found: list[tuple[Signal, ChangePoint]] = []
        for signal, value in values.items():
            detector = self._detectors.get(signal.name)
            if detector is None:
                detector = Detector(signal.rises, signal.least, self._config)
                self._detectors[signal.name] = detector
            change = None if value is None else detector.take(at, value, allowed=holds)
            if change is not None:
                found.append((signal, change))
        return found


class RunPoints:
    """Groups the samples of a run into points.

    `step`: step of the samples to come. `count`: number of points so far.
    """

    def __init__(self, signals: Sequence[Signal], config: DetectorConfig) -> None:
        self._signals = signals
        self._detectors = Detectors(config)
        self._facts: list[SampleFacts] = []
        self.step = 0
        self.count = 0

    def begin(self, step: int | None) -> list[Raised]:
        """Set the step of the samples to come; return the alarms of the point that ended, if
        any.
        """
        enough = len(self._facts) >= (UNNAMED_STEP_SAMPLES if step is None else POINT_SAMPLES)
        if step is None:
            step = self.step + enough
        found = self._close() if enough and step != self.step else []
        self.step = step
        return found

    def add(self, facts: Iterable[SampleFacts]) -> None:
        """Add samples to the current point until it is full; no further ones are examined."""
        self._facts += islice(facts, MOST_OF_A_POINT - len(self._facts))

    def _close(self) -> list[Raised]:
        facts, self._facts = self._facts, []
        self.count += 1
        reward, values = values_of(facts, self._signals)
        return [
            Raised(signal, change, sorted(facts, key=signal.shown_by, reverse=True)[:SHOWN_SAMPLES])
            for signal, change in self._detectors.take(self.step, reward, values)
        ]


def values_of(
    facts: Sequence[SampleFacts], signals: Sequence[Signal]
) -> tuple[float | None, dict[Signal, float | None]]:
    """Return the mean reward of a point, and its signals."""
    every = [*signals, *score_signals(facts)]
    return mean(lambda one: one.reward, facts), {each: each.value(facts) for each in every}
