"""Errors that only the server can cause: 503 and 500, in process and through a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI

from touchstone_rewards.reward_server.app import create_app
from touchstone_rewards.reward_server.live_server import free_port
from touchstone_rewards.reward_server.settings import Settings

RIGHT = {"id": "a", "response": "x"}
BODY = {"profile": "dummy", "samples": [RIGHT]}

Served = tuple[FastAPI, httpx2.AsyncClient]


@pytest.fixture(params=["in process", "socket"])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    """Return an app whose engine the test can reach, and a client of it."""
    app = create_app(Settings(workers=1))
    if request.param == "in process":
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        client = httpx2.AsyncClient(transport=transport, base_url="http://localhost")
        async with app.router.lifespan_context(app), client:
            yield app, client
        return
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        yield app, client
    server.should_exit = True
    await serving


def assert_error(answer: httpx2.Response, status: int, code: str) -> str:
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert error["request_id"] == answer.headers["x-request-id"]
    return error["message"]


async def test_503_with_retry_after_while_the_server_drains(served: Served) -> None:
    app, client = served
    assert (await client.get("/ready")).status_code == 200
    app.state.engine.draining = True
    answer = await client.post("/score", json=BODY)
    assert "draining" in assert_error(answer, 503, "not_ready")
    assert int(answer.headers["retry-after"]) >= 1
    ready = await client.get("/ready")
    assert (ready.status_code, ready.json()["status"]) == (503, "not_ready")
    assert "draining" in ready.json()["reason"]
    assert (await client.get("/health")).status_code == 200


async def test_503_before_the_workers_are_up() -> None:
    app = create_app(Settings(workers=1))
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert_error(await client.post("/score", json=BODY), 503, "not_ready")
        assert (await client.get("/ready")).status_code == 503
        assert (await client.get("/health")).status_code == 200


async def test_500_tells_the_request_id_and_no_more(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app, client = served

    async def broken(_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(app.state.engine, "score", broken)
    answer = await client.post("/score", json=BODY, headers={"X-Request-ID": "r-17"})
    message = assert_error(answer, 500, "internal_error")
    assert "secret" not in message
    assert "Traceback" not in answer.text
    assert "r-17" in caplog.text
    assert "secret detail" in caplog.text
    monkeypatch.undo()
    assert (await client.post("/score", json=BODY)).status_code == 200


async def test_a_scorer_that_breaks_in_the_event_loop_fails_its_sample_alone(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, client = served
    scorer = app.state.engine.profiles["dummy"].scorers["dummy"]
    value: Callable[[str], float] = scorer._value

    def brittle(response: str) -> float:
        if response == "bad":
            raise RuntimeError("cannot read this")
        return float("nan") if response == "nan" else value(response)

    monkeypatch.setattr(scorer, "_value", brittle)
    samples = [{"id": r, "response": r} for r in ("good", "bad", "nan", "fine")]
    answer = await client.post("/score", json={"profile": "dummy", "samples": samples})
    results = answer.json()["results"]
    assert [result["status"] for result in results] == ["ok", "error", "error", "ok"]
    assert [result["error"]["code"] for result in results[1:3]] == ["scorer_failed"] * 2
    assert results[0]["reward"] == value("good")
