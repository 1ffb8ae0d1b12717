"""Deferred counting: everything is counted once, in time, and in the right profile."""

from __future__ import annotations

import asyncio

import httpx2

from touchstone_rewards.reward_server import caller
from touchstone_rewards.reward_server.app import create_app
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.deferred import MOST_WEIGHT, SOON_S, Deferred
from touchstone_rewards.reward_server.telemetry.tallies import Columns, tally, verdicts


async def test_what_is_put_off_is_done_soon_in_order_and_once() -> None:
    done: list[list[int]] = []
    deferred: Deferred[int] = Deferred(done.append)
    for item in range(3):
        deferred.add(item, 1)
    assert done == []
    await asyncio.sleep(3 * SOON_S)
    assert done == [[0, 1, 2]]
    deferred.add(3, 1)
    deferred.now()
    await asyncio.sleep(3 * SOON_S)
    assert done == [[0, 1, 2], [3]]


async def test_much_is_not_put_off() -> None:
    done: list[list[str]] = []
    deferred: Deferred[str] = Deferred(done.append)
    deferred.add("small", 1)
    deferred.add("large", MOST_WEIGHT)
    assert done == [["small", "large"]]


def test_a_tally_knows_what_is_not_known() -> None:
    numbers = tally([1.0, 0.5, None, 1.0])
    assert (numbers.counts, numbers.known, numbers.total, numbers.unknown) == (
        {1.0: 2, 0.5: 1},
        3,
        2.5,
        1,
    )


def test_requests_are_counted_together() -> None:
    found = verdicts(
        [
            Columns([1.0, None], {"a": [1.0, None], "b": [0.0, 0.0]}, ["worker_lost"]),
            Columns([0.5], {"a": [1.0], "b": [0.0]}),
        ]
    )
    assert found.reward == tally([1.0, None, 0.5])
    assert found.scores == {"a": tally([1.0, None, 1.0]), "b": tally([0.0, 0.0, 0.0])}
    assert found.errors == {"worker_lost": 1}


def test_the_metrics_have_every_request_that_was_answered_before(server: LiveServer) -> None:
    def count(line: str) -> float:
        text = httpx2.get(f"{server.url}/metrics").text
        return float(next((found[len(line) :] for found in text.splitlines() if line in found), 0))

    before = count('reward_samples_total{profile="dummy",status="ok"}')
    for place in range(1, 40):
        samples = [{"id": "a", "response": str(place)}, {"id": "b", "response": ""}]
        body = {"profile": "dummy", "samples": samples}
        assert httpx2.post(f"{server.url}/score", json=body).status_code == 200
        assert count('reward_samples_total{profile="dummy",status="ok"}') == before + 2 * place


async def test_a_request_lets_go_of_its_samples_when_it_ends() -> None:
    app = create_app(load_settings(overrides={"workers": 1}))
    samples = [{"id": str(i), "response": "x"} for i in range(3)]
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app)  # it calls the app in this task
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.post("/score", json={"profile": "dummy", "samples": samples})
        assert answer.status_code == 200
        served = caller.current()
        assert (served.profile, served.samples) == ("dummy", 3)
        assert served.scored == ((), ())
