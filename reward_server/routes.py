"""A profile's `route`: choose the inner profile that scores a row.

Checks the `route` and `sample_profiles` of profile files, links profiles to their targets, and
returns the inner profile of each sample, or an error if there is none. `scoring/routing.py` does
the scoring.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec
from msgspec import UNSET, Raw, UnsetType, defstruct
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field, field_validator

from touchstone_rewards.reward_server.errors import ConfigError, sample_error
from touchstone_rewards.reward_server.fingerprints import joined_fingerprint
from touchstone_rewards.reward_server.received import open_fields
from touchstone_rewards.reward_server.schemas import ProfileInfo, RouteInfo, Sample, SampleError

if TYPE_CHECKING:
    from touchstone_rewards.reward_server.profiles import Profile

ERROR = "error"
# The key of the route in the explanation of a sample, beside its scorers.
ROUTE_KEY = "route"
SHOWN_CASES, SHOWN_CHARACTERS = 20, 80
METADATA_FIELD = re.compile(r"metadata(\.[^.]+)+")

ParameterValue = str | int


class RouteConfig(BaseModel):
    """The inner profile for a row: the case that matches the field `by`, else `otherwise`, which
    is a profile or `error`."""

    model_config = ConfigDict(extra="forbid")

    by: str
    cases: dict[str, str] = Field(min_length=1)
    otherwise: str = ERROR

    @field_validator("by")
    @classmethod
    def _names_metadata(cls, by: str) -> str:
        if not METADATA_FIELD.fullmatch(by):
            raise ValueError(f"got {by!r}; expected a metadata field such as metadata.data_source")
        return by

    @field_validator("cases", mode="before")
    @classmethod
    def _numbers_as_text(cls, cases: Any) -> Any:
        """Return the cases with keys as text; refuse booleans, as YAML reads an unquoted `yes`."""
        if not isinstance(cases, dict):
            return cases
        cases = cast("dict[Any, Any]", cases)
        if odd := [key for key in cases if type(key) not in (str, int)]:
            raise ValueError(f"the case {odd[0]!r} is neither a text nor a whole number; quote it")
        return {str(key): name for key, name in cases.items()}


class Route:
    """A route ready for use; `targets` are the names of the profiles that it leads to."""

    def __init__(self, config: RouteConfig) -> None:
        self.by = config.by
        self.keys = config.by.split(".")[1:]
        self.otherwise = None if config.otherwise == ERROR else config.otherwise
        self.info = RouteInfo(config.by, dict(config.cases), config.otherwise)
        self.targets = list(
            dict.fromkeys([*config.cases.values(), *filter(None, [self.otherwise])])
        )
        whole = {int(key): name for key, name in config.cases.items() if _is_whole(key)}
        self._names: Mapping[ParameterValue | None, str] = {**config.cases, **whole}
        self._decode = _decoder(self.keys)

    def names(self, samples: Sequence[Sample]) -> list[str | None]:
        """Return for each sample the name of the inner profile; None if there is none.

        Example:
            >>> config = RouteConfig(by="metadata.source", cases={"gsm8k": "math"})
            >>> Route(config).names([Sample("1", "46", metadata={"source": "gsm8k"})])
            ['math']
        """
        name_of, otherwise = self._names.get, self.otherwise
        if len(self.keys) == 1 and samples and type(cast(object, samples[0].metadata)) is Raw:
            decode: Any = self._decode  # none is decoded yet: this takes a third of the time
            try:
                return [name_of(decode(sample.metadata).value, otherwise) for sample in samples]
            except (TypeError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
        return [name_of(value, otherwise) for value in map(self.value, samples)]

    def value(self, sample: Sample) -> ParameterValue | None:
        """Return the value of the field; None unless it is a text or a whole number."""
        metadata = cast(object, sample.metadata)
        if type(metadata) is Raw:
            try:
                return _inside(self._decode(metadata), self.keys)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                # Not a value of these types, or not JSON: full decoding tells which.
                open_fields([sample], ("metadata",))
        value = value_at(sample.metadata, self.keys)
        return value if type(value) in (str, int) else None

    def error(self, profile: str, sample: Sample) -> SampleError:
        """Return the error of a sample that has no inner profile."""
        open_fields([sample], ("metadata",))
        value = value_at(sample.metadata, self.keys)
        about = f"profile {profile!r} routes by {self.by}, which"
        if value is None:
            return sample_error(
                "missing_field", f"{about} this sample does not have; send it with every sample"
            )
        shown = f"{value!r:.{SHOWN_CHARACTERS}}"
        if type(value) not in (str, int):
            why = f"{about} is {shown} here; expected a text or a whole number"
            return sample_error("unsupported_input", why)
        cases = ", ".join(list(self.info.cases)[:SHOWN_CASES])
        why = f"{about} is {shown} here, and there is no such case; the cases are {cases}"
        return sample_error("unsupported_input", why)


def _is_whole(text: str) -> bool:
    return re.fullmatch(r"-?[0-9]{1,18}", text) is not None and str(int(text)) == text


def _decoder(keys: Sequence[str]) -> Callable[[Raw], Any]:
    """Return a decoder that reads one field of JSON text and skips all others.

    Its result has the field as `value`, inside one `value` for each enclosing key."""
    kind: Any = str | int
    for key in reversed(keys):
        fields = [("value", kind | UnsetType, UNSET)]
        kind = defstruct("Routed", fields, rename={"value": key}, gc=False)
    return msgspec.json.Decoder(kind).decode


def _inside(value: Any, keys: Iterable[str]) -> ParameterValue | None:
    for _ in keys:
        if (value := value.value) is UNSET:
            return None
    return value


def value_at(metadata: Any, keys: Iterable[str]) -> Any:
    """Return the value at this path of keys in the metadata; None if it is missing."""
    value = metadata
    for key in keys:
        value = cast("dict[str, Any]", value).get(key) if isinstance(value, dict) else None
    return value


def link(profiles: Mapping[str, Profile]) -> dict[str, Profile]:
    """Return the profiles that lead to others, each linked to its current targets.

    Raises:
        ConfigError: a target does not exist, or there is a cycle.
    """
    linked: dict[str, Profile] = {}

    def visit(name: str, path: Sequence[str]) -> Profile:
        profile = profiles[name]
        if name in path:
            raise ConfigError(
                f"profile {path[0]}: routes form a cycle: {' -> '.join(path)} -> {name}"
            )
        if name in linked or not profile.target_names:
            return linked.get(name, profile)
        for target in profile.target_names:
            if target not in profiles:
                raise ConfigError(
                    f"profile {name}: it leads to {target!r}, which is not one of "
                    f"{', '.join(sorted(profiles))}"
                )
        targets = {target: visit(target, [*path, name]) for target in profile.target_names}
        linked[name] = profile.with_targets(targets)
        return linked[name]

    for name in profiles:
        visit(name, [])
    return linked


def joined_info(own: ProfileInfo, targets: Mapping[str, ProfileInfo]) -> ProfileInfo:
    """Return the description of a profile that leads to others: the union of all of them.

    Raises:
        ConfigError: a scorer there has the key that explanations use for the route.
    """
    infos = [own, *targets.values()]
    if taken := [info.name for info in infos if ROUTE_KEY in info.scorers]:
        raise ConfigError(
            f"profile {own.name}: {taken[0]!r} has a scorer with the key {ROUTE_KEY!r}, which "
            "explanations use for the route; give the scorer another key"
        )
    deciding = ["metadata"] if own.route else []
    named = ["profile"] if own.sample_profiles else []
    ranges = joined_ranges(info.ranges for info in infos)
    prints = {name: info.fingerprint for name, info in targets.items()}
    return replace(
        own,
        scorers=list(ranges),
        ranges=ranges,
        fingerprint=joined_fingerprint(own.fingerprint, own.route, prints),
        reads=joined_fields([deciding, named, *(info.reads for info in infos)]),
        needs=joined_fields([deciding, *(info.needs for info in infos)]),
        groups=next((info.groups for info in infos if info.groups), None),
        turns=any(info.turns for info in infos),
        schedules=list(dict.fromkeys(by for info in infos for by in info.schedules)),
        cascades={key: each for info in infos for key, each in info.cascades.items()},
    )


def joined_ranges(
    parts: Iterable[Mapping[str, tuple[float | None, float | None]]],
) -> dict[str, tuple[float | None, float | None]]:
    """Return the range of each scorer key over all profiles that have it; None is no bound.

    Example:
        >>> joined_ranges([{"math": (0.0, 1.0)}, {"math": (-1.0, 0.5), "length": (0.0, None)}])
        {'math': (-1.0, 1.0), 'length': (0.0, None)}
    """
    joined: dict[str, tuple[float | None, float | None]] = {}
    for part in parts:
        for key, (least, most) in part.items():
            before = joined.get(key, (least, most))
            joined[key] = (
                None if least is None or before[0] is None else min(least, before[0]),
                None if most is None or before[1] is None else max(most, before[1]),
            )
    return joined


def joined_fields(parts: Iterable[Iterable[str]]) -> list[str]:
    """Return the fields of a sample that occur in any of the lists, in the order of the wire."""
    names = {name for part in parts for name in part}
    return [name for name in Sample.__struct_fields__ if name in names]
