"""The rows of one request through several profiles: parted by the route, joined in their places.

In: samples, and the profile that was asked for. Out: a part for each inner profile, then one
`Scored` again. A row that leads nowhere is its own error, and no other row's.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from itertools import chain
from typing import NamedTuple, Protocol, cast

from msgspec.structs import replace

from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.remote.together import together
from touchstone_rewards.reward_server.routes import ROUTE_KEY
from touchstone_rewards.reward_server.schemas import (
    Sample,
    SampleError,
    SampleResult,
    ScoreRequest,
)
from touchstone_rewards.reward_server.scoring.combine import Scored
from touchstone_rewards.reward_server.telemetry.tallies import Columns, sum_of


class Combined(Protocol):
    """Has the samples of one inner profile scored."""

    def __call__(
        self, profile: Profile, request: ScoreRequest, *, keys: Sequence[str]
    ) -> Coroutine[None, None, Scored]: ...


class Part(NamedTuple):
    """The samples of a request that one inner profile scores, and their places in it."""

    profile: Profile
    places: list[int]
    samples: list[Sample]


class Parted(NamedTuple):
    """A request in parts; `refused`: the errors of samples that belong to none, by their places."""

    parts: list[Part]
    refused: dict[int, SampleError]

    @property
    def counts(self) -> dict[str, int]:
        """Return how many samples go to each inner profile."""
        return {each.profile.name: len(each.places) for each in self.parts}


def part(profile: Profile, samples: Sequence[Sample], *, named: bool = True) -> Parted | None:
    """Return the samples by the inner profile that scores them; None where the profile scores them
    all itself.

    `named`: a sample's own `profile` counts. It does in the request's profile and not behind it.
    """
    own = [at for at, sample in enumerate(samples) if sample.profile is not None] if named else []
    if profile.route is None and not own:
        return None
    names: list[str | None] = [profile.name] * len(samples)
    if profile.route is not None:
        names = profile.route.names(samples)
    refused: dict[int, SampleError] = {}
    for at in own:
        names[at], error = _by_itself(profile, samples[at], names[at])
        if error is not None:
            refused[at] = error
    places: dict[str | None, list[int]] = {name: [] for name in dict.fromkeys(names)}
    for at, name in enumerate(names):
        places[name].append(at)
    if profile.route is not None:
        for at in places.get(None, ()):
            refused.setdefault(at, profile.route.error(profile.name, samples[at]))
    places.pop(None, None)
    targets = {**profile.targets, **({} if profile.route else {profile.name: profile})}
    return Parted(
        [
            Part(targets[cast(str, name)], at, [samples[i] for i in at])
            for name, at in places.items()
        ],
        refused,
    )


def _by_itself(
    profile: Profile, sample: Sample, routed: str | None
) -> tuple[str | None, SampleError | None]:
    """The inner profile of a sample that names one, or why it may not."""
    name = sample.profile
    if name == profile.name:
        return routed, None
    if name in profile.config.sample_profiles:
        return name, None
    allowed = ", ".join(profile.config.sample_profiles) or "none"
    return None, sample_error(
        "unsupported_input",
        f"the sample names profile {name!r:.80}; those that {profile.name!r} permits in "
        f"sample_profiles are {allowed}",
    )


def addressed(profile: Profile | None, sample: Sample) -> Sample:
    """Return the sample for a profile that it was not sent to: without the inner profile that it
    names, unless this one permits it."""
    if sample.profile is None or profile is None:
        return sample
    known = sample.profile in profile.config.sample_profiles
    return sample if known else replace(sample, profile=None)


async def score_parts(
    profile: Profile,
    request: ScoreRequest,
    parted: Parted,
    combined: Combined,
    keys: Sequence[str] = (),
) -> Scored:
    """Return the results of a request in parts: `combined` scores each with its inner profile.

    `keys`: of the scores in every result; those of `profile` if not given.
    """
    keys = keys or profile.info.scorers

    def score(each: Part) -> Coroutine[None, None, Scored]:
        inner = replace(request, samples=each.samples)
        deeper = part(each.profile, each.samples, named=False)
        if deeper is None:
            return combined(each.profile, inner, keys=keys)
        return score_parts(each.profile, inner, deeper, combined, keys)

    scored = await together([score(each) for each in parted.parts])
    return _joined(profile, request, parted, scored, keys)


def _joined(
    profile: Profile,
    request: ScoreRequest,
    parted: Parted,
    scored: Sequence[Scored],
    keys: Sequence[str],
) -> Scored:
    """The results of all parts in the order of the samples, and all their numbers.

    A scorer that does not apply to a row is in the row's result, null, and not in the numbers that
    are counted.
    """
    samples, explain = request.samples, request.explain
    results: list[SampleResult | None] = [None] * len(samples)
    for each, found in zip(parted.parts, scored, strict=True):
        for at, result in zip(each.places, found.results, strict=True):
            results[at] = result
        if explain:
            _explain(profile, each, found.results)
    for at, error in parted.refused.items():
        results[at] = SampleResult(samples[at].id, "error", None, dict.fromkeys(keys), error)
    every = [found.columns for found in scored]
    return Scored(
        cast("list[SampleResult]", results),
        Columns(
            [*chain.from_iterable(each.rewards for each in every), *[None] * len(parted.refused)],
            {
                key: [*chain.from_iterable(each.scores.get(key, ()) for each in every)]
                for key in keys
            },
            [
                *chain.from_iterable(each.errors for each in every),
                *(error.code for error in parted.refused.values()),
            ],
            sum_of([each.cascades for each in every if each.cascades]),
        ),
    )


def _explain(profile: Profile, part: Part, results: Sequence[SampleResult]) -> None:
    """Say of each result which profile scored it, and why that one."""
    route = profile.route
    for sample, result in zip(part.samples, results, strict=True):
        own = sample.profile is not None and sample.profile in profile.config.sample_profiles
        by = "profile" if own else route.by if route else None
        value = sample.profile if own else route.value(sample) if route else None
        inner = (result.explanation or {}).get(ROUTE_KEY)
        about = {"profile": part.profile.name, "by": by, "value": value}
        said = {ROUTE_KEY: about | ({"then": inner} if inner else {})}
        result.explanation = said | {
            key: value for key, value in (result.explanation or {}).items() if key != ROUTE_KEY
        }
