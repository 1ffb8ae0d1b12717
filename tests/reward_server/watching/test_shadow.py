"""A shadow profile scores the same samples and reports disagreements; it does not change the
reward.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.checkout import PLUGINS
from tests.waiting import until, wait_until
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.profiles import Profile, ProfileConfig, load_profiles
from touchstone_rewards.reward_server.schemas import (
    Message,
    Sample,
    SampleResult,
    ScoreRequest,
    ScoreResponse,
)
from touchstone_rewards.reward_server.scoring.engine import create_engine
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics
from touchstone_rewards.reward_server.watching.background import attach, running
from touchstone_rewards.reward_server.watching.held_bytes import held_bytes
from touchstone_rewards.reward_server.watching.shadow import Shadows

LIVE = "scorers: {math: {}}\nshadow: strict\n"
STRICT = "scorers: {math: {config: {rounding: exact, answer_from: [boxed]}}}\n"


def write(folder: Path, **profiles: str) -> Path:
    for name, content in profiles.items():
        (folder / f"{name}.yaml").write_text(content)
    return folder


def shadow_info(server: LiveServer, samples: int) -> dict:
    """Return the shadow's entry of `GET /profiles` as soon as it has seen this many samples."""

    def info() -> dict:
        listed = httpx2.get(f"{server.url}/profiles").json()["profiles"]
        [found] = [profile["shadow"] for profile in listed if profile["name"] == "live"]
        return found or {"samples": 0, "dropped": 0}

    wait_until(lambda: sum(info()[key] for key in ("samples", "dropped")) >= samples)
    return info()


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
    answer = httpx2.post(f"{server.url}/score", json=body).json()
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
    shadows = background.shadows
    good = "<think>x</think><answer>\\boxed{4}</answer>"
    await engine.start()
    async with running(background):
        await engine.score(ScoreRequest([Sample("a", good), Sample("b", "4")], "mine"))
        await until(lambda: "mine" in shadows.infos and shadows.infos["mine"].samples == 2)
    await engine.stop()
    [found] = shadows.disagreements
    assert (found.profile, found.shadow, found.sample.response) == ("mine", "format", good)
    assert (found.result.reward, found.shadow_result.reward) == (-1.0, 1.0)


async def test_what_a_shadow_is_too_late_for_is_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("touchstone_rewards.reward_server.watching.shadow.MAX_WAITING_BYTES", 3000)
    write(tmp_path, mine="scorers: {dummy: {}}\nshadow: dummy\n")
    metrics, settings = Metrics(), load_settings(overrides={"workers": 1})
    engine = create_engine(load_profiles([tmp_path], plugins=PLUGINS), settings, metrics)
    background = attach(engine, settings, metrics)
    await engine.start()
    for _ in range(3):  # nothing is compared yet
        await engine.score(ScoreRequest([Sample("a", "x"), Sample("b", "y")], "mine"))
    await engine.stop()
    assert background.shadows.infos["mine"].dropped == 4


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "p" * 4000},
        {"prompt": [Message("user", "p" * 2000)] * 2},
        {"ground_truth": ["t" * 2000, "u" * 2000]},
        {"metadata": {"a": {"b": ["m" * 4000]}}},
        {"signals": {"entropy": [0.5] * 600}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_sample_weighs_all_that_it_holds(fields: dict[str, Any]) -> None:
    few, many = (held_bytes([Sample("1", "x", **f)]) for f in ({}, fields))
    assert many - few > 3900


def test_counting_ends_where_it_is_too_much_already() -> None:
    samples = [Sample(str(at), "x" * 1000, "p" * 1000) for at in range(1000)]
    assert 50_000 < held_bytes(samples, most=50_000) < 60_000


def test_long_prompts_are_not_queued_without_bound() -> None:
    profile = Profile("mine", ProfileConfig(scorers={"dummy": {}}, shadow="other"))  # type: ignore
    waiting = Shadows({"mine": profile}, never, lambda: True)
    for _ in range(1000):  # 200 MB
        waiting.take(*answered("p" * 200_000))
    assert waiting.infos["mine"].dropped >= 800


async def never(_: ScoreRequest) -> ScoreResponse:
    raise AssertionError


def answered(prompt: str) -> tuple[ScoreRequest, ScoreResponse]:
    result = SampleResult("1", "ok", 1.0, {})
    return ScoreRequest([Sample("1", "x", prompt)], "mine"), ScoreResponse([result], "mine", "f", 1)


async def test_disagreements_over_large_samples_are_kept_within_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("touchstone_rewards.reward_server.watching.shadow.KEPT_BYTES", 50_000)
    profile = Profile("mine", ProfileConfig(scorers={"dummy": {}}, shadow="other"))  # type: ignore

    async def disagree(asked: ScoreRequest) -> ScoreResponse:
        results = [SampleResult(each.id, "ok", 0.0, {}) for each in asked.samples]
        return ScoreResponse(results, "other", "f", 1)

    shadows = Shadows({"mine": profile}, disagree, lambda: True)
    for _ in range(20):
        shadows.take(*answered("p" * 10_000))
    comparing = asyncio.create_task(shadows.run())
    await until(lambda: "mine" in shadows.infos and shadows.infos["mine"].samples == 20)
    comparing.cancel()
    assert shadows.infos["mine"].disagreements == 20
    assert len(shadows.disagreements) == 4


async def test_what_fails_as_a_whole_counts_as_seen_and_as_failed() -> None:
    profile = Profile("mine", ProfileConfig(scorers={"dummy": {}}, shadow="other"))  # type: ignore
    shadows = Shadows({"mine": profile}, never, lambda: True)
    shadows.take(*answered("p"))
    comparing = asyncio.create_task(shadows.run())
    await until(lambda: "mine" in shadows.infos and shadows.infos["mine"].failed)
    comparing.cancel()
    assert (shadows.infos["mine"].samples, shadows.infos["mine"].failed) == (1, 1)


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
        answer = httpx2.post(f"{server.url}/score", json=body).json()
        assert answer["results"][0]["reward"] == 0.0
    info = shadow_info(server, 3)
    assert info["failed"] == 3
    # Its workers may still be on their way back.
    wait_until(lambda: httpx2.get(f"{server.url}/ready").status_code == 200)
