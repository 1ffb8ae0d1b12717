"""A shadow scores the same samples and says where it disagrees; the reward is not its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from tests.live_server import PLUGINS, LiveServer
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.schemas import Sample, ScoreRequest
from touchstone_rewards.reward_server.scoring.engine import create_engine
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics
from touchstone_rewards.reward_server.watching.background import attach, running

LIVE = "scorers: {math: {}}\nshadow: strict\n"
STRICT = "scorers: {math: {config: {rounding: exact, answer_from: [boxed]}}}\n"


def write(folder: Path, **profiles: str) -> Path:
    for name, content in profiles.items():
        (folder / f"{name}.yaml").write_text(content)
    return folder


def shadow_info(server: LiveServer, samples: int) -> dict:
    """What `GET /profiles` says of the shadow as soon as it has seen so many samples."""
    give_up_at = time.monotonic() + 30
    while time.monotonic() < give_up_at:
        listed = httpx2.get(f"{server.url}/profiles").json()["profiles"]
        [info] = [profile["shadow"] for profile in listed if profile["name"] == "live"]
        if info and info["samples"] + info["dropped"] + info["failed"] >= samples:
            return info
        time.sleep(0.1)
    raise TimeoutError


def test_a_shadow_reports_where_it_disagrees_and_leaves_the_reward_alone(
    tmp_path: Path, start_server: Callable[..., LiveServer]
) -> None:
    server = start_server("--profiles_dir", str(write(tmp_path, live=LIVE, strict=STRICT)))
    texts = ["\\boxed{4}", "so it is 4", "\\boxed{5}", "\\boxed{4}"]
    truths = ["4", "4", "4", None]
    samples = [
        {"id": str(at), "response": text, "ground_truth": truth}
        for at, (text, truth) in enumerate(zip(texts, truths, strict=True))
    ]
    body = {"profile": "live", "samples": samples}
    answer = httpx2.post(f"{server.url}/score", json=body, timeout=30).json()
    assert [result["reward"] for result in answer["results"]] == [1.0, 1.0, 0.0, None]
    assert shadow_info(server, 4) == {
        "profile": "strict",
        "samples": 4,
        "disagreements": 1,
        "failed": 1,
        "dropped": 0,
        "compared": 3,
        "mean_difference": pytest.approx(1 / 3),
    }
    metrics = httpx2.get(f"{server.url}/metrics").text
    assert 'reward_shadow_disagreements_total{profile="live"} 1.0' in metrics
    assert 'reward_samples_total{profile="strict"' not in metrics


async def test_the_last_disagreements_are_kept_whole(tmp_path: Path) -> None:
    content = "scorers: {format: {}}\nshadow: format\n"
    write(tmp_path, mine=content.replace("{}}", "{weight: -1}}"))
    metrics = Metrics()
    settings = load_settings(overrides={"workers": 1})
    engine = create_engine(load_profiles([tmp_path], plugins=PLUGINS), settings, metrics)
    background = attach(engine, settings, metrics)
    good = "<think>x</think><answer>\\boxed{4}</answer>"
    await engine.start()
    async with running(background):
        await engine.score(ScoreRequest([Sample("a", good), Sample("b", "4")], "mine"))
        async with asyncio.timeout(30):
            while not background.shadows.infos.get("mine"):
                await asyncio.sleep(0.01)
    await engine.stop()
    [found] = background.shadows.disagreements
    assert (found.profile, found.shadow, found.sample.response) == ("mine", "format", good)
    assert (found.result.reward, found.shadow_result.reward) == (-1.0, 1.0)


async def test_what_a_shadow_is_too_late_for_is_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("touchstone_rewards.reward_server.watching.shadow.MAX_WAITING", 3000)
    write(tmp_path, mine="scorers: {dummy: {}}\nshadow: dummy\n")
    metrics, settings = Metrics(), load_settings(overrides={"workers": 1})
    engine = create_engine(load_profiles([tmp_path], plugins=PLUGINS), settings, metrics)
    background = attach(engine, settings, metrics)
    await engine.start()
    for _ in range(3):  # nothing is compared yet
        await engine.score(ScoreRequest([Sample("a", "x"), Sample("b", "y")], "mine"))
    await engine.stop()
    assert background.shadows.infos["mine"].dropped == 4


def test_a_shadow_that_dies_of_every_sample_touches_no_reward(
    tmp_path: Path, start_server: Callable[..., LiveServer]
) -> None:
    deadly = "tests.reward_server.hostile_scorers:Hostile"
    write(tmp_path, live="scorers: {format: {}}\nshadow: deadly\n")
    write(tmp_path, deadly=f"scorers: {{deadly: {{scorer: '{deadly}'}}}}\n")
    server = start_server("--profiles_dir", str(tmp_path))
    sample = {"response": "4", "ground_truth": "segfault"}
    for at in range(3):
        body = {"profile": "live", "samples": [{"id": str(at), **sample}]}
        answer = httpx2.post(f"{server.url}/score", json=body, timeout=30).json()
        assert answer["results"][0]["reward"] == 0.0
    info = shadow_info(server, 3)
    assert info["failed"] == 3
    assert httpx2.get(f"{server.url}/ready").status_code == 200
