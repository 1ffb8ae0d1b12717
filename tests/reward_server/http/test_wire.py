"""`POST /score` and its neighboring routes, each in process and through a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.checkout import PLUGINS
from tests.waiting import longer_and_longer, until
from touchstone_rewards.reward_server.app import create_app
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.settings import Settings

RIGHT = {"id": "a", "response": "So it is \\boxed{46}.", "ground_truth": "46"}
WRONG = {"id": "b", "response": "So it is \\boxed{45}.", "ground_truth": "46"}
KEYED = {"api_key": "sesame", "api_keys": ["second"]}
SMALL = {"max_samples": 3, "max_body_bytes": 2000, "max_response_bytes": 100}

Connect = Callable[..., Any]


@pytest.fixture(params=["in process", "socket"])
async def connect(
    request: pytest.FixtureRequest, server: LiveServer, start_server: Callable[..., LiveServer]
) -> AsyncIterator[Connect]:
    """`await connect(**settings)` returns an HTTP client of a server with these settings.

    Without settings the server is one that other tests use as well.
    """
    async with AsyncExitStack() as stack:

        async def connect(**settings: Any) -> httpx2.AsyncClient:
            if request.param == "socket":
                options, environment = as_options(settings)
                live = start_server(*options, **environment) if settings else server
                client = httpx2.AsyncClient(base_url=live.url)
            else:
                about = {"workers": 2, "scorer_modules": list(PLUGINS.modules)}
                app = create_app(Settings(**{**about, **settings}))
                await stack.enter_async_context(app.router.lifespan_context(app))
                transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
                client = httpx2.AsyncClient(transport=transport, base_url="http://localhost")
            return await stack.enter_async_context(client)

        yield connect


def as_options(settings: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
    secret = {"REWARD_API_KEY": settings["api_key"]} if "api_key" in settings else {}
    if "api_keys" in settings:
        secret["REWARD_API_KEYS"] = json.dumps(settings["api_keys"])
    options = [
        word
        for name, value in settings.items()
        if not name.startswith("api_key")
        for word in (f"--{name}", str(value))
    ]
    return options, secret


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    """Return status and code, after checking the body's shape."""
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "request_id"}
    assert error["request_id"] == answer.headers["x-request-id"]
    assert error["message"]
    return answer.status_code, error["code"]


async def test_samples_are_scored_in_order(connect: Connect) -> None:
    client = await connect()
    answer = await client.post("/score", json={"profile": "math", "samples": [RIGHT, WRONG]})
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"results", "profile", "fingerprint", "elapsed_ms"}
    assert body["results"] == [
        {
            "id": "a",
            "status": "ok",
            "reward": 1.0,
            "scores": {"math": 1.0, "format": 0.0},
            "error": None,
            "explanation": None,
        },
        {
            "id": "b",
            "status": "ok",
            "reward": 0.0,
            "scores": {"math": 0.0, "format": 0.0},
            "error": None,
            "explanation": None,
        },
    ]
    profiles = (await client.get("/profiles")).json()["profiles"]
    [math] = [profile for profile in profiles if profile["name"] == "math"]
    assert math["fingerprint"] == body["fingerprint"]
    assert math["ranges"] == {"math": [0.0, 1.0], "format": [0.0, 1.0]}


async def test_an_empty_list_of_samples_is_an_empty_list_of_results(connect: Connect) -> None:
    client = await connect()
    answer = await client.post("/score", json={"samples": []})
    assert (answer.status_code, answer.json()["results"]) == (200, [])


async def test_one_bad_sample_spoils_no_other(connect: Connect) -> None:
    client = await connect(**SMALL)
    samples = [{**RIGHT, "ground_truth": None}, {**RIGHT, "response": "x" * 101}, RIGHT]
    answer = await client.post("/score", json={"samples": samples})
    results = answer.json()["results"]
    assert answer.status_code == 200
    assert [result["status"] for result in results] == ["error", "error", "ok"]
    assert [result["reward"] for result in results] == [None, None, 1.0]
    codes = [result["error"]["code"] for result in results[:2]]
    assert codes == ["bad_ground_truth", "response_too_large"]
    assert all(set(result["scores"]) == {"math", "format"} for result in results)
    assert results[0]["scores"] == {"math": None, "format": 0.0}
    assert results[1]["scores"] == {"math": None, "format": None}


async def test_explain_says_how_each_score_came_about(connect: Connect) -> None:
    client = await connect()
    missing = {**RIGHT, "ground_truth": None}
    body = {"samples": [RIGHT, missing], "explain": True}
    right, failed = (await client.post("/score", json=body)).json()["results"]
    assert "46" in json.dumps(right["explanation"]["math"])
    assert right["explanation"]["format"] == {"rule": "no <think>…</think> pair"}
    assert failed["explanation"]["math"]["error"]["code"] == "bad_ground_truth"


async def test_64_concurrent_callers_get_their_own_results_in_order(connect: Connect) -> None:
    client = await connect()

    async def call(caller: int) -> None:
        samples = [
            {"id": f"{caller}/{i}", "response": f"\\boxed{{{i}}}", "ground_truth": str(caller % 7)}
            for i in range(20)
        ]
        results = (await client.post("/score", json={"samples": samples})).json()["results"]
        assert [result["id"] for result in results] == [sample["id"] for sample in samples]
        assert [result["reward"] for result in results] == [
            float(i == caller % 7) for i in range(20)
        ]

    await asyncio.gather(*(call(caller) for caller in range(64)))


async def test_401_without_the_key_and_with_a_wrong_one(connect: Connect) -> None:
    client = await connect(**KEYED)
    for headers in [
        {},
        {"Authorization": "Bearer wrong"},
        {"X-API-Key": "sesam"},
        {"Authorization": "Basic sesame"},
        {"X-API-Key": ""},
    ]:
        for method, path in [("POST", "/score"), ("GET", "/profiles"), ("GET", "/metrics")]:
            answer = await client.request(method, path, headers=headers)
            assert refusal(answer) == (401, "unauthorized"), (path, headers)
    assert (await client.get("/health")).status_code == 200
    assert (await client.get("/ready")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer sesame"},
        {"authorization": "bearer  second"},
        {"X-API-Key": "sesame"},
    ],
)
async def test_each_key_opens(connect: Connect, headers: dict[str, str]) -> None:
    client = await connect(**KEYED)
    answer = await client.post("/score", json={"samples": [RIGHT]}, headers=headers)
    assert answer.json()["results"][0]["reward"] == 1.0


async def test_404_names_the_known_profiles(connect: Connect) -> None:
    client = await connect()
    answer = await client.post("/score", json={"profile": "maths", "samples": []})
    assert refusal(answer) == (404, "unknown_profile")
    message = answer.json()["error"]["message"]
    assert all(name in message for name in ("'maths'", "math", "format", "dummy"))
    assert refusal(await client.get("/nowhere")) == (404, "not_found")
    assert refusal(await client.get("/score")) == (405, "method_not_allowed")


async def test_413_for_too_many_samples_and_too_many_bytes(connect: Connect) -> None:
    client = await connect(**SMALL)
    answer = await client.post("/score", json={"samples": [RIGHT] * 4})
    assert refusal(answer) == (413, "request_too_large")
    assert "4 samples" in answer.json()["error"]["message"]
    assert "at most 3" in answer.json()["error"]["message"]
    answer = await client.post("/score", content=b"x" * 2001)
    assert refusal(answer) == (413, "request_too_large")

    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"x" * 100

    answer = await client.post("/score", content=unannounced())
    assert refusal(answer) == (413, "request_too_large")
    assert (await client.post("/score", json={"samples": [RIGHT] * 3})).status_code == 200


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{}", "`samples`"),
        (b'{"samples": [{"id": "a"}]}', "`response`"),
        (b'{"samples": [{"response": "a"}]}', "`id`"),
        (b'{"samples": [{"id": 1, "response": "a"}]}', "$.samples[0].id"),
        (b'{"samples": [{"id": "a", "response": null}]}', "$.samples[0].response"),
        (b'{"samples": [{"id": "a", "response": "", "respons": 1}]}', "`respons`"),
        (b'{"samples": [], "profil": "math"}', "`profil`"),
        (b'{"samples": [], "deadline_ms": 0}', "deadline_ms"),
        (b'{"samples": [], "priority": "urgent"}', "priority"),
        (b'{"samples": [{"id": "a", "response": "", "ground_truth": NaN}]}', "malformed"),
        (b'{"samples": [{"id": "a", "response": "\xff"}]}', "utf-8"),
        (rb'{"samples": [{"id": "a", "response": "\ud800"}]}', "lone surrogate"),
        (b'{"samples": [], "x": ' + b"[" * 100_000, ""),
    ],
)
async def test_422_says_what_does_not_fit(connect: Connect, body: bytes, complaint: str) -> None:
    client = await connect()
    answer = await client.post("/score", content=body)
    assert refusal(answer) == (422, "invalid_request")
    assert complaint in answer.json()["error"]["message"]
    assert "samples" in answer.json()["error"]["message"]


async def test_429_with_retry_after_when_too_much_is_in_work(
    connect: Connect, tmp_path: Path
) -> None:
    hostile = "tests.reward_server.hostile_scorers:Hostile"
    (tmp_path / "held.yaml").write_text(f"scorers: {{held: {{scorer: '{hostile}'}}}}")
    client = await connect(max_pending_samples=10, profiles_dir=tmp_path, sample_deadline_s=600)

    def post(count: int, **sample: Any) -> asyncio.Task[httpx2.Response]:
        samples = [{"id": "s", "response": "1", **sample}] * count
        body = {"profile": "held", "samples": samples, "deadline_ms": 600_000}
        return asyncio.create_task(client.post("/score", json=body))

    begun, gate = tmp_path / "begun", tmp_path / "open"
    held = post(8, ground_truth="wait_for", metadata={"begun": str(begun), "file": str(gate)})
    await until(begun.exists)
    shed = await post(3)
    assert refusal(shed) == (429, "queue_full")
    assert int(shed.headers["retry-after"]) >= 1
    gate.touch()
    answer = await held
    assert [result["reward"] for result in answer.json()["results"]] == [1.0] * 8
    assert (await post(3)).status_code == 200


async def test_504_when_no_sample_gets_its_turn(connect: Connect, tmp_path: Path) -> None:
    slow = "tests.reward_server.hostile_scorers:Hostile"
    (tmp_path / "slow.yaml").write_text(f"scorers: {{slow: {{scorer: '{slow}'}}}}")
    client = await connect(profiles_dir=tmp_path, workers=1, sample_deadline_s=1200)
    begun, gate = tmp_path / "begun", tmp_path / "open"
    metadata = {"begun": str(begun), "file": str(gate)}
    sample = {"id": "a", "response": "1.5", "ground_truth": "wait_for", "metadata": metadata}
    body = {"profile": "slow", "samples": [sample], "deadline_ms": 600_000}
    first = asyncio.create_task(client.post("/score", json=body))
    await until(begun.exists)
    answer = await client.post("/score", json={**body, "deadline_ms": 200})
    assert refusal(answer) == (504, "request_deadline")
    assert "deadline_ms" in answer.json()["error"]["message"]
    gate.touch()
    assert (await first).json()["results"][0]["reward"] == 1.5


async def test_the_samples_that_got_their_turn_keep_their_result_when_the_deadline_passes(
    connect: Connect, tmp_path: Path
) -> None:
    slow = "tests.reward_server.hostile_scorers:Hostile"
    (tmp_path / "slow.yaml").write_text(f"scorers: {{slow: {{scorer: '{slow}'}}}}")
    client = await connect(profiles_dir=tmp_path, workers=1, sample_deadline_s=1200)
    hang = {"response": "1", "ground_truth": "wait_for", "metadata": {"file": "no such file"}}
    samples = [{"id": "s0", "response": "0.05", "ground_truth": "sleep"}]
    samples += [{"id": f"s{i}", **hang} for i in (1, 2, 3)]
    for deadline_s in longer_and_longer(1.0):
        body = {"profile": "slow", "samples": samples, "deadline_ms": int(1e3 * deadline_s)}
        answer = await client.post("/score", json=body)
        if answer.status_code == 200:  # not on a busy machine where none got its turn
            break
    else:
        pytest.fail("no sample got its turn")
    results = answer.json()["results"]
    assert (results[0]["status"], results[0]["reward"]) == ("ok", 0.05)
    for result in results[1:]:
        assert (result["status"], result["reward"]) == ("error", None)
        assert result["error"]["code"] == "deadline_exceeded"
    assert results[-1]["error"]["retryable"]


async def test_a_request_id_is_kept_and_a_bad_one_replaced(connect: Connect) -> None:
    client = await connect()
    answer = await client.get("/health", headers={"X-Request-ID": "step-7.rank-0"})
    assert answer.headers["x-request-id"] == "step-7.rank-0"
    answer = await client.get("/health", headers={"X-Request-ID": "a b<script>"})
    assert len(answer.headers["x-request-id"]) == 32


async def test_the_metrics_count_what_happened(connect: Connect) -> None:
    client = await connect(workers=2)
    await client.post("/score", json={"samples": [RIGHT, {**RIGHT, "ground_truth": None}]})
    await client.post("/score", json={"profile": "none", "samples": []})
    text = (await client.get("/metrics")).text
    for line in [
        'reward_requests_total{route="/score",status="200"} 1.0',
        'reward_requests_total{route="/score",status="404"} 1.0',
        'reward_samples_total{profile="math",status="ok"} 1.0',
        'reward_samples_total{profile="math",status="bad_ground_truth"} 1.0',
        'reward_verdicts_total{profile="math",scorer="math",verdict="correct"} 1.0',
        'reward_verdicts_total{profile="math",scorer="math",verdict="unscored"} 1.0',
        'reward_verdicts_total{profile="math",scorer="format",verdict="incorrect"} 2.0',
        'reward_score_bucket{le="0.0",profile="math",scorer="format"} 2.0',
        'reward_score_bucket{le="0.9",profile="math",scorer="math"} 0.0',
        'reward_score_bucket{le="1.0",profile="math",scorer="math"} 1.0',
        'reward_reward_bucket{le="+Inf",profile="math"} 1.0',
        'reward_scorer_seconds_count{scorer="math"} 1.0',
        "reward_workers_alive 2.0",
    ]:
        assert line in text.splitlines()


async def test_the_documentation_is_served(connect: Connect) -> None:
    client = await connect()
    assert "swagger" in (await client.get("/docs")).text.lower()
    document = (await client.get("/openapi.json")).json()
    statuses = set(document["paths"]["/score"]["post"]["responses"])
    assert statuses == {"200", "401", "403", "404", "413", "415", "422", "429", "500", "503", "504"}
