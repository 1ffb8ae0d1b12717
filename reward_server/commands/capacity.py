"""How many cores and GPUs the rewards of a training run need.

In: the run's samples and seconds a step, and what a sample costs, measured by `make bench
BENCH=capacity`. Out: a plan. It measures nothing itself, and it is arithmetic: no queueing theory.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).parent / "capacity.json"
# A core that is asked for more than this share of its time makes its callers wait in a queue.
BUSY_SHARE = 0.7


@dataclass(frozen=True)
class Cost:
    """What one sample costs, in milliseconds of processor time.

    `server_ms` is spent in the processes that serve, each of which is one core at most;
    `worker_ms` in their workers, of which there are as many as one likes.
    """

    server_ms: float
    worker_ms: float


@dataclass(frozen=True)
class PlannedModel:
    """A reward model or an embedding model: two operations a parameter and token."""

    parameters: float
    tokens: float
    operations_per_s: float

    @property
    def ms(self) -> float:
        """Milliseconds of one device for one sample."""
        return 2 * self.parameters * self.tokens / self.operations_per_s * 1e3


@dataclass(frozen=True)
class CapacityPlan:
    """What is needed. `samples_per_s` is the rate in the time that the rewards have;
    `processes`: those of one server, a core each; `worker_cores`: how many cores the workers of all
    of them keep busy, together."""

    samples_per_s: float
    processes: int
    worker_cores: int
    devices: int

    @property
    def workers(self) -> int:
        """Workers of all processes; each has one at least, where there is work for any."""
        return -(-self.worker_cores // self.processes) * self.processes

    @property
    def cores(self) -> int:
        return self.processes + self.worker_cores


def plan(
    samples_per_step: int, window_s: float, cost: Cost, model: PlannedModel | None = None
) -> CapacityPlan:
    """The plan for so many samples, all of which must be scored within `window_s` seconds.

    Raises:
        ValueError: a number that is not positive.
    """
    if samples_per_step < 1 or not window_s > 0:
        raise ValueError("samples_per_step and the time for their rewards must be positive")
    rate = samples_per_step / window_s

    def needed(ms: float) -> int:
        return math.ceil(rate * ms / 1e3 / BUSY_SHARE)

    return CapacityPlan(
        samples_per_s=rate,
        processes=max(1, needed(cost.server_ms)),
        worker_cores=max(1, needed(cost.worker_ms)) if cost.worker_ms else 0,
        devices=max(1, needed(model.ms)) if model else 0,
    )


def device_share(samples_per_step: int, step_s: float, model: PlannedModel, devices: int) -> float:
    """What share of a step so many devices need for its samples, all of them at work.

    Example:
        >>> model = PlannedModel(parameters=7e9, tokens=1000, operations_per_s=3.5e14)
        >>> device_share(3000, 60.0, model, devices=8)  # 3,000 x 40 ms / 8 are 15 s
        0.25
    """
    return samples_per_step * model.ms / 1e3 / devices / step_s


def measured() -> dict[str, Any]:
    """What was measured, when and on what: `date`, `machine`, `cost_ms` by profile and by the
    samples of a request (`1`, `512`), `model_efficiency` by kind of device."""
    return json.loads(MEASURED.read_text(encoding="utf-8"))


def cost_of(profile: str, samples_per_request: int) -> Cost:
    """What a sample of this profile costs, in requests of the nearest size that was measured.

    Raises:
        KeyError: the profile was not measured.
    """
    by_size = measured()["cost_ms"][profile]
    size = "1" if samples_per_request < 16 else "512"
    return Cost(**by_size[size])
