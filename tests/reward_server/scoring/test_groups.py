"""Profiles that score whole groups: in one request, over several, with failing members."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.checkout import PLUGINS
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.schemas import Sample, SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scorers.base import Member, RunsIn, Score
from touchstone_rewards.reward_server.scoring.engine import Engine, create_engine
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

PROFILES = {
    "self": """
scorers:
  majority: {}
  short: {scorer: relative_length, weight: 0.0, config: {of: form}}
  place: {scorer: rank, weight: 0.0, config: {of: hash}}
  form: {scorer: format, weight: 0.0}
  hash: {scorer: dummy, weight: 0.0}
""",
    "gathered": """
scorers: {majority: {}, place: {scorer: rank, weight: 0.0, config: {of: form}},
          form: {scorer: format, weight: 0.0}}
groups: {size: 8, deadline_s: 600}
""",
    "pairs": "scorers: {majority: {}}\ngroups: {size: 2, deadline_s: 0.05, incomplete: no_score}",
    "copies": "scorers: {copies: {scorer: duplicates, config: {words: 2}}}",
    "mine": "scorers: {mine: {scorer: 'tests.reward_server.scoring.test_groups:Most'}}",
    "hangs": "scorers: {mine: {scorer: 'tests.reward_server.scoring.test_groups:Hangs', "
    "deadline_s: 0.2}}",
    "raises": "scorers: {mine: {scorer: 'tests.reward_server.scoring.test_groups:Raises'}}",
}


class Most:
    """Score 1 for the longest response of the group, as a user's plug-in might."""

    version = "1"
    range = (0.0, 1.0)
    runs_in: RunsIn = "group"
    reads = ("response", "metadata")

    def score(self, members: Sequence[Member], *, explain: bool = False) -> list[Score]:
        sizes = [len(one.sample.response) + one.sample.metadata.get("bonus", 0) for one in members]
        return [Score(float(size == max(sizes))) for size in sizes]


class Hangs(Most):
    def score(self, members: Sequence[Member], *, explain: bool = False) -> list[Score]:
        while True:
            pass


class Raises(Most):
    def score(self, members: Sequence[Member], *, explain: bool = False) -> list[Score]:
        raise ValueError("not today")


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    for name, content in PROFILES.items():
        (tmp_path / f"{name}.yaml").write_text(content)
    settings = load_settings().model_copy(update={"workers": 1})
    made = create_engine(load_profiles([tmp_path], plugins=PLUGINS), settings, Metrics())
    await made.start()
    yield made
    await made.stop()


def sample(name: object, response: str, group: str | None = "g", **more: Any) -> Sample:
    return Sample(str(name), response, group_id=group, **more)


async def score(
    engine: Engine, profile: str, *samples: Sample, explain: bool = False
) -> list[SampleResult]:
    return (await engine.score(ScoreRequest(list(samples), profile, explain=explain))).results


async def test_each_group_of_a_request_is_scored_by_itself(engine: Engine) -> None:
    answers = [("a", "1"), ("b", "2"), ("a", "1.0"), ("b", "2"), ("a", "3"), ("b", "7")]
    samples = [sample(i, f"\\boxed{{{text}}}", group) for i, (group, text) in enumerate(answers)]
    results = await score(engine, "self", *samples, explain=True)
    assert [each.reward for each in results] == [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    assert [list(each.scores) for each in results] == [
        ["majority", "short", "place", "form", "hash"]
    ] * 6
    assert sorted(each.scores["place"] or 0.0 for each in results[::2]) == [0.0, 0.5, 1.0]
    assert (results[0].explanation or {})["majority"]["same_answer"] == 2


async def test_what_cannot_be_judged_is_null_and_the_others_are_scored_without_it(
    engine: Engine,
) -> None:
    engine.columns.limits = engine.columns.limits.__class__(
        **{**vars(engine.columns.limits), "max_response_bytes": 50}
    )
    samples = [
        sample(0, "\\boxed{1}"),
        sample(1, "\\boxed{1}" + " " * 60),
        sample(2, "\\boxed{2}", None),
        sample(3, "\\boxed{1}"),
        sample(4, "\\boxed{3}", "alone"),
    ]
    results = await score(engine, "self", *samples)
    assert [each.reward for each in results] == [1.0, None, None, 1.0, None]
    codes = [each.error.code if each.error else None for each in results]
    assert codes == [None, "response_too_large", "missing_field", None, "unsupported_input"]
    assert results[2].error is not None
    assert "send a group_id with every sample" in results[2].error.message
    assert results[4].error is not None
    assert "group 'alone' has 1 member that can be scored" in results[4].error.message


async def test_sixteen_callers_with_kills_get_what_one_gets(engine: Engine) -> None:
    answers = ["1", "1", "1.0", "2", "2", "3", "x", "1"]
    groups = {
        name: [sample(f"{name}/{i}", f"\\boxed{{{text}}}", name) for i, text in enumerate(answers)]
        for name in ("a", "b")
    }
    wanted = {
        each.id: each.reward
        for group in groups.values()
        for each in await score(engine, "self", *group)
    }
    every = [one for group in groups.values() for one in group]
    random.Random(7).shuffle(every)
    dying = [asyncio.create_task(score(engine, "gathered", one)) for one in every[:5]]
    await asyncio.sleep(0)
    for task in dying:
        task.cancel()
    await asyncio.gather(*dying, return_exceptions=True)
    calls = [score(engine, "gathered", one) for one in [*every, *every[:4]]]  # four are sent twice
    found = [result for results in await asyncio.gather(*calls) for result in results]
    assert {each.id: each.reward for each in found} == wanted
    assert len({each.group for each in found}) == 2
    assert all(str(each.group).endswith("/8") for each in found)
    assert engine.columns.groups.gatherer.counts["whole"] == 2
    assert engine.columns.groups.gatherer.waiting == 0


async def test_a_request_with_the_whole_group_waits_for_no_other(engine: Engine) -> None:
    samples = [sample(i, f"\\boxed{{{i // 5}}}") for i in range(8)]
    results = await score(engine, "gathered", *samples)
    assert [each.reward for each in results] == [1.0] * 5 + [0.0] * 3
    [refused] = {
        (each.error.code, each.error.message)
        for each in await score(engine, "gathered", *samples, sample(8, "x"))
        if each.error
    }
    assert refused == ("unsupported_input", "group 'g' has 9 members; groups.size is 8")


async def test_a_lost_member_is_exact(engine: Engine) -> None:
    [result] = await score(engine, "pairs", sample(0, "\\boxed{1}"))
    assert result.error is not None
    assert result.error.code == "deadline_exceeded"
    assert "1 of 2 members of group 'g' came within 0.05 s" in result.error.message


async def test_what_is_not_counted_joins_no_group(engine: Engine) -> None:
    request = ScoreRequest([sample(0, "\\boxed{1}")], "gathered")
    [result] = (await engine.score(request, observed=False)).results
    assert result.error is not None
    assert result.error.code == "unsupported_input"
    assert engine.columns.groups.gatherer.waiting == 0


async def test_comparisons_are_cached_and_a_groups_verdicts_are_not(engine: Engine) -> None:
    samples = [sample(i, f"\\boxed{{{i}}}") for i in range(3)]
    await score(engine, "self", *samples)
    before = engine.columns.cache.counts.copy()
    results = await score(engine, "self", *samples, sample(3, "\\boxed{2}"))
    assert [each.reward for each in results] == [0.0, 0.0, 1.0, 1.0]
    made = engine.columns.cache.counts
    assert made["miss"] - before["miss"] == 0  # no new answer, and no new pair
    assert made["hit"] - before["hit"] == 3 + 2 * 3 + 1


async def test_large_groups_and_plug_ins_are_scored_in_workers(engine: Engine) -> None:
    long = "many words of a long response " * 3000
    results = await score(engine, "copies", sample(0, long), sample(1, long), sample(2, "short"))
    assert [each.reward for each in results] == [-0.5, -0.5, 0.0]
    bonus: Any = {"metadata": {"bonus": 9}}
    results = await score(engine, "mine", sample(0, "abc"), sample(1, "a", **bonus))
    assert [each.reward for each in results] == [0.0, 1.0]
    for profile, code in (("hangs", "deadline_exceeded"), ("raises", "scorer_failed")):
        results = await score(engine, profile, sample(0, "a"), sample(1, "b"))
        assert [each.error.code for each in results if each.error] == [code] * 2
    assert results[0].error is not None
    assert "not today" in results[0].error.message


def test_profiles_say_that_they_score_groups(tmp_path: Path) -> None:
    for name in ("self", "gathered"):
        (tmp_path / f"{name}.yaml").write_text(PROFILES[name])
    (tmp_path / "routed.yaml").write_text("route: {by: metadata.k, cases: {x: math, y: gathered}}")
    profiles = load_profiles([tmp_path])
    groups = {name: profiles[name].info.groups for name in ("self", "gathered", "routed", "math")}
    assert [each and each.size for each in groups.values()] == [None, 8, 8, None]
    assert groups["math"] is None
    assert "group_id" in profiles["self"].info.reads
    assert "group_id" in profiles["routed"].info.needs


def test_the_fingerprint_follows_what_makes_a_group_and_not_how_long_it_takes(
    tmp_path: Path,
) -> None:
    def fingerprint(**groups: Any) -> str:
        text = f"scorers: {{majority: {{}}}}\ngroups: {groups}"
        (tmp_path / "p.yaml").write_text(text)
        return load_profiles([tmp_path])["p"].fingerprint

    assert fingerprint(size=8) == fingerprint(size=8, deadline_s=5)
    others = [fingerprint(size=4), fingerprint(size=8, incomplete="no_score")]
    assert len({fingerprint(size=8), *others}) == 3


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "scorers: {rank: {config: {of: math}}}",
            "rank uses 'math', which is not one.*there are no",
        ),
        ("scorers: {rank: {config: {of: m}}, m: {scorer: majority}}", "uses 'm'.*single samples"),
        ("scorers: {math: {}}\ngroups: {size: 4}", "groups is set, but none of the scorers"),
        ("scorers: {majority: {}}\ngroups: {size: 1}", "groups.size: .*2"),
        ("scorers: {majority: {}}\ngroups: {size: 500}", "size is 500, and scorer majority takes"),
        ("scorers: {majority: {}}\ngroups: {size: 8, lost: x}", "groups.lost: unknown key"),
    ],
)
def test_a_profile_of_groups_that_cannot_be_refuses_to_load(
    tmp_path: Path, content: str, says: str
) -> None:
    (tmp_path / "p.yaml").write_text(content)
    with pytest.raises(ConfigError, match=says):
        load_profiles([tmp_path])


def test_a_group_larger_than_a_request_may_be_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(PROFILES["gathered"])
    settings = load_settings().model_copy(update={"workers": 1, "max_samples": 7})
    with pytest.raises(ConfigError, match=r"profile p: groups.size is 8.*max_samples is 7"):
        create_engine(load_profiles([tmp_path]), settings, Metrics())
