"""Score whole groups: collect the samples of a request by group, and judge each group at once.

It takes the columns of the profile's other scorers and returns a column for each scorer of groups.
`gather.py` brings together members that come in several requests.

A scorer that compares texts runs in a worker; small groups of built-in scorers run in the event
loop. A scorer that asks other scorers is a generator: the samples that it asks about run in workers
or at an endpoint, each with its own deadline and after a look into the verdict cache; inputs for
its model join the batches of all callers. The verdicts of a group are never cached: they hold only
for its members together.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

from msgspec.structs import replace

from touchstone_rewards.reward_server.caller import current
from touchstone_rewards.reward_server.errors import ConfigError, RequestError, sample_error
from touchstone_rewards.reward_server.pool.failures import log_failure
from touchstone_rewards.reward_server.profile_config import ScorerEntry
from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.received import open_fields
from touchstone_rewards.reward_server.remote.together import together
from touchstone_rewards.reward_server.schemas import Priority, Sample, SampleError, ScoreRequest
from touchstone_rewards.reward_server.scorers import SCORERS
from touchstone_rewards.reward_server.scorers.base import (
    Ask,
    GroupScorer,
    Judging,
    Member,
    RemoteScorer,
    Score,
    UsesModel,
    WorkerScorer,
    has_model,
)
from touchstone_rewards.reward_server.scorers.groups.duplicates import remembers
from touchstone_rewards.reward_server.scorers.groups.packed import pack, unpack
from touchstone_rewards.reward_server.scorers.returned import (
    WrongAnswer,
    checked_scores,
    name_of,
    raised,
    trace_of,
)
from touchstone_rewards.reward_server.scoring.gather import (
    Candidate,
    Gatherer,
    How,
    Identity,
    Joined,
    Key,
    Scores,
)
from touchstone_rewards.reward_server.scoring.inline import read_bytes
from touchstone_rewards.reward_server.scoring.refused import looked_at
from touchstone_rewards.reward_server.scoring.remembered import Memories

# Groups with more text run in workers; this much takes about a millisecond in the event loop.
LOOP_BYTES = 64 * 1024


AskedScorer = WorkerScorer | RemoteScorer
Asking = Callable[[str, AskedScorer, Sequence[Sample], How, ScorerEntry], Awaitable[list[Score]]]
Running = Callable[[str, Sequence[Sample], How, float | None, int | None], Awaitable[list[Score]]]


class RunModel(Protocol):
    """A call that runs inputs on a scorer's model; raises `RequestError` if it accepts no more."""

    def __call__(
        self,
        scorer: UsesModel,
        inputs: Sequence[Any],
        *,
        give_up_at_s: float | None,
        priority: Priority,
    ) -> Awaitable[list[Any]]: ...


class GroupColumns(NamedTuple):
    """A column for each scorer of groups; for each sample the name of its group, if the group was
    gathered over several requests."""

    columns: dict[str, list[Score]]
    names: list[str]


class GroupScorers:
    """The scorers of whole groups of an engine.

    `ask` scores samples with another scorer that the profile has built, after a look into the
    verdict cache; `run` scores them in workers. Both take a spec key. `ask` also takes the
    profile entry, which has the limits of a sample; `run` also takes deadline and memory, None for
    the defaults. `run_model`: see
    `ModelHost.run`. `refused` returns the samples that a scorer with these fields must not see.
    """

    def __init__(
        self,
        ask: Asking,
        run: Running,
        run_model: RunModel,
        refused: Callable[[Sequence[Sample], Sequence[str]], Mapping[int, Score]],
    ) -> None:
        self.gatherer = Gatherer()
        self.memories = Memories()
        self._ask, self._run, self._run_model, self._refused = ask, run, run_model, refused

    async def fill(
        self,
        profile: Profile,
        request: ScoreRequest,
        columns: Mapping[str, Sequence[Score]],
        give_up_at_s: float | None,
        *,
        gather: bool,
        learn: bool,
    ) -> GroupColumns:
        """Return the columns of the profile's scorers of groups.

        `gather`: wait for members in other requests if the profile sets a group size. `learn`:
        remember the responses, if a scorer does.
        """
        candidates = self._candidates(profile, request.samples, columns)
        groups: dict[str | None, dict[Identity, Candidate]] = {}
        places = [(one.sample.group_id, _identity(one.sample)) for one in candidates]
        for (group_id, identity), one in zip(places, candidates, strict=True):
            groups.setdefault(group_id, {}).setdefault(identity, one)
        how = How(request.explain, give_up_at_s, request.priority)
        names = list(groups)
        found = await together(
            [self._scored(profile, name, groups[name], how, gather) for name in names]
        )
        by_group = dict(zip(names, found, strict=True))
        rows = [by_group[group_id][identity] for group_id, identity in places]
        found_columns = {
            key: [row.scores.get(key) or row.scores[""] for row in rows]
            for key in profile.group_keys
        }
        caller = _caller_name()
        for key, scorer in profile.remembering.items():
            whose = caller, profile.name, profile.spec_keys[key]
            about = whose, scorer, request.samples, found_columns[key]
            found_columns[key] = await self.memories.completed(*about, learn=learn)
        return GroupColumns(found_columns, [row.group for row in rows])

    def _candidates(
        self,
        profile: Profile,
        samples: Sequence[Sample],
        columns: Mapping[str, Sequence[Score]],
    ) -> list[Candidate]:
        scorers = _scorers_of(profile)
        reads = {name for scorer in scorers.values() for name in looked_at(scorer)}
        refused = self._refused(samples, sorted(reads))
        needed = {key for scorer in scorers.values() for key in scorer.of}
        return [
            Candidate(sample, {key: columns[key][at] for key in needed}, refused.get(at))
            for at, sample in enumerate(samples)
        ]

    async def _scored(
        self,
        profile: Profile,
        group_id: str | None,
        members: Mapping[Identity, Candidate],
        how: How,
        gather: bool,
    ) -> Mapping[Identity, Joined]:
        config = profile.config.groups
        if group_id is None:
            why = f"profile {profile.name!r} scores whole groups: send a group_id with every sample"
            return _all(members, sample_error("missing_field", why))
        size = config.size if config else None
        if size is not None and len(members) > size:
            why = f"group {group_id!r:.80} has {len(members)} members; groups.size is {size}"
            return _all(members, sample_error("unsupported_input", why))

        async def judge(all_of: Mapping[Identity, Candidate], how: How) -> dict[Identity, Scores]:
            return await self._judged(profile, group_id, all_of, how)

        if config is None or size is None or not gather or len(members) == size:
            scores = await judge(members, how)
            return {identity: Joined(each, "") for identity, each in scores.items()}
        key = Key(_caller_name(), profile.name, _made_of(profile), group_id)
        return await self.gatherer.join(key, config, members, how, judge)

    async def _judged(
        self,
        profile: Profile,
        group_id: str,
        members: Mapping[Identity, Candidate],
        how: How,
    ) -> dict[Identity, Scores]:
        """Return the scores of each member of a group, by scorer key."""
        names = sorted(members)  # the result must not depend on the order of arrival
        candidates = [members[name] for name in names]
        scorers = _scorers_of(profile)
        columns = await together(
            [self._column(profile, key, group_id, candidates, how) for key in scorers]
        )
        rows = zip(*columns, strict=True)
        return {
            name: dict(zip(scorers, row, strict=True))
            for name, row in zip(names, rows, strict=True)
        }

    async def _column(
        self,
        profile: Profile,
        key: str,
        group_id: str,
        candidates: Sequence[Candidate],
        how: How,
    ) -> list[Score]:
        """Return one scorer's scores of the members. A member that a needed scorer could not score
        gets that error; the others are scored without it."""
        scorer = _scorers_of(profile)[key]
        found = {at: why for at, one in enumerate(candidates) if (why := _unknown(scorer, one))}
        places = [at for at in range(len(candidates)) if at not in found]
        members = [
            Member(candidates[at].sample, {k: _value(candidates[at], k) for k in scorer.of})
            for at in places
        ]
        if error := _wrong_size(scorer, group_id, len(members)):
            scores = [error] * len(members)
        else:
            scores = await self._run_scorer(profile, key, scorer, members, how)
        found |= dict(zip(places, scores, strict=True))
        return [found[at] for at in range(len(candidates))]

    async def _run_scorer(
        self,
        profile: Profile,
        key: str,
        scorer: GroupScorer,
        members: Sequence[Member],
        how: How,
    ) -> list[Score]:
        samples = [member.sample for member in members]
        open_fields(samples, scorer.reads)
        size = sum(read_bytes(sample, scorer.reads) for sample in samples)
        ours = profile.specs[key].name in SCORERS  # a plug-in function may hang
        alone = not scorer.asks and scorer.model is None
        if alone and not (ours and size <= LOOP_BYTES):
            packed = pack(samples[0].group_id or "", members, scorer.reads)
            limits = profile.entries[key].deadline_s, profile.entries[key].memory_bytes
            [score] = await self._run(profile.spec_keys[key], [packed], how, *limits)
            return unpack(score, len(members))
        try:
            given = scorer.score(members, explain=how.explain)
            if isinstance(given, Generator):
                given = await self._answered(scorer, given, how, profile, key)
            return checked_scores(scorer, given, len(members))
        except RequestError:
            raise
        # A scorer call: its bug fails this group only.
        except Exception as error:  # noqa: BLE001
            if not isinstance(error, WrongAnswer):
                log_failure(name_of(scorer), trace_of(error), current())
            return [raised(scorer, error)] * len(members)

    async def _answered(
        self, scorer: GroupScorer, judging: Judging, how: How, profile: Profile, key: str
    ) -> list[Score]:
        """Return the scorer's result after answering all its requests for scores or model runs."""
        answers: list[Any] | None = None
        while True:
            try:
                asked = next(judging) if answers is None else judging.send(answers)
            except StopIteration as end:
                return end.value
            if isinstance(asked, Ask):
                answers = await self._scores_for(asked, how, profile, key)
            else:
                if not has_model(scorer):
                    raise TypeError(f"scorer {key} asks a model, but has none")
                when: Any = {"give_up_at_s": how.give_up_at_s, "priority": how.priority}
                answers = await self._run_model(scorer, asked.inputs, **when)

    async def _scores_for(self, asked: Ask, how: How, profile: Profile, key: str) -> list[Score]:
        """Return the scores of the samples that the scorer with this key asks about."""
        spec_key, asking = asked.spec.key, replace(how, explain=asked.explain)
        scorer = profile.asked[spec_key]
        if scorer.runs_in != "worker" and scorer.runs_in != "remote":
            raise TypeError(f"scorer {key} asks {asked.spec.name}, which has no worker")
        about = scorer, asked.samples, asking, profile.entries[key]
        return await self._ask(spec_key, *about)


def _made_of(profile: Profile) -> str:
    """Return a text that differs between versions of a profile, before and after a reload or a
    change of model. Model names reported by endpoints do not enter."""
    scorers = profile.scorers.items()
    return " ".join(f"{profile.spec_keys[key]} {scorer.version}" for key, scorer in scorers)


def _caller_name() -> str:
    caller = current().caller
    return caller.name if caller else ""


def _scorers_of(profile: Profile) -> dict[str, GroupScorer]:
    return {key: scorer for key, scorer in profile.scorers.items() if scorer.runs_in == "group"}


def _identity(sample: Sample) -> Identity:
    """Return an identity for a member: two samples may have the same text, and a trainer may give
    all samples of a prompt the same id."""
    return sample.id, sha256(sample.response.encode("utf-8", "surrogatepass")).digest()[:16]


def _unknown(scorer: GroupScorer, one: Candidate) -> Score | None:
    """Return the error of a member that lacks a score that this scorer needs, or None."""
    if one.refused is not None:
        return one.refused
    missing = (one.scores[key] for key in scorer.of if one.scores[key].value is None)
    return next((Score(error=score.error, timed_out=score.timed_out) for score in missing), None)


def _value(one: Candidate, key: str) -> float:
    value = one.scores[key].value
    assert value is not None
    return value


def _wrong_size(scorer: GroupScorer, group_id: str, count: int) -> Score | None:
    name = f"group {group_id!r:.80}"
    if count < 2 and not remembers(scorer):
        why = f"{name} has {count} member that can be scored; comparing takes at least 2"
    elif count > scorer.max_members:
        why = f"{name} has {count} members; scorer {name_of(scorer)} takes {scorer.max_members}"
    else:
        return None
    return Score(error=sample_error("unsupported_input", why))


def _all(members: Mapping[Identity, Candidate], error: SampleError) -> dict[Identity, Joined]:
    score = Score(error=error)
    return {identity: Joined({"": score}, "") for identity in members}


def check_group_sizes(profiles: Mapping[str, Profile], max_samples: int) -> None:
    """Check that a whole group fits into one request.

    Raises:
        ConfigError: one does not.
    """
    for profile in profiles.values():
        size = profile.config.groups.size if profile.config.groups else None
        if size is not None and size > max_samples:
            raise ConfigError(
                f"profile {profile.name}: groups.size is {size}, but max_samples is "
                f"{max_samples}; lower groups.size or raise max_samples"
            )
