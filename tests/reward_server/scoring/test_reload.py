"""Profiles replaced in a running server, all or none, without losing a request."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx2
import pytest

from tests.checkout import PLUGINS
from tests.waiting import PATIENCE_S, until, wait_until
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.schemas import Sample, ScoreRequest
from touchstone_rewards.reward_server.scoring.engine import Engine, create_engine
from touchstone_rewards.reward_server.scoring.reload import Reloader
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

KEY = {"authorization": "Bearer sesame"}
COUNTING = "{scorer: 'tests.reward_server.counting_scorer:Counting', config: {file: FILE}}"
MODEL = "scorers: {dying: {scorer: 'tests.reward_server.dying_model:DyingScorer'}}\n"


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    folder = tmp_path / "profiles"
    folder.mkdir()
    write(folder, mine="scorers: {format: {weight: 2}}\n")
    return folder


def write(folder: Path, **contents: str) -> None:
    for name, content in contents.items():
        new = folder / f"{name}.new"
        new.write_text(content.replace("FILE", str(folder.parent / "counted")))
        new.replace(folder / f"{name}.yaml")


def reward(server: LiveServer, profile: str = "mine") -> tuple[float, str]:
    text = "<think>x</think><answer>\\boxed{4}</answer>"
    body = {"profile": profile, "samples": [{"id": "1", "response": text, "ground_truth": "4"}]}
    answer = httpx2.post(f"{server.url}/score", json=body, headers=KEY).json()
    return answer["results"][0]["reward"], answer["fingerprint"]


def reload(server: LiveServer) -> httpx2.Response:
    return httpx2.post(f"{server.url}/profiles/reload", headers=KEY)


def test_a_server_serves_what_the_files_say_once_it_is_asked_to(
    profiles: Path, start_server: Callable[..., LiveServer]
) -> None:
    server = start_server("--profiles_dir", str(profiles), REWARD_ADMIN_KEY="sesame")
    before = reward(server)
    write(profiles, mine="scorers: {format: {weight: 3}}\n", math="scorers: {dummy: {}}\n")
    write(profiles, counted=f"scorers: {{format: {{weight: 0}}, long: {COUNTING}}}\n")
    assert reward(server) == before
    report = reload(server).json()
    assert (report["added"], report["changed"]) == (["counted"], ["math", "mine"])
    assert report["removed"] == []
    after = reward(server)
    assert (before[0], after) == (2.0, (3.0, report["fingerprints"]["mine"]))
    assert reward(server, "counted")[0] == len("<think>x</think><answer>\\boxed{4}</answer>")
    assert reward(server, "math_strict")[0] == 1.0  # its scorer was there before

    for file in (profiles / "math.yaml", profiles / "counted.yaml"):
        file.unlink()
    assert reload(server).json()["removed"] == ["counted"]
    assert reward(server, "math")[0] == 1.0  # the built-in one again
    unknown = {"profile": "counted", "samples": []}
    assert httpx2.post(f"{server.url}/score", json=unknown, headers=KEY).status_code == 404


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("scorers: {", "cannot read profile"),
        ("scorers: {format: {wieght: 1}}", "wieght: unknown key"),
        ("scorers: {x: {scorer: 'tests.no_such_module:X'}}", "no_such_module"),
        ("scorers: {x: {scorer: 'subprocess:Popen'}}", "'subprocess' is not allowed in profiles"),
        ("scorers: {format: {}}\nshadow: nowhere", "shadow 'nowhere'"),
        (
            "scorers: {x: {scorer: 'tests.reward_server.hostile_scorers:Astray'}}",
            "reads \\['answer'\\], which no sample has",
        ),
        ("scorers: {x: {scorer: 'this:x', config: {}}}", "not allowed"),
        ("scorers: {x: {scorer: 'tests.checkout:x', config: {}}}", "cannot be imported"),
    ],
)
async def test_a_broken_file_leaves_the_old_profiles_serving_and_says_so(
    profiles: Path, engine: Engine, content: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    reloader = Reloader(engine, [profiles], PLUGINS)
    engine.metrics.watch(reloader.readings())
    before = engine.profiles["mine"].fingerprint
    write(profiles, mine="scorers: {format: {weight: 9}}\n", broken=content)
    with pytest.raises(ConfigError, match=said):
        await reloader.reload()
    assert "profiles not reloaded" in caplog.text
    shown = engine.metrics.render()[0].decode()
    assert 'reward_profile_reloads_total{outcome="refused"} 1.0' in shown
    assert 'reward_profiles_refused{source="files"} 1.0' in shown
    assert engine.profiles["mine"].fingerprint == before
    (profiles / "broken.yaml").unlink()
    await reloader.reload()
    assert engine.profiles["mine"].fingerprint != before
    assert b'reward_profiles_refused{source="files"} 0.0' in engine.metrics.render()[0]


def test_the_route_says_why_and_asks_for_a_key(
    profiles: Path, start_server: Callable[..., LiveServer]
) -> None:
    keyed = start_server("--profiles_dir", str(profiles), REWARD_ADMIN_KEY="sesame")
    assert httpx2.post(f"{keyed.url}/profiles/reload").status_code == 401
    write(profiles, broken="scorers: {format: {config: {stile: x}}}")
    refused = reload(keyed)
    assert refused.status_code == 422
    message = refused.json()["error"]["message"]
    assert "the old profiles stay in service" in message
    assert "broken.yaml" in message
    assert "stile" in message
    assert reward(keyed)[0] == 2.0
    (profiles / "broken.yaml").unlink()
    open_to_all = start_server("--profiles_dir", str(profiles))
    assert reload(open_to_all).status_code == 401


@pytest.mark.parametrize("how", ["signal", "polling"])
def test_a_signal_or_a_changed_file_reloads(
    profiles: Path, start_server: Callable[..., LiveServer], how: str
) -> None:
    polling = ["--reload_s", "0.1"] if how == "polling" else []
    server = start_server("--profiles_dir", str(profiles), *polling)
    assert server.process is not None
    write(profiles, mine="scorers: {format: {weight: 5}}\n")
    if how == "signal":
        os.kill(server.process.pid, signal.SIGHUP)
    wait_until(lambda: reward(server)[0] == 5.0)
    wait_until(lambda: "profiles reloaded" in server.log.read_text())


@pytest.fixture
async def engine(profiles: Path) -> AsyncIterator[Engine]:
    patience = {"sample_deadline_s": 2 * PATIENCE_S, "request_deadline_s": PATIENCE_S}
    settings = load_settings(overrides={"workers": 2, **patience})
    engine = create_engine(load_profiles([profiles], plugins=PLUGINS), settings, Metrics())
    await engine.start()
    yield engine
    await engine.stop()


async def test_requests_in_flight_finish_with_the_profile_they_began_with(
    profiles: Path, engine: Engine
) -> None:
    reloader = Reloader(engine, [profiles], PLUGINS)
    write(profiles, mine=f"scorers: {{long: {COUNTING}}}\n")
    await reloader.reload()
    before = engine.profiles["mine"].fingerprint
    samples = [Sample(str(at), "x" * at, "wait", "1") for at in range(4)]
    scoring = asyncio.create_task(engine.score(ScoreRequest(samples, "mine")))
    await until((profiles.parent / "counted").exists)
    write(profiles, mine=f"scorers: {{long: {COUNTING}, math: {{config: {{rounding: exact}}}}}}\n")
    await reloader.reload()
    assert not scoring.done()
    (profiles.parent / "counted.open").touch()
    answer = await scoring
    assert [result.scores for result in answer.results] == [{"long": float(at)} for at in range(4)]
    assert answer.fingerprint == before != engine.profiles["mine"].fingerprint


JUDGED = "scorers: {judge: {config: {url: 'URL', model: m, max_tokens: MOST}}}\n"
YES = b'{"model": "m", "choices": [{"message": {"content": "Verdict: yes"}}]}'


async def test_connections_are_closed_with_the_judge_that_has_them(profiles: Path) -> None:
    connections: set[asyncio.StreamWriter] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.rpartition(b": ")[2]))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(YES) + YES)
        except asyncio.IncompleteReadError:
            connections.discard(writer)
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    judged = JUDGED.replace("URL", url)
    write(profiles, mine=judged.replace("MOST", "5"), same=judged.replace("MOST", "7"))
    settings = load_settings(overrides={"workers": 1})
    engine = create_engine(load_profiles([profiles]), settings, Metrics())
    await engine.start()
    request = [Sample("1", "4", "2 + 2?", "4")]
    for profile in ("mine", "same"):
        assert (await engine.score(ScoreRequest(request, profile))).results[0].reward == 1.0
    assert len(connections) == 2
    write(profiles, mine=judged.replace("MOST", "6"))
    await Reloader(engine, [profiles]).reload()
    await until(lambda: len(connections) == 1)
    assert (await engine.score(ScoreRequest(request, "mine"))).results[0].reward == 1.0
    assert len(connections) == 2
    await engine.stop()
    await until(lambda: not connections)
    server.close()


async def test_no_sample_is_lost_while_the_workers_are_exchanged(
    profiles: Path, engine: Engine
) -> None:
    reloader = Reloader(engine, [profiles], PLUGINS)
    done = False

    async def ask() -> int:
        rewards = 0
        while not done:
            samples = [Sample(str(at), f"\\boxed{{{at}}}", None, str(at)) for at in range(20)]
            answer = await engine.score(ScoreRequest(samples, "math"))
            assert [result.reward for result in answer.results] == [1.0] * 20
            rewards += 20
            await asyncio.sleep(0)  # what the cache has needs no waiting
        return rewards

    asking = [asyncio.create_task(ask()) for _ in range(4)]
    for digits in range(5):
        file = "{file: FILE}" if digits % 2 else "{file: FILE2}"
        write(profiles, mine=f"scorers: {{long: {COUNTING.replace('{file: FILE}', file)}}}\n")
        await reloader.reload()
        await asyncio.sleep(0.1)
    done = True
    assert min(await asyncio.gather(*asking)) > 0


async def test_models_are_loaded_and_let_go_as_profiles_need_them(
    profiles: Path, engine: Engine
) -> None:
    reloader = Reloader(engine, [profiles], PLUGINS)
    write(profiles, neural=MODEL, twin=MODEL)
    await reloader.reload()
    held = engine.models.batchers["dying"]
    answer = await engine.score(ScoreRequest([Sample("1", "fine")], "neural"))
    assert answer.results[0].reward == 0.5
    (profiles / "twin.yaml").unlink()
    await reloader.reload()
    assert engine.models.batchers["dying"] is held  # not loaded again
    (profiles / "neural.yaml").unlink()
    await reloader.reload()
    assert not engine.models.batchers
    assert b'reward_model_ready{model="dying"}' not in engine.metrics.render()[0]
