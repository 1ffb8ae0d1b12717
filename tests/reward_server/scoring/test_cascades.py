"""Cascades: a scorer runs only where another one's verdict says so, and replaces it; an undecided
or failed verdict pays nothing. The judge is a real endpoint on loopback that follows a script.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from msgspec import UNSET

from tests.checkout import PLUGINS, run_command
from tests.clients.peers import Action, Peer, Reply, Seen
from tests.reward_server.remote.conftest import StartPeer, start_peer
from tests.reward_server.remote.engine_process import EngineProcess, judged_by
from tests.waiting import wait_until
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.remote.judge import Judge
from touchstone_rewards.reward_server.schemas import Message, Sample, SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scoring.engine import Engine, create_engine
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

__all__ = ["start_peer"]

Start = Callable[..., Awaitable[Engine]]
PROSE = "The function is continuous on its domain."
UNREAD = "[[["  # a ground truth that mathematics cannot read
MATH_THEN_JUDGE = {
    "math": {},
    "judge": {"when": {"math": "undecided"}, "replaces": "math", "config": {}},
}


def says(request: Seen) -> Action:
    """A judge that does what the response asks of it."""
    prompt = request.body["messages"][0]["content"]
    if "outage" in prompt:
        return Reply(400, "broken")
    text = "Verdict: yes" if "agree" in prompt else "Verdict: no"
    text = "hm" if "confuse" in prompt else text
    choice = {"message": {"content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": 2}
    return Reply(200, {"model": "m", "choices": [choice], "usage": usage})


@pytest.fixture
async def judge(start_peer: StartPeer) -> Peer:
    return await start_peer(says)


@pytest.fixture
async def start(tmp_path: Path, judge: Peer) -> AsyncIterator[Start]:
    engines: list[Engine] = []

    async def begin(profiles: dict[str, dict[str, Any]]) -> Engine:
        write(tmp_path, judge.url, profiles)
        settings = load_settings(overrides={"workers": 1})
        engine = create_engine(load_profiles([tmp_path], plugins=PLUGINS), settings, Metrics())
        engines.append(engine)
        await engine.start()
        return engine

    yield begin
    for engine in engines:
        for profile in engine.profiles.values():
            for scorer in profile.scorers.values():
                if isinstance(scorer, Judge):
                    await scorer.transport.aclose()
        await engine.stop()


def write(folder: Path, url: str, profiles: dict[str, dict[str, Any]]) -> None:
    for name, content in copy.deepcopy(profiles).items():
        for key, entry in content.get("scorers", {}).items():
            if entry.get("scorer", key) == "judge":
                entry["config"] = {"url": url, "model": "m", **entry.get("config", {})}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))


async def scored(
    engine: Engine, samples: list[Sample], profile: str = "p", **more: Any
) -> list[SampleResult]:
    return (await engine.score(ScoreRequest(samples, profile=profile, **more))).results


def sample(response: str, truth: Any = "46", **more: Any) -> Sample:
    return Sample(response[:20] + str(truth), response, ground_truth=truth, **more)


def metrics_of(engine: Engine) -> str:
    return engine.metrics.render()[0].decode()


async def test_the_judge_is_asked_where_the_rule_cannot_tell_and_nowhere_else(
    start: Start, judge: Peer
) -> None:
    engine = await start({"p": {"scorers": MATH_THEN_JUDGE}})
    results = await scored(
        engine,
        [
            sample("\\boxed{46}"),
            sample("\\boxed{45}"),
            sample("I agree that it is continuous.", PROSE),
            sample("It is not.", PROSE),
            sample("I agree: \\boxed{46}", UNREAD),
            sample("\\boxed{I agree with all of the reference}"),
        ],
    )
    assert [result.reward for result in results] == [1.0, 0.0, 1.0, 0.0, 1.0, 1.0]
    assert [result.scores["math"] for result in results] == [1.0, 0.0, 0.0, 0.0, None, 0.0]
    assert [result.scores["judge"] for result in results] == [None, None, 1.0, 0.0, 1.0, 1.0]
    by = [result.decided_by for result in results]
    assert by == [{"math": "math"}] * 2 + [{"math": "judge"}] * 4
    assert all(result.status == "ok" and result.error is None for result in results)
    assert len(judge.seen) == 4


async def test_what_is_undecided_pays_nothing_alone(start: Start) -> None:
    samples = [
        sample("I agree that it is continuous.", PROSE),
        sample("\\boxed{I agree with all of the reference}"),
        sample("\\boxed{" + "(" * 60 + "46" + ")" * 60 + "}", "47"),
        sample("46", UNREAD),
    ]
    engine = await start({"p": {"scorers": {"math": {}}}})
    results = await scored(engine, samples)
    assert [result.reward for result in results] == [0.0, 0.0, 0.0, None]
    assert results[-1].error is not None
    assert results[-1].error.code == "bad_ground_truth"
    assert all(result.decided_by is UNSET for result in results)


async def test_who_confuses_the_judge_keeps_the_first_verdict_and_an_outage_is_null(
    start: Start,
) -> None:
    engine = await start({"p": {"scorers": MATH_THEN_JUDGE}})
    confused, unread, outage, unread_outage = await scored(
        engine,
        [
            sample("confuse the judge", PROSE),
            sample("46, to confuse the judge", UNREAD),
            sample("outage of the judge", PROSE),
            sample("46, and an outage of the judge", UNREAD),
        ],
    )
    assert (confused.reward, confused.decided_by) == (0.0, {"math": None})
    assert unread.reward is None
    assert unread.error is not None
    assert unread.error.code == "bad_ground_truth"
    for result in (outage, unread_outage):
        assert (result.reward, result.status, result.decided_by) == (None, "error", {"math": None})
        assert result.error is not None
        assert result.error.code == "upstream_failed"
    for outcome in ("undecided", "failed"):
        assert _count(metrics_of(engine), "p", "judge", outcome) == 2


def _count(text: str, profile: str, scorer: str, outcome: str) -> float:
    for line in text.splitlines():
        wanted = (f'profile="{profile}"', f'scorer="{scorer}"', f'outcome="{outcome}"')
        if line.startswith("reward_cascade_samples_total{") and all(w in line for w in wanted):
            return float(line.rpartition(" ")[2])
    return 0.0


async def test_a_second_opinion_on_refusals(start: Start, judge: Peer) -> None:
    entry = {"when": {"math": 0}, "replaces": "math"}
    engine = await start({"p": {"scorers": {"math": {}, "judge": entry}}})
    right, refused, saved, unread = await scored(
        engine,
        [
            sample("\\boxed{46}"),
            sample("\\boxed{45}"),
            sample("I agree, \\boxed{45}"),
            sample("I agree, 46", UNREAD),
        ],
    )
    assert [right.reward, refused.reward, saved.reward] == [1.0, 0.0, 1.0]
    assert (refused.decided_by, saved.decided_by) == ({"math": "judge"}, {"math": "judge"})
    assert unread.error is not None  # null is no refusal, so the judge is not asked
    assert unread.error.code == "bad_ground_truth"
    assert len(judge.seen) == 2


async def test_who_confuses_the_judge_keeps_a_0_and_no_more(start: Start) -> None:
    profiles = {
        name: {"scorers": {"math": {}, "judge": {"when": {"math": said}, "replaces": "math"}}}
        for name, said in {"refused": 0, "accepted": 1}.items()
    }
    engine = await start(profiles)
    [refused] = await scored(engine, [sample("confuse \\boxed{45}")], "refused")
    assert (refused.reward, refused.decided_by) == (0.0, {"math": "math"})
    kept, refuted, confused = await scored(
        engine,
        [
            sample("I agree, \\boxed{46}"),
            sample("\\boxed{46}"),
            sample("confuse \\boxed{46}"),
        ],
        "accepted",
    )
    assert [kept.reward, refuted.reward, confused.reward] == [1.0, 0.0, None]
    assert confused.error is not None
    assert confused.error.code == "upstream_failed"
    assert confused.decided_by == {"math": None}


async def test_only_the_data_can_bring_about_an_unread_truth(start: Start, judge: Peer) -> None:
    entry = {"when": {"math": "unread_truth"}, "replaces": "math"}
    engine = await start({"p": {"scorers": {"math": {}, "judge": entry}}})
    results = await scored(
        engine,
        [
            sample("\\boxed{I agree with all of the reference}"),
            sample("\\boxed{" + "(" * 60 + "agree" + ")" * 60 + "}"),
            sample("I agree", PROSE),
            sample("I agree without an answer", UNREAD),
            sample("I agree", {"an": "object", "is": "no answer"}),
        ],
    )
    assert [result.reward for result in results] == [0.0, 0.0, 1.0, 1.0, None]
    assert len(judge.seen) == 2


async def test_weights_and_gates_treat_what_is_replaced_as_one(start: Start) -> None:
    scorers = {
        "math": {"weight": 2.0, "gate_below": 0.5},
        "dummy": {"weight": 0.0},
        "length": {"weight": 1.0, "config": {"unit": "characters", "most": 1000}},
        "judge": {"when": {"math": "undecided"}, "replaces": "math"},
    }
    engine = await start({"p": {"scorers": scorers}})
    yes, no = await scored(engine, [sample("I agree", PROSE), sample("not so", PROSE)])
    assert yes.scores["length"] == no.scores["length"] == 1.0
    assert yes.reward == 3.0
    assert no.reward == 0.0  # behind the gate of math


async def test_what_replaces_nothing_adds_where_it_ran_and_gates_where_it_ran(
    start: Start,
) -> None:
    scorers = {
        "math": {},
        "judge": {"weight": 0.0, "gate_below": 0.5, "when": {"math": 1}},
        "extra": {"scorer": "judge", "weight": 0.25, "when": {"math": 1}, "config": {"seed": 1}},
    }
    engine = await start({"p": {"scorers": scorers}})
    samples = [sample("I agree \\boxed{46}"), sample("cheat \\boxed{46}"), sample("\\boxed{45}")]
    results = await scored(engine, samples)
    assert [result.reward for result in results] == [1.25, 0.0, 0.0]
    assert results[2].scores == {"math": 0.0, "judge": None, "extra": None}
    assert results[2].error is None
    [broken] = await scored(engine, [sample("outage \\boxed{46}")])
    assert broken.reward is None  # asked and failed is not the same as not asked


async def test_three_in_a_row_and_the_last_that_can_tell_decides(start: Start) -> None:
    later = {"scorer": "judge", "when": {"judge": "undecided"}, "config": {"prompt": "quality"}}
    for replaces in ("judge", "math"):
        big = {**later, "replaces": replaces, "config": {"prompt": "quality", "guided": True}}
        engine = await start({"p": {"scorers": {**MATH_THEN_JUDGE, "big": big}}})
        samples = [sample("I agree", PROSE), sample("confuse", PROSE), sample("46")]
        first, second, third = await scored(engine, samples)
        assert (first.reward, first.scores["big"]) == (1.0, None)
        # both judges are confused: the first verdict stands
        assert (second.reward, second.decided_by is not None) == (0.0, True)
        assert (third.reward, third.scores["judge"], third.scores["big"]) == (1.0, None, None)


async def test_a_scorer_that_failed_decides_nothing_for_those_that_wait_for_it(
    start: Start,
) -> None:
    acting = "tests.reward_server.remote_scorers:Acting"
    scorers = {
        "dummy": {},
        "far": {"scorer": acting, "weight": 0.0},
        "judge": {"weight": 0.0, "gate_below": 0.5, "when": {"far": 3}},
    }
    engine = await start({"p": {"scorers": scorers}})
    asked, passed, failed = await scored(engine, [sample("bad"), sample("good"), sample("raise")])
    assert (asked.reward, asked.scores["judge"]) == (0.0, 0.0)
    assert (passed.reward is not None, passed.scores["judge"]) == (True, None)
    assert failed.reward is None  # its gate is neither open nor closed
    assert failed.error is not None
    assert failed.error.code == "scorer_failed"


async def test_the_explanation_says_who_was_asked_and_why(start: Start) -> None:
    engine = await start({"p": {"scorers": MATH_THEN_JUDGE}})
    samples = [sample("46"), sample("I agree", PROSE)]
    decided, replaced = await scored(engine, samples, explain=True)
    assert decided.explanation is not None
    assert decided.explanation["judge"] == {"asked": False, "because": {"math": 1.0}}
    assert replaced.explanation is not None
    judge = replaced.explanation["judge"]
    assert (judge["asked"], judge["because"]) == (True, {"math": "unread_truth"})
    assert judge["votes"] == [1.0]
    assert replaced.explanation["math"]["undecided"] == "truth"


async def test_the_metrics_count_those_asked_and_leave_out_the_others(start: Start) -> None:
    engine = await start({"p": {"scorers": MATH_THEN_JUDGE}})
    await scored(engine, [sample("46"), sample("45"), sample("I agree", PROSE)])
    text = metrics_of(engine)
    assert _count(text, "p", "judge", "not_asked") == 2
    assert _count(text, "p", "judge", "decided") == 1
    unscored = 'reward_verdicts_total{profile="p",scorer="judge",verdict="unscored"}'
    assert unscored not in text


async def test_a_verdict_given_before_costs_no_call_and_is_undecided_again(
    start: Start, judge: Peer
) -> None:
    engine = await start({"p": {"scorers": MATH_THEN_JUDGE}})
    for _ in range(3):
        [result] = await scored(engine, [sample("I agree", PROSE)])
        assert (result.reward, result.decided_by) == (1.0, {"math": "judge"})
    assert len(judge.seen) == 1


async def test_routes_lead_to_cascades_and_groups_see_the_verdict_that_stands(
    start: Start,
) -> None:
    grouped = {**MATH_THEN_JUDGE, "rank": {"weight": 0.0, "config": {"of": "math"}}}
    route = {"by": "metadata.kind", "cases": {"prose": "p"}, "otherwise": "math"}
    engine = await start(
        {"p": {"scorers": MATH_THEN_JUDGE}, "g": {"scorers": grouped}, "r": {"route": route}}
    )
    prose = sample("I agree", PROSE, metadata={"kind": "prose"})
    inner, plain = await scored(engine, [prose, sample("45")], "r")
    assert (inner.reward, inner.routed_to, inner.decided_by) == (1.0, "p", {"math": "judge"})
    assert plain.reward == 0.0
    assert _count(metrics_of(engine), "r", "judge", "decided") == 1
    assert engine.profiles["r"].info.cascades["judge"].replaces == "math"
    group = [sample("I agree", PROSE, group_id="1"), sample("no", PROSE, group_id="1")]
    best, worst = await scored(engine, group, "g")
    assert best.scores["rank"] is not None
    assert worst.scores["rank"] is not None
    assert best.scores["rank"] > worst.scores["rank"]


async def test_turns_are_judged_by_turn_and_replaced_as_a_whole(start: Start) -> None:
    scorers = {
        "math": {"turns": "mean"},
        "judge": {"when": {"math": "undecided"}, "replaces": "math"},
    }
    engine = await start({"p": {"scorers": scorers}})
    turns = [Message("assistant", "\\boxed{46}"), Message("assistant", "\\boxed{I agree with it}")]
    one = Sample("1", "", ground_truth="46")
    one.response = turns  # type: ignore[assignment]
    [result] = await scored(engine, [one])
    assert result.turns == [1.0, 0.0]
    assert (result.scores["math"], result.reward) == (0.5, 1.0)


async def test_the_profile_says_what_it_reads_and_its_fingerprint_follows(
    start: Start,
) -> None:
    engine = await start({"p": {"scorers": MATH_THEN_JUDGE}})
    info = engine.profiles["p"].info
    assert "prompt" in info.needs  # the judge reads it, and the reward depends on the judge
    assert info.cascades["judge"].when == {"math": ["undecided"]}
    refusals = {**MATH_THEN_JUDGE["judge"], "when": {"math": [0, "undecided"]}}
    other = await start({"q": {"scorers": {"math": {}, "judge": refusals}}})
    assert other.profiles["q"].fingerprint != engine.profiles["p"].fingerprint


J = {"scorer": "judge", "config": {"url": "http://x/v1", "model": "m"}}
BAD: dict[str, dict[str, Any]] = {
    "when names 'maths', which is not one of the scorers: judge, math": {
        "math": {},
        "judge": {**J, "when": {"maths": "undecided"}},
    },
    "replaces names 'maths', which is not one of the scorers": {
        "math": {},
        "judge": {**J, "when": {"math": 0}, "replaces": "maths"},
    },
    "replaces 'math' is set without when": {"math": {}, "judge": {**J, "replaces": "math"}},
    "form a cycle: a -> b -> a": {
        "math": {},
        "a": {**J, "when": {"b": 0}},
        "b": {**J, "when": {"a": 0}},
    },
    "form a cycle: a -> a": {"math": {}, "a": {**J, "when": {"a": 0}}},
    "math never scores 2: its range is [0.0, 1.0]": {
        "math": {},
        "judge": {**J, "when": {"math": 2}},
    },
    "got 'unsure'; expected {math: undecided}": {
        "math": {},
        "judge": {**J, "when": {"math": "unsure"}},
    },
    "got True; expected": {"math": {}, "judge": {**J, "when": {"math": True}}},
    "got nan; expected": {"math": {}, "judge": {**J, "when": {"math": float("nan")}}},
    "got 'math'; expected": {"math": {}, "judge": {**J, "when": "math"}},
    "got {}; expected": {"math": {}, "judge": {**J, "when": {}}},
    "got []; expected": {"math": {}, "judge": {**J, "when": {"math": []}}},
    "takes over its weight and gate": {
        "math": {},
        "judge": {**J, "when": {"math": 0}, "replaces": "math", "weight": 0.5},
    },
    "cannot replace math: it must lie within [0.0, 1.0]": {
        "math": {},
        "wide": {
            "scorer": "tests.reward_server.remote_scorers:Acting",
            "when": {"math": 0},
            "replaces": "math",
        },
    },
    "no other scorer counts, so other samples would have no reward": {
        "math": {"weight": 0.0},
        "judge": {**J, "when": {"math": 0}},
    },
    "can neither have `when` nor appear in one": {
        "math": {},
        "rank": {"config": {"of": "math"}, "when": {"math": 0}},
    },
    "uses 'judge', which has `when`": {
        "math": {},
        "judge": {**J, "when": {"math": 0}},
        "rank": {"config": {"of": "judge"}},
    },
}


@pytest.mark.parametrize("message", BAD)
def test_a_bad_cascade_is_one_clear_line(message: str, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({"scorers": BAD[message]}))
    with pytest.raises(ConfigError) as caught:
        load_profiles([tmp_path], plugins=PLUGINS)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "p.yaml" in str(caught.value)


async def test_samples_of_other_profiles_go_on_while_the_judge_hangs(
    start: Start, judge: Peer
) -> None:
    judge.script = lambda request: Reply(200, "{}", after_s=3600)
    engine = await start({"p": {"scorers": MATH_THEN_JUDGE}})
    waiting = asyncio.create_task(scored(engine, [sample("I agree", PROSE)], deadline_ms=600_000))
    [plain] = await scored(engine, [sample("46")], "math")
    [decided] = await scored(engine, [sample("46")])
    assert (plain.reward, decided.reward) == (1.0, 1.0)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


@pytest.fixture
def chat() -> Iterator[EngineProcess]:
    engine = EngineProcess()
    engine.start()
    yield engine
    engine.kill()


PROSE_ROW = {"id": "p", "response": "It is so.", "ground_truth": PROSE}
ROWS = [PROSE_ROW, {"id": "r", "response": "46", "ground_truth": "46"}]


def posted(live: LiveServer, profile: str, rows: list[dict[str, Any]] = ROWS) -> list[Any]:
    body = {"profile": profile, "samples": rows}
    answer = httpx2.post(f"{live.url}/score", json=body)
    return answer.raise_for_status().json()["results"]


def test_a_cascade_is_a_shadow_and_has_one(
    start_server: Callable[..., LiveServer], chat: EngineProcess, tmp_path: Path
) -> None:
    for name, shadow in (("plain", "both"), ("beside", "math")):
        content: dict[str, Any] = {"scorers": {"math": {}}, "shadow": shadow}
        if name == "beside":
            entry = {"when": {"math": "undecided"}, "replaces": "math"}
            config = {"url": f"http://127.0.0.1:{chat.port}/v1", "model": "m"}
            content["scorers"]["judge"] = {**entry, "config": config}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    live = judged_by(start_server, tmp_path, chat.port)
    assert [each["reward"] for each in posted(live, "plain")] == [0.0, 1.0]
    assert [each["reward"] for each in posted(live, "beside")] == [1.0, 1.0]

    def infos() -> dict[str, Any]:
        listed = httpx2.get(f"{live.url}/profiles").json()["profiles"]
        return {each["name"]: each for each in listed}

    def compared(name: str) -> int:
        return (infos()[name]["shadow"] or {}).get("samples", 0)

    wait_until(lambda: compared("plain") == compared("beside") == 2)
    found = infos()
    assert found["plain"]["shadow"]["disagreements"] == 1
    assert found["beside"]["shadow"]["disagreements"] == 1
    assert found["both"]["cascades"] == {
        "judge": {"when": {"math": ["undecided"]}, "replaces": "math"}
    }
    metrics = httpx2.get(f"{live.url}/metrics").text
    assert _count(metrics, "beside", "judge", "decided") == 1
    assert _count(metrics, "both", "judge", "decided") == 0  # a shadow counts in no statistics


def test_a_logged_cascade_is_replayed_as_it_was(
    start_server: Callable[..., LiveServer], chat: EngineProcess, tmp_path: Path
) -> None:
    profiles, log = tmp_path / "profiles", tmp_path / "scores.jsonl"
    profiles.mkdir()
    live = judged_by(start_server, profiles, chat.port, "--score_log", str(log))
    first, second = posted(live, "both")
    assert (first["decided_by"], second["decided_by"]) == ({"math": "judge"}, {"math": "math"})
    live.stop()
    for normalization in ("none", "running"):
        content = yaml.safe_load((profiles / "both.yaml").read_text())
        content["normalization"] = normalization
        (profiles / "both.yaml").write_text(yaml.safe_dump(content))
        flags = ["--profile", "both", "--profiles_dir", profiles, "--workers", 1]
        done = run_command("replay", "--input", log, *flags)
        assert "2 scored again by both, 0 changed" in done.stdout, done.stderr
        assert "no reward" not in done.stdout
