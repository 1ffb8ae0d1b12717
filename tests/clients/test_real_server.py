"""Both clients against the real server: scores, refusals, limits, kill -9."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from touchstone_rewards.clients import (
    AsyncRemoteRewardClient,
    InvalidRequest,
    RemoteRewardClient,
    Sample,
    ScoreResult,
    Unauthorized,
    UnknownProfile,
)
from touchstone_rewards.reward_server.live_server import LiveServer

StartServer = Callable[..., LiveServer]


@pytest.fixture
def client(server: LiveServer) -> Iterator[RemoteRewardClient]:
    with RemoteRewardClient(server.url) as client:
        yield client


def sums(count: int) -> list[Sample]:
    """Return the right rewards: every third response is wrong."""
    return [
        Sample(f"sum-{i}", f"So it is \\boxed{{{i + (i % 3 == 0)}}}.", ground_truth=i)
        for i in range(count)
    ]


def check_sums(results: list[ScoreResult], count: int) -> None:
    assert [each.id for each in results] == [f"sum-{i}" for i in range(count)]
    assert [each.reward for each in results] == [float(i % 3 != 0) for i in range(count)]


def test_answers_are_scored_in_order(client: RemoteRewardClient) -> None:
    check_sums(client.score(sums(1000)), 1000)


def test_mappings_and_generators_will_do(client: RemoteRewardClient) -> None:
    rows = ({"id": str(i), "response": "\\boxed{2}", "ground_truth": i} for i in range(4))
    assert [each.reward for each in client.score(rows)] == [0.0, 0.0, 1.0, 0.0]


def test_an_explanation_comes_when_asked_for(client: RemoteRewardClient) -> None:
    [silent], [explained] = client.score(sums(1)), client.score(sums(1), explain=True)
    assert silent.explanation is None
    assert explained.explanation is not None
    assert set(explained.explanation) == set(explained.scores)


def test_lone_surrogates_are_scored_as_any_text(client: RemoteRewardClient) -> None:
    [scored] = client.score([Sample("a", "\ud800 \\boxed{3}", ground_truth="3")])
    assert scored.reward == 1.0


def test_data_that_cannot_be_scored_has_no_reward(client: RemoteRewardClient) -> None:
    no_truth, fine = client.score([Sample("a", "\\boxed{1}"), *sums(2)[1:]])
    assert no_truth.reward is None
    assert no_truth.status == "error"
    assert fine.reward == 1.0


def test_results_name_the_profile_and_its_fingerprint(client: RemoteRewardClient) -> None:
    [scored] = client.score([Sample("a", "x")], "dummy")
    known = {profile.name: profile.fingerprint for profile in client.profiles()}
    assert scored.profile == "dummy"
    assert scored.fingerprint == known["dummy"]


def test_an_unknown_profile_is_named_with_the_known_ones(client: RemoteRewardClient) -> None:
    with pytest.raises(UnknownProfile, match=r"no-such.*known:.*math") as caught:
        client.score(sums(1), "no-such")
    assert caught.value.code == "unknown_profile"
    assert caught.value.request_id


def test_an_url_that_leads_elsewhere_is_no_unknown_profile_of_ours(server: LiveServer) -> None:
    elsewhere = RemoteRewardClient(server.url + "/elsewhere")
    with elsewhere, pytest.raises(UnknownProfile, match="check the profile's name and the URL"):
        elsewhere.score(sums(1))


def test_a_field_of_a_wrong_type_is_said_by_the_server(client: RemoteRewardClient) -> None:
    with pytest.raises(InvalidRequest, match="metadata"):
        client.score([Sample("a", "x", metadata="not an object")])  # type: ignore[arg-type]


def test_ready_tells_a_server_from_none(server: LiveServer, dead_url: str) -> None:
    with RemoteRewardClient([dead_url, server.url]) as client:
        assert client.ready()
    with RemoteRewardClient(dead_url) as client:
        assert not client.ready()


def test_url_and_key_come_from_the_environment(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server(REWARD_API_KEY="secret")
    monkeypatch.setenv("REWARD_URL", server.url)
    with RemoteRewardClient() as client, pytest.raises(Unauthorized, match="REWARD_API_KEY"):
        client.score(sums(1))
    with RemoteRewardClient(api_key="wrong") as client, pytest.raises(Unauthorized):
        client.score(sums(1))
    monkeypatch.setenv("REWARD_API_KEY", "secret")
    with RemoteRewardClient() as client:
        check_sums(client.score(sums(3)), 3)


def test_a_servers_limits_on_a_request_are_kept_to(start_server: StartServer) -> None:
    server = start_server("--max-samples", "10", "--max-body-bytes", "100000")
    samples = sums(95)
    samples[7] = Sample("sum-7", "x" * 100_000 + "\\boxed{7}", ground_truth=7)
    with RemoteRewardClient(server.url) as client:
        results = client.score(samples)
    large = results.pop(7)
    assert large.error is not None
    assert large.error.code == "response_too_large"
    assert large.scores.keys() == results[0].scores.keys()
    expected = [each for i, each in enumerate(sums(95)) if i != 7]
    assert [each.id for each in results] == [each.id for each in expected]
    assert all(each.status == "ok" for each in results)


def test_64_threads_get_their_own_results(client: RemoteRewardClient) -> None:
    def call(caller: int) -> list[str]:
        own = [Sample(f"{caller}/{i}", f"\\boxed{{{caller}}}", ground_truth=i) for i in range(64)]
        results = client.score(own)
        assert [each.id for each in results] == [each.id for each in own]
        return [each.id for each in results if each.reward == 1.0]

    with ThreadPoolExecutor(64) as threads:
        right = list(threads.map(call, range(64)))
    assert right == [[f"{caller}/{caller}"] for caller in range(64)]


async def test_64_tasks_get_their_own_results(server: LiveServer) -> None:
    async with AsyncRemoteRewardClient(server.url) as client:

        async def call(caller: int) -> list[str]:
            results = await client.score(
                Sample(f"{caller}/{i}", f"\\boxed{{{caller}}}", ground_truth=i) for i in range(64)
            )
            return [each.id for each in results if each.reward == 1.0]

        right = await asyncio.gather(*(call(caller) for caller in range(64)))
    assert right == [[f"{caller}/{caller}"] for caller in range(64)]


def killed_and_restarted(server: LiveServer) -> threading.Thread:
    """Kill the server with -9 a moment from now, and start it again five seconds later."""

    def run() -> None:
        time.sleep(0.3)
        server.kill()
        time.sleep(5)
        server.restart()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.long
async def test_a_server_killed_in_mid_work_loses_nothing_of_either_client(
    start_server: StartServer,
) -> None:
    server = start_server()
    with RemoteRewardClient(server.url, batch_size=2, max_in_flight=1) as blocking:
        async with AsyncRemoteRewardClient(server.url, batch_size=2, max_in_flight=1) as client:
            restart = killed_and_restarted(server)
            calls = asyncio.to_thread(blocking.score, sums(2000)), client.score(sums(2000))
            for results in await asyncio.gather(*map(timed, calls)):
                check_sums(results, 2000)
    restart.join()


async def timed(call: Awaitable[list[ScoreResult]]) -> list[ScoreResult]:
    started = time.monotonic()
    results = await call
    assert time.monotonic() - started > 5, "the server was killed too late to matter"
    return results
