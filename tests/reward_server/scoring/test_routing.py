"""Rows are routed to inner profiles by a field or by the profile that they name; no circles."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from touchstone_rewards.reward_server.errors import ConfigError, InvalidRequest
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.received import ReceivedRequest
from touchstone_rewards.reward_server.schemas import Sample, SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scoring.engine import Engine, create_engine
from touchstone_rewards.reward_server.scoring.reload import Reloader
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

FILES = {
    "tags": "scorers: {form: {scorer: format}}",
    "fixed": "scorers: {fixed: {scorer: dummy}}\nclip: [2.0, 3.0]",
    "mixed": "route: {by: metadata.source, cases: {a: tags, 7: fixed}}\nsample_profiles: [dummy]",
    "lenient": "route: {by: metadata.about.source, cases: {a: tags}, otherwise: fixed}",
    "outer": "route: {by: metadata.kind, cases: {x: mixed, y: dummy}}",
}
TAGGED = "<think> x </think> <answer> \\boxed{46} </answer>"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(name="YAML")` adds profiles to those of `FILES`."""

    def write(**files: str) -> Path:
        for name, content in (FILES | files).items():
            (tmp_path / f"{name}.yaml").write_text(content)
        return tmp_path

    return write


@pytest.fixture
async def engine(write: Write) -> AsyncIterator[Engine]:
    settings = load_settings().model_copy(update={"workers": 1})
    made = create_engine(load_profiles([write()]), settings, Metrics())
    await made.start()
    yield made
    await made.stop()


async def score(
    engine: Engine, profile: str, *samples: dict[str, Any], explain: bool = False
) -> list[SampleResult]:
    """Score samples as they arrive, with their metadata still as text."""
    body = {
        "samples": [{"id": str(i), "response": TAGGED, **each} for i, each in enumerate(samples)],
        "profile": profile,
        "explain": explain,
    }
    request = msgspec.json.decode(msgspec.json.encode(body), type=ReceivedRequest)
    return (await engine.score(request)).results


def source(value: Any, **more: Any) -> dict[str, Any]:
    return {"metadata": {"other": [1, {"source": "no"}], "source": value}, **more}


async def test_each_row_is_scored_by_the_profile_of_its_case_in_its_place(engine: Engine) -> None:
    results = await score(engine, "mixed", source(7), source("a"), source("7"), source("a"))
    assert [each.reward for each in results] == [2.0, 1.0, 2.0, 1.0]  # clipped by their own profile
    assert [each.id for each in results] == ["0", "1", "2", "3"]
    assert [each.routed_to for each in results] == ["fixed", "tags", "fixed", "tags"]
    assert [list(each.scores) for each in results] == [["form", "fixed", "dummy"]] * 4
    assert results[0].scores["form"] is results[0].scores["dummy"] is None
    assert results[1].scores == {"form": 1.0, "fixed": None, "dummy": None}


@pytest.mark.parametrize(
    ("sample", "code", "says"),
    [
        ({}, "missing_field", "metadata.source, which this sample does not have"),
        (source(None), "missing_field", "does not have"),
        (source("b"), "unsupported_input", r"is 'b' here, and there is no such case.* a, 7"),
        (source(True), "unsupported_input", "is True here; expected a text or a whole number"),
        (source(7.0), "unsupported_input", "is 7.0 here"),
        (source(["a"]), "unsupported_input", "expected a text"),
        (source({}), "unsupported_input", "expected a text"),
    ],
)
async def test_a_row_that_leads_nowhere_is_its_own_error_and_no_others(
    engine: Engine, sample: dict[str, Any], code: str, says: str
) -> None:
    lost, other = await score(engine, "mixed", sample, source("a"))
    assert (lost.status, lost.reward) == ("error", None)
    assert lost.scores == {"form": None, "fixed": None, "dummy": None}
    assert lost.error is not None
    assert (lost.error.code, lost.error.retryable) == (code, False)
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(lost.error.message)
    assert other.reward == 1.0


async def test_otherwise_names_the_profile_of_all_other_rows(engine: Engine) -> None:
    deep = {"metadata": {"about": {"source": "a"}}}
    others = [{}, {"metadata": {"about": ["a"]}}, {"metadata": {"about": {"source": "zzz"}}}]
    results = await score(engine, "lenient", deep, *others)
    assert [each.routed_to for each in results] == ["tags", "fixed", "fixed", "fixed"]


async def test_a_sample_may_name_a_profile_that_the_requests_profile_permits(
    engine: Engine,
) -> None:
    named = [
        source("a", profile="dummy"),
        source("a", profile="math"),
        source("a", profile="mixed"),
        source("a"),
    ]
    results = await score(engine, "mixed", *named, explain=True)
    assert [each.routed_to or None for each in results] == ["dummy", None, "tags", "tags"]
    assert results[1].error is not None
    assert results[1].error.code == "unsupported_input"
    assert "sample_profiles are dummy" in results[1].error.message
    assert (results[0].explanation or {})["route"] == {
        "profile": "dummy",
        "by": "profile",
        "value": "dummy",
    }
    [refused] = await score(engine, "tags", {"profile": "dummy"})
    assert refused.reward is None
    [own] = await score(engine, "tags", {"profile": "tags"})
    assert own.reward == 1.0


async def test_a_route_may_lead_to_a_route(engine: Engine) -> None:
    samples = [
        {"metadata": {"kind": "x", "source": "a"}},
        {"metadata": {"kind": "y"}},
        {"metadata": {"kind": "x", "source": "?"}},
    ]
    results = await score(engine, "outer", *samples, explain=True)
    assert [each.reward for each in results] == [1.0, results[1].scores["dummy"], None]
    keys = {tuple(each.scores) for each in results}
    assert keys == {tuple(engine.profiles["outer"].info.scorers)}
    about = (results[0].explanation or {})["route"]
    assert about["profile"] == "mixed"
    assert about["then"] == {"profile": "tags", "by": "metadata.source", "value": "a"}


async def test_metadata_that_is_no_json_is_refused_as_elsewhere(engine: Engine) -> None:
    body = b'{"samples": [{"id": "1", "response": "x", "metadata": {"source": "\xff"}}]}'
    request = msgspec.json.decode(body, type=ReceivedRequest)
    request.profile = "mixed"
    with pytest.raises(InvalidRequest, match="metadata does not fit"):
        await engine.score(request)


async def test_only_what_applies_to_a_row_is_counted(engine: Engine) -> None:
    await score(engine, "mixed", source("a"), source("a"), source(7), source("?"))
    text = engine.metrics.render()[0].decode()
    assert 'reward_routed_samples_total{profile="mixed",routed_to="tags"} 2.0' in text
    assert 'reward_routed_samples_total{profile="mixed",routed_to="fixed"} 1.0' in text
    assert 'reward_score_bucket{le="+Inf",profile="mixed",scorer="form"} 2.0' in text
    assert 'reward_samples_total{profile="mixed",status="ok"} 3.0' in text
    assert 'reward_samples_total{profile="mixed",status="unsupported_input"} 1.0' in text
    assert 'verdict="unscored"' not in text


def test_profiles_say_what_a_routed_row_must_have(write: Write) -> None:
    files = {"two": "route: {by: metadata.source, cases: {g: math, f: mixed}, otherwise: mixed}"}
    info = load_profiles([write(**files)])["two"].info
    assert info.scorers == ["math", "format", "form", "fixed", "dummy"]
    assert info.reads == ["response", "ground_truth", "metadata", "profile"]
    assert info.needs == ["response", "ground_truth", "metadata"]
    assert info.route is not None
    assert (info.route.by, info.route.cases["g"]) == ("metadata.source", "math")
    assert info.ranges["math"] == (0.0, 1.0)


def test_the_fingerprint_follows_the_inner_profiles(write: Write) -> None:
    before = load_profiles([write()])
    after = load_profiles([write(fixed="scorers: {fixed: {scorer: dummy}}\nclip: [4.0, 5.0]")])
    for name in ("mixed", "lenient", "outer"):
        assert before[name].fingerprint != after[name].fingerprint
    assert before["tags"].fingerprint == after["tags"].fingerprint
    other = load_profiles([write(mixed=FILES["mixed"].replace("a: tags", "b: tags"))])
    assert other["mixed"].fingerprint != before["mixed"].fingerprint


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"a": "route: {by: metadata.k, cases: {x: a}}"}, "profile a: .* a -> a"),
        (
            {
                "a": "route: {by: metadata.k, cases: {x: b}}",
                "b": "route: {by: metadata.k, cases: {x: dummy}, otherwise: a}",
            },
            "a -> b -> a",
        ),
        (
            {
                "a": "scorers: {dummy: {}}\nsample_profiles: [b]",
                "b": "scorers: {dummy: {}}\nsample_profiles: [a]",
            },
            "a -> b -> a",
        ),
        ({"a": "route: {by: metadata.k, cases: {x: mth}}"}, "profile a: it leads to 'mth'.*math"),
        ({"a": "route: {by: id, cases: {x: math}}"}, "a.yaml: route.by: got 'id'; expected"),
        ({"a": "route: {by: metadata, cases: {x: math}}"}, "expected a metadata field"),
        ({"a": "route: {by: metadata.k, cases: {yes: math}}"}, "case True is neither.*quote it"),
        ({"a": "route: {by: metadata.k, cases: {}}"}, "cases"),
        ({"a": "route: {by: metadata.k, cases: {x: math}}\nclip: [0, 1]"}, "clip is set beside"),
        ({"a": "description: x"}, "neither scorers nor a route"),
        ({"error": "scorers: {dummy: {}}"}, "cannot be called 'error'"),
        (
            {
                "a": "scorers: {route: {scorer: dummy}}",
                "b": "route: {by: metadata.k, cases: {x: a}}",
            },
            "'a' has a scorer with the key 'route'",
        ),
    ],
)
def test_a_route_that_cannot_be_followed_refuses_to_load(
    write: Write, files: dict[str, str], says: str
) -> None:
    with pytest.raises(ConfigError, match=f"(?s){says}"):
        load_profiles([write(**files)])


async def test_a_reload_of_an_inner_profile_changes_the_outer_one(
    engine: Engine, write: Write
) -> None:
    reloader = Reloader(engine, [write()])
    write(fixed="scorers: {fixed: {scorer: dummy}}\nclip: [4.0, 5.0]")
    report = await reloader.reload()
    assert {"fixed", "mixed", "lenient", "outer"} <= set(report.changed)
    [result] = await score(engine, "mixed", source(7))
    assert result.reward == 4.0


async def test_samples_made_in_this_process_are_routed_alike(engine: Engine) -> None:
    samples = [
        Sample("0", TAGGED, metadata={"source": "a"}),
        Sample("1", TAGGED, metadata={"source": 7}),
        Sample("2", TAGGED, metadata={"source": True}),
    ]
    results = (await engine.score(ScoreRequest(samples, "mixed"))).results
    assert [each.routed_to or None for each in results] == ["tags", "fixed", None]
