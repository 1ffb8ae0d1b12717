"""Estimate how many cores and GPUs the rewards of a training run need.

The inputs are the run's samples and seconds per step, and the measured cost of a sample (`make
bench BENCH=capacity`). It is plain arithmetic: no measurement here, and no queueing theory.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).parent / "capacity.json"
# A core that is busy for more than this share of the time makes its callers queue.
BUSY_SHARE = 0.7


@dataclass(frozen=True)
class Cost:
    """The cost of one sample, in milliseconds of processor time.

    `server_ms` is spent in the serving processes, each of which uses at most one core; `worker_ms`
    in their workers, whose number is free.
    """

    server_ms: float
    worker_ms: float


@dataclass(frozen=True)
class PlannedModel:
    """A reward or embedding model: two operations per parameter and token."""

    parameters: float
    tokens: float
    operations_per_s: float

    @property
    def ms(self) -> float:
        """Milliseconds that one device needs for one sample."""
        return 2 * self.parameters * self.tokens / self.operations_per_s * 1e3


@dataclass(frozen=True)
class CapacityPlan:
    """The resources needed. `samples_per_s`: the rate during the time available for rewards.
    `processes`: processes of one server, one core each. `worker_cores`: cores that the workers of
    all processes keep busy together."""

    samples_per_s: float
    processes: int
    worker_cores: int
    devices: int

    @property
    def workers(self) -> int:
        """The workers of all processes: at least one each, if workers are needed at all."""
        return -(-self.worker_cores // self.processes) * self.processes

    @property
    def cores(self) -> int:
        return self.processes + self.worker_cores


def plan(
    samples_per_step: int, window_s: float, cost: Cost, model: PlannedModel | None = None
) -> CapacityPlan:
    """Return the plan for scoring `samples_per_step` samples within `window_s` seconds.

    Raises:
        ValueError: a number is not positive.
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
    """Return the share of a step that `devices` fully busy devices need for its samples.

    Example:
        >>> model = PlannedModel(parameters=7e9, tokens=1000, operations_per_s=3.5e14)
        >>> device_share(3000, 60.0, model, devices=8)  # 3,000 x 40 ms / 8 are 15 s
        0.25
    """
    return samples_per_step * model.ms / 1e3 / devices / step_s


def measured() -> dict[str, Any]:
    """Return the measurements, with their date and machine: `date`, `machine`, `cost_ms` by profile
    and by samples per request (`1`, `512`), `model_efficiency` by kind of device."""
    return json.loads(MEASURED.read_text(encoding="utf-8"))


def cost_of(profile: str, samples_per_request: int) -> Cost:
    """Return the cost of a sample of this profile, for the nearest measured request size.

    Raises:
        KeyError: the profile was not measured.
    """
    by_size = measured()["cost_ms"][profile]
    size = "1" if samples_per_request < 16 else "512"
    return Cost(**by_size[size])
