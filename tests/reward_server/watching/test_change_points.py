"""A change is reported once, with its beginning; noise, one outlier and a lost reward are not
changes.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from touchstone_rewards.reward_server.watching.change_points import (
    ChangePoint,
    Detector,
    DetectorConfig,
    RewardHolds,
    baseline,
)

CONFIG = DetectorConfig(first=20, spread=4.0, threshold=3.0, patience=3)


def changes(values: Iterable[float], *, rises: bool = True) -> list[tuple[int, ChangePoint]]:
    detector = Detector(rises, 0.1, CONFIG)
    found = [(at, detector.take(at, value)) for at, value in enumerate(values)]
    return [(at, change) for at, change in found if change is not None]


def noise(count: int, seed: int = 0) -> list[float]:
    rng = random.Random(seed)
    return [0.5 + rng.gauss(0, 0.05) for _ in range(count)]


def test_noise_is_no_change() -> None:
    assert not any(changes(noise(1000, seed)) for seed in range(20))


@pytest.mark.parametrize("rises", [True, False])
def test_a_lasting_change_is_told_once_with_where_it_began(rises: bool) -> None:
    high, low = [0.9] * 60, [0.1] * 60
    values = [0.5] * 40 + (high if rises else low)
    [(at, change)] = changes(values, rises=rises)
    # Beyond the first unit of 0.1 each value adds 3, of which one counts for 1 at the most.
    assert at == 42
    assert change._replace(value=0.0) == ChangePoint(40, 0.5, 0.1, 0.0)
    assert change.value == pytest.approx(0.9 if rises else 0.1)
    assert not changes(values, rises=not rises)


def test_one_outlier_is_no_change() -> None:
    assert not changes([0.5] * 30 + [100.0] + [0.5] * 30)


def test_a_slow_drift_beyond_what_matters_is_a_change() -> None:
    [(at, change), *_] = changes([0.5] * 30 + [0.5 + 0.005 * step for step in range(100)])
    assert change.since > 30 + 20  # the unit of 0.1 is left after 20 steps
    assert at < 30 + 50


def test_a_change_that_is_not_allowed_waits_until_it_is() -> None:
    detector = Detector(True, 0.1, CONFIG)
    found = [detector.take(at, 0.0 if at < 30 else 1.0, allowed=at >= 60) for at in range(61)]
    assert [at for at, change in enumerate(found) if change] == [60]


def test_the_unit_is_the_larger_of_what_matters_and_the_spread() -> None:
    assert baseline([1.0, 1.0, 1.0], 0.1, 4.0) == (1.0, 0.1)
    # The median deviation of 0, 2, 4 from 2 is 2.
    assert baseline([0.0, 2.0, 4.0], 0.1, 4.0) == (2.0, pytest.approx(4 * 2 * 1.4826))


def test_the_reward_holds_unless_its_last_five_are_below_its_first_part() -> None:
    holds = RewardHolds(first=4)
    assert all(holds.take(0.5) for _ in range(4))
    assert not [holds.take(0.0) for _ in range(5)][-1]
    assert not holds.take(None)
    assert [holds.take(0.7) for _ in range(5)][-1]
