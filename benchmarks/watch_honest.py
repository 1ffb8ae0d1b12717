"""The false alarms of the watch on honest runs with new seeds, not used for choosing thresholds.

Signals and thresholds are those that the server ships. docs/watch.md has the figures.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from itertools import product
from typing import Any

from benchmarks import record
from benchmarks._watch_runs import HONEST, TASKS, UPDATES, simulated
from benchmarks.watch import alarms_of, points_of
from touchstone_rewards.reward_server.watching.change_points import DetectorConfig

# Each run has a unique seed: the seed also sets the policy, so runs that share one are alike.
FIRST_SEED, RUNS_OF_EACH = 60_000, 4


def poisson_at_most(count: int, mean: float) -> float:
    """Return the probability of at most `count` events if `mean` are expected."""
    return math.exp(-mean) * sum(mean**each / math.factorial(each) for each in range(count + 1))


def poisson_interval(count: int) -> tuple[float, float]:
    """Return the exact 95% interval of the expected number of events, given the observed count.

    Source: F. Garwood, "Fiducial Limits for the Poisson Distribution", Biometrika 28 (1936).
    """
    return (_mean_of(count - 1, 0.975) if count else 0.0), _mean_of(count, 0.025)


def _mean_of(count: int, probability: float) -> float:
    """Return the mean for which at most `count` events have this probability, by bisection."""
    low, high = 0.0, 10.0 + 3 * count
    for _ in range(60):
        middle = (low + high) / 2
        if poisson_at_most(count, middle) > probability:
            low = middle
        else:
            high = middle
    return low


def row_of(name: str, task: str, seed: int) -> dict[str, Any]:
    """Return the alarms of one run with the defaults, each with its update and signal."""
    kind = HONEST[name]
    updates = simulated(task, kind, seed, hacked=False)
    alarms = alarms_of(points_of(updates, kind), DetectorConfig())
    found = [[alarm.update, alarm.signal] for alarm in alarms]
    print(f"{name}, {task}, seed {seed}: {found}", file=sys.stderr, flush=True)
    return {"what": f"{name}, {task}, seed {seed}", "alarms": found}


def main() -> None:
    runs = list(product(range(RUNS_OF_EACH), HONEST, TASKS))
    rows = [row_of(name, task, FIRST_SEED + at) for at, (_, name, task) in enumerate(runs)]
    signals = [signal for row in rows for _, signal in row["alarms"]]
    updates = len(rows) * UPDATES
    per_1000 = [1000 * each / updates for each in (len(signals), *poisson_interval(len(signals)))]
    record(
        "watch_honest",
        rows,
        runs=len(rows),
        updates=updates,
        false_alarms=len(signals),
        runs_with_alarms=sum(bool(row["alarms"]) for row in rows),
        per_1000=dict(zip(("rate", "low", "high"), (round(x, 2) for x in per_1000), strict=True)),
        signals=dict(Counter(signals)),
    )


if __name__ == "__main__":
    main()
