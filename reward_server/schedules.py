"""Weights that change over time: by a step in the sample's metadata, or by the clock.

Takes the `schedule` of a scorer's entry and samples; returns the weight of each sample's score. The
fingerprint covers the schedule, not its current value, so metric labels do not multiply.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from math import isfinite
from typing import Any, Literal, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.received import open_fields
from touchstone_rewards.reward_server.routes import METADATA_FIELD, value_at
from touchstone_rewards.reward_server.schemas import Sample, SampleError

TIME = "time"


class ScheduleConfig(BaseModel):
    """A weight by step or by time. `points`: step or time to weight; before the first point the
    first weight applies. `shape`: interpolate between points (`linear`) or jump (`steps`)."""

    model_config = ConfigDict(extra="forbid")

    by: str
    points: dict[float, float] = Field(min_length=1)
    shape: Literal["linear", "steps"] = "linear"

    @field_validator("by")
    @classmethod
    def _names_a_clock(cls, by: str) -> str:
        if by != TIME and not METADATA_FIELD.fullmatch(by):
            raise ValueError(f"got {by!r}; expected time, or a field such as metadata.step")
        return by

    @field_validator("points", mode="before")
    @classmethod
    def _as_seconds(cls, points: Any, info: ValidationInfo) -> Any:
        """Return times as seconds since 1970. YAML itself parses 2026-11-30T12:00:00Z as a time."""
        if not isinstance(points, dict):
            return points
        given = cast("dict[Any, Any]", points)
        if info.data.get("by") == TIME:
            return {_seconds(at): weight for at, weight in given.items()}
        if dated := [at for at in given if isinstance(at, date)]:
            raise ValueError(f"got {dated[0]}, but the weight depends on steps; expected numbers")
        return given

    @model_validator(mode="after")
    def _refuse_what_is_no_number(self) -> ScheduleConfig:
        numbers = [*self.points, *self.points.values()]
        if not all(map(isfinite, numbers)):
            raise ValueError(f"points is {self.points}; expected finite numbers")
        return self


def _seconds(at: Any) -> float:
    if isinstance(at, str):
        with suppress(ValueError):
            at = datetime.fromisoformat(at)
    if isinstance(at, datetime):
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    if isinstance(at, date):
        return datetime(at.year, at.month, at.day, tzinfo=UTC).timestamp()
    raise ValueError(f"got {at!r}; expected a time, such as 2026-11-30T12:00:00Z")


class Schedule:
    """A schedule ready for use."""

    def __init__(self, config: ScheduleConfig) -> None:
        self.by = config.by
        self.keys = config.by.split(".")[1:]
        self._linear = config.shape == "linear"
        self._points = sorted(config.points.items())
        self._begins = [at for at, _ in self._points]

    def weight(self, at: float) -> float:
        """Return the weight at this step, or at this time in seconds since 1970.

        Example:
            >>> Schedule(ScheduleConfig(by="metadata.step", points={0: 0.0, 100: 1.0})).weight(25)
            0.25
        """
        place = bisect_right(self._begins, at)
        if place == 0:
            return self._points[0][1]
        begin, weight = self._points[place - 1]
        if not self._linear or place == len(self._points):
            return weight
        end, then = self._points[place]
        return weight + (then - weight) * (at - begin) / (end - begin)

    def weights(self, samples: Sequence[Sample], now_s: float) -> list[float | None]:
        """Return the weight of each sample's score; None if its step is unknown."""
        if self.by == TIME:
            return [self.weight(now_s)] * len(samples)
        open_fields(samples, ("metadata",))
        known: dict[float, float] = {}
        found: list[float | None] = []
        for sample in samples:
            step = value_at(sample.metadata, self.keys)
            if not _is_step(step):
                found.append(None)
                continue
            if step not in known:
                known[step] = self.weight(step)
            found.append(known[step])
        return found

    def error(self, key: str, sample: Sample) -> SampleError:
        """Return the error of a sample for which the weight of the scorer `key` is unknown."""
        step = value_at(sample.metadata, self.keys)
        about = f"the weight of {key!r} depends on {self.by}, which"
        if step is None:
            why = f"{about} this sample does not have; send it with every sample"
            return sample_error("missing_field", why)
        return sample_error("unsupported_input", f"{about} is {step!r:.80}; expected a number")


def _is_step(step: Any) -> bool:
    return type(step) in (int, float) and abs(step) < 1e15


def added(
    rewards: Sequence[float | None],
    values: Sequence[float | None],
    weights: Sequence[float | None],
    gated: bool,
) -> list[float | None]:
    """Return the rewards plus another scorer's weighted scores; None where the weight is unknown,
    or where the score is missing and matters for its weight or a gate.

    Example:
        >>> added([1.0, 1.0, 1.0], [0.5, None, None], [2.0, 0.0, 0.1], False)
        [2.0, 1.0, None]
    """
    found: list[float | None] = []
    for reward, value, weight in zip(rewards, values, weights, strict=True):
        if reward is None or weight is None:
            found.append(None)
        elif value is not None:
            found.append(reward + weight * value)
        else:
            found.append(None if weight or gated else reward)
    return found


def unknown_weights(
    schedules: Mapping[str, Schedule],
    weights: Mapping[str, Sequence[float | None]],
    samples: Sequence[Sample],
) -> dict[int, SampleError]:
    """Return the indices of samples with an unknown weight, each with its error."""
    return {
        at: schedules[key].error(key, samples[at])
        for key, column in reversed(list(weights.items()))
        for at, weight in enumerate(column)
        if weight is None
    }
