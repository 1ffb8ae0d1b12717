"""Score the rows of one request with several profiles: split by route, join in order.

Each inner profile scores one part of the samples. A row that no inner profile takes gets an error;
the other rows are scored.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from itertools import chain
from typing import NamedTuple, Protocol

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
    """A call that scores the samples of one inner profile."""

    def __call__(
        self, profile: Profile, request: ScoreRequest, *, keys: Sequence[str]
    ) -> Coroutine[None, None, Scored]: ...


class Part(NamedTuple):
    """The samples of a request that one inner profile scores, and their indices in it."""

    profile: Profile
    places: list[int]
    samples: list[Sample]


class Parted(NamedTuple):
    """A request in parts; `refused`: errors of samples without an inner profile, by index."""

    parts: list[Part]
    refused: dict[int, SampleError]

    @property
    def counts(self) -> dict[str, int]:
        """Return how many samples go to each inner profile."""
        return {each.profile.name: len(each.places) for each in self.parts}


def part(profile: Profile, samples: Sequence[Sample], *, named: bool = True) -> Parted | None:
    """Return the samples split by inner profile; None if `profile` scores all of them itself.

    `named`: let samples name their own `profile`. Only the request's profile allows that, its
    targets do not.
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
    places: dict[str, list[int]] = {}
    for at, name in enumerate(names):
        if name is not None:
            places.setdefault(name, []).append(at)
        elif profile.route is not None:
            refused.setdefault(at, profile.route.error(profile.name, samples[at]))
    targets = {**profile.targets, **({} if profile.route else {profile.name: profile})}
    return Parted(
        [Part(targets[name], at, [samples[i] for i in at]) for name, at in places.items()],
        refused,
    )


def _by_itself(
    profile: Profile, sample: Sample, routed: str | None
) -> tuple[str | None, SampleError | None]:
    """Return the inner profile of a sample that names one, or the error if it may not."""
    name = sample.profile
    if name == profile.name:
        return routed, None
    if name in profile.config.sample_profiles:
        return name, None
    allowed = ", ".join(profile.config.sample_profiles) or "none"
    return None, sample_error(
        "unsupported_input",
        f"the sample names profile {name!r:.80}, which {profile.name!r} does not permit; its "
        f"sample_profiles are {allowed}",
    )


def addressed(profile: Profile | None, sample: Sample) -> Sample:
    """Return the sample prepared for another profile than it was sent to: without the inner profile
    that it names, unless this profile permits it."""
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
    """Return the results of a request in parts; `combined` scores each part.

    `keys`: the score keys of every result; default: those of `profile`.
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
    """Return the results of all parts in the order of the samples, and their combined numbers.

    A scorer that does not apply to a row is null in its result and is not counted in the numbers.
    """
    samples, explain = request.samples, request.explain
    results: dict[int, SampleResult] = {}
    for each, found in zip(parted.parts, scored, strict=True):
        results |= zip(each.places, found.results, strict=True)
        if explain:
            _explain(profile, each, found.results)
    for at, error in parted.refused.items():
        results[at] = SampleResult(samples[at].id, "error", None, dict.fromkeys(keys), error)
    every = [found.columns for found in scored]
    return Scored(
        [results[at] for at in range(len(samples))],
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
    """Add to each result's explanation which profile scored it, and why."""
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
