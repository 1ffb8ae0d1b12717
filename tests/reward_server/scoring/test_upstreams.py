"""A dead upstream: `/ready` reports it, with 200 or 503 as configured; it recovers by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.clients.peers import Reply, Seen
from tests.reward_server.remote.conftest import StartPeer, start_peer
from tests.reward_server.remote.engine_process import EngineProcess, judged_by
from tests.reward_server.remote.test_judge import YES, sample
from tests.waiting import until, wait_until
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.remote import liveness
from touchstone_rewards.reward_server.remote.judge import Judge
from touchstone_rewards.reward_server.remote.liveness import EndpointState, Liveness
from touchstone_rewards.reward_server.scoring.upstreams import Upstreams

__all__ = ["start_peer"]


@pytest.fixture
def engine() -> Any:
    engine = EngineProcess()
    engine.start()
    yield engine
    engine.kill()


def score(live: LiveServer, profile: str, *responses: str, truth: str = "46") -> list[Any]:
    samples = [
        {"id": str(at), "response": response, "ground_truth": truth}
        for at, response in enumerate(responses)
    ]
    body = {"profile": profile, "samples": samples}
    answer = httpx2.post(f"{live.url}/score", json=body)
    return [result["reward"] for result in answer.raise_for_status().json()["results"]]


def ready(live: LiveServer) -> tuple[int, dict[str, Any]]:
    answer = httpx2.get(f"{live.url}/ready")
    return answer.status_code, answer.json()


def up(live: LiveServer) -> float:
    text = httpx2.get(f"{live.url}/metrics").text
    [line] = [line for line in text.splitlines() if line.startswith("reward_upstream_up{")]
    return float(line.rpartition(" ")[2])


def fail_until_open(live: LiveServer, profile: str) -> None:
    """Score until the breaker of the judge's only endpoint is open; no score is 0."""

    def is_open() -> bool:
        assert set(score(live, profile, *map(str, range(100, 104)))) <= {None}
        return up(live) == 0

    wait_until(is_open)


def test_ready_tells_of_a_dead_upstream_and_the_server_goes_on(
    start_server: Callable[..., LiveServer], engine: EngineProcess, tmp_path: Path
) -> None:
    live = judged_by(start_server, tmp_path, engine.port)
    assert score(live, "judged", "a", "b") == [1.0, 1.0]
    assert up(live) == 1
    assert "upstreams" not in ready(live)[1]
    engine.kill()
    fail_until_open(live, "judged")
    status, told = ready(live)
    assert (status, told["status"]) == (200, "ok")
    dead = "none of its 1 endpoints answers"
    assert told["upstreams"] == {"both.judge": dead, "judged.judge": dead}
    assert score(live, "math", "46", "45") == [1.0, 0.0]
    assert score(live, "both", "46", "45") == [1.0, 0.0]
    assert score(live, "both", "so it is", truth="it is continuous") == [None]
    engine.start()  # nobody scores, and yet its recovery is noticed
    wait_until(lambda: "upstreams" not in ready(live)[1])
    assert up(live) == 1
    assert score(live, "judged", "c") == [1.0]


def test_a_dead_upstream_makes_the_server_unready_where_that_is_configured(
    start_server: Callable[..., LiveServer], engine: EngineProcess, tmp_path: Path
) -> None:
    live = judged_by(start_server, tmp_path, engine.port, "--ready_needs_upstreams")
    engine.kill()
    fail_until_open(live, "judged")
    status, told = ready(live)
    assert (status, told["status"]) == (503, "not_ready")
    assert "judged.judge: none of its 1 endpoints answers" in told["reason"]
    assert score(live, "math", "46") == [1.0]  # a reader of /ready still gets an answer
    data = httpx2.get(f"{live.url}/dashboard/data").json()
    [upstream] = data["server"]["upstreams"]
    assert upstream["scorer"] == "both.judge"
    assert [each[1] for each in upstream["endpoints"]] == [False]
    engine.start()
    wait_until(lambda: ready(live)[0] == 200)


def test_the_dashboard_is_told_what_a_judge_costs(
    start_server: Callable[..., LiveServer], engine: EngineProcess, tmp_path: Path
) -> None:
    live = judged_by(start_server, tmp_path, engine.port)
    assert score(live, "judged", "a", "a", "b") == [1.0] * 3
    data = httpx2.get(f"{live.url}/dashboard/data").json()
    [upstream] = data["server"]["upstreams"]
    usage = upstream["usage"]
    assert (usage["calls"], usage["cache_hits"]) == (2, 1)
    assert usage["cost"] == pytest.approx(2 * (100 * 1.0 + 20 * 5.0) / 1e6)
    assert usage["seconds"] > 0
    assert json.dumps(upstream["endpoints"]).count("127.0.0.1") == 1


async def test_an_endpoint_is_down_until_it_answers_and_one_of_two_is_enough(
    start_peer: StartPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "EVERY_S", 0.0)
    broken = True

    def act(request: Seen) -> Reply:
        return Reply(503, "no") if broken else YES

    first, second = await start_peer(act), await start_peer(lambda _: YES)
    judge = Judge(url=[first.url, second.url], model="m")
    alone = Judge(url=first.url, model="m")
    watched = {each: Liveness(each.transport) for each in (judge, alone)}
    assert [state.up for state in watched[judge].states()] == [True, True]  # not yet asked
    for at in range(12):
        await judge.score([sample(str(at))])
    await until(lambda: not watched[judge].states()[0].up or not broken)
    assert [state.up for state in watched[judge].states()] == [False, True]
    assert not watched[judge].all_down

    while not watched[alone].all_down:
        [score] = await alone.score([sample("x")])
        assert score.value is None
    asked = len(first.seen)
    watched[alone].look()
    await until(lambda: len(first.seen) > asked)
    assert watched[alone].all_down  # 503 is no sign of life
    broken = False

    def is_back() -> bool:
        watched[alone].look()
        return not watched[alone].all_down

    await until(is_back)
    [score] = await alone.score([sample("y")])
    assert score.value == 1.0
    for each in watched:
        await each.transport.aclose()


def test_a_judge_that_a_group_scorer_asks_is_told_of_too(tmp_path: Path) -> None:
    judge = {"url": "http://127.0.0.1:9/v1", "model": "m"}
    scorers = {"dummy": {}, "place": {"scorer": "rank", "weight": 0, "config": {"judge": judge}}}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({"scorers": scorers}))
    [state] = Upstreams(load_profiles([tmp_path]), {}).states()
    assert state.scorer == "p.place"
    assert state.endpoints == [EndpointState("http://127.0.0.1:9/v1/chat/completions", True, 0)]
