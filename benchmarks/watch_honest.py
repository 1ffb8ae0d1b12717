"""How often the watch cries wolf: honest runs of seeds by which nothing was chosen.

The signals and the thresholds are those that the server ships. The figures stand in docs/watch.md.
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

# Each run has a seed of its own: it draws the policy too, so runs that share one are alike.
FIRST_SEED, RUNS_OF_EACH = 60_000, 4


def poisson_at_most(count: int, mean: float) -> float:
    """The probability of `count` events or fewer where `mean` are expected."""
    return math.exp(-mean) * sum(mean**each / math.factorial(each) for each in range(count + 1))


def poisson_interval(count: int) -> tuple[float, float]:
    """The exact 95% interval of the events to expect where `count` were seen.

    Source: F. Garwood, "Fiducial Limits for the Poisson Distribution", Biometrika 28 (1936).
    """
    return (_mean_of(count - 1, 0.975) if count else 0.0), _mean_of(count, 0.025)


def _mean_of(count: int, probability: float) -> float:
    """The mean of which `count` or fewer have this probability, by bisection."""
    low, high = 0.0, 10.0 + 3 * count
    for _ in range(60):
        middle = (low + high) / 2
        if poisson_at_most(count, middle) > probability:
            low = middle
        else:
            high = middle
    return low


def row_of(name: str, task: str, seed: int) -> dict[str, Any]:
    """The alarms of one run under the defaults, each with its update and signal."""
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
