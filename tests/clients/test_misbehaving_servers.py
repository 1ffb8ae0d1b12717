"""Both clients against servers that fail, stall, refuse, overflow and lie."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from tests.clients.conftest import StartPeer
from tests.clients.peers import (
    Action,
    Drip,
    Hang,
    Reply,
    Reset,
    Script,
    Seen,
    answer,
    error_body,
    failed,
    result,
    scored,
)
from tests.waiting import PATIENCE_S, longer_and_longer, until
from touchstone_rewards.clients import (
    AsyncRemoteRewardClient,
    InvalidRequest,
    InvalidSample,
    MalformedAnswer,
    RemoteRewardClient,
    RequestRefused,
    RewardClientError,
    RewardServerUnavailable,
    Sample,
    ScoreResult,
    Unauthorized,
    UnknownProfile,
)
from touchstone_rewards.reward_server.remote.policy import RetryPolicy

ScoreWith = Callable[..., Awaitable[list[ScoreResult]]]


@pytest.fixture(params=["async", "sync"])
def score(request: pytest.FixtureRequest) -> ScoreWith:
    """`await score(url, count, **options)` scores samples s0, s1, … with a client of its own."""

    async def with_asyncio(url: Any, count: int = 1, **options: Any) -> list[ScoreResult]:
        async with AsyncRemoteRewardClient(url, **options) as client:
            return await client.score(samples(count))

    def blocking(url: Any, count: int, options: dict[str, Any]) -> list[ScoreResult]:
        with RemoteRewardClient(url, **options) as client:
            return client.score(samples(count))

    async def in_a_thread(url: Any, count: int = 1, **options: Any) -> list[ScoreResult]:
        return await asyncio.to_thread(blocking, url, count, options)

    return with_asyncio if request.param == "async" else in_a_thread


def samples(count: int) -> list[Sample]:
    return [Sample(f"s{i}", "response") for i in range(count)]


def ids(results: list[ScoreResult]) -> list[str]:
    return [each.id for each in results]


def first(action: Action, then: Script = scored) -> Script:
    """Return a script that does `action` once, and `then` for every later request."""
    left = [action]
    return lambda request: left.pop() if left else then(request)


@pytest.mark.parametrize(
    "lie",
    [
        lambda seen: Reply(200, answer([result(each) for each in seen.ids[1:]])),
        lambda seen: Reply(200, answer([result(each) for each in reversed(seen.ids)])),
        lambda seen: Reply(200, answer([result(each, None) for each in seen.ids])),
        lambda seen: Reply(200, "<html>Welcome to the hotel's network</html>"),
    ],
    ids=["wrong length", "wrong order", "ok without a reward", "no JSON"],
)
async def test_an_answer_that_lies_is_an_error_and_not_asked_for_again(
    start_peer: StartPeer, score: ScoreWith, lie: Script
) -> None:
    peer = await start_peer(lie)
    with pytest.raises(MalformedAnswer):
        await score(peer.url, 3)
    assert len(peer.seen) == 1


@pytest.mark.parametrize(
    "trouble",
    [Reset(), *(Reply(status, error_body("trouble")) for status in (408, 429, 500, 502, 503, 504))],
    ids=["reset", "408", "429", "500", "502", "503", "504"],
)
async def test_a_passing_trouble_is_sat_out(
    start_peer: StartPeer, score: ScoreWith, trouble: Action
) -> None:
    peer = await start_peer(first(trouble))
    assert [each.reward for each in await score(peer.url, 3)] == [1.0, 1.0, 1.0]
    assert len(peer.seen) == 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RequestRefused),
        (401, Unauthorized),
        (403, Unauthorized),
        (404, UnknownProfile),
        (409, RequestRefused),
        (422, InvalidRequest),
        (302, RequestRefused),
    ],
)
async def test_a_refusal_is_not_tried_again(
    start_peer: StartPeer, score: ScoreWith, status: int, kind: type[RequestRefused]
) -> None:
    peer = await start_peer(lambda _: Reply(status, error_body("some_code", "so it is")))
    with pytest.raises(kind, match="so it is") as caught:
        await score(peer.url)
    assert (caught.value.status, caught.value.code) == (status, "some_code")
    assert len(peer.seen) == 1


async def test_retry_after_in_seconds_is_honoured(start_peer: StartPeer, score: ScoreWith) -> None:
    busy = Reply(429, error_body("queue_full"), {"Retry-After": "1"})
    peer = await start_peer(first(busy))
    await score(peer.url)
    refused, served = peer.seen
    assert served.at_s - refused.at_s >= 1.0


async def test_retry_after_as_a_date_is_honoured(start_peer: StartPeer) -> None:
    def script(seen: Seen) -> Action:
        if len(peer.seen) > 1:
            return scored(seen)
        # HTTP dates have whole seconds: this one is one to two seconds ahead.
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        return Reply(503, error_body("not_ready"), {"Retry-After": date})

    peer = await start_peer(script)
    async with AsyncRemoteRewardClient(peer.url) as client:
        await client.score(samples(1))
    refused, served = peer.seen
    assert served.at_s - refused.at_s >= 0.9


async def test_retry_after_holds_for_all_that_one_client_sends(start_peer: StartPeer) -> None:
    busy = Reply(429, error_body("queue_full"), {"Retry-After": "1"})
    peer = await start_peer(first(busy))
    async with AsyncRemoteRewardClient(peer.url, batch_size=1, max_in_flight=1) as client:
        await asyncio.gather(*(client.score(samples(1)) for _ in range(5)))
    assert peer.seen[1].at_s - peer.seen[0].at_s >= 1.0
    assert len(peer.seen) == 6


@pytest.mark.parametrize("stall", [Hang(), Drip()], ids=["silence", "a byte now and then"])
async def test_a_server_that_stalls_holds_nobody_beyond_the_deadline(
    start_peer: StartPeer, score: ScoreWith, stall: Action
) -> None:
    peer = await start_peer(lambda _: stall)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(RewardServerUnavailable, match=r"2 of 2 samples .* 0\.3 s"):
            await score(peer.url, 2, timeout_s=0.3)


async def test_a_server_that_is_not_there_is_said_to_be_so(score: ScoreWith, dead_url: str) -> None:
    said = ""
    for timeout_s in longer_and_longer(0.3):
        with pytest.raises(RewardServerUnavailable) as caught:
            await score(dead_url, 2, timeout_s=timeout_s)
        assert caught.value.results == [None, None]
        said = str(caught.value)
        if "ConnectError" in said:
            break
    assert f"{dead_url}: ConnectError" in said
    assert "reward-server serve" in said


async def test_tries_are_counted(start_peer: StartPeer, score: ScoreWith) -> None:
    peer = await start_peer(lambda _: Reply(500, error_body("internal_error")))
    with pytest.raises(RewardServerUnavailable, match="500: no"):
        await score(peer.url, 1, retry=RetryPolicy(max_tries=3))
    assert len(peer.seen) == 3


async def test_what_had_arrived_is_not_lost_when_time_runs_out(
    start_peer: StartPeer, score: ScoreWith
) -> None:
    peer = await start_peer(lambda seen: Hang() if "s2" in seen.ids else scored(seen))
    for timeout_s in longer_and_longer(0.5):
        with pytest.raises(RewardServerUnavailable) as caught:
            await score(peer.url, 6, batch_size=2, timeout_s=timeout_s)
        arrived = [each and each.id for each in caught.value.results]
        if arrived == ["s0", "s1", None, None, "s4", "s5"]:
            assert "2 of 6 samples" in str(caught.value)
            return
    pytest.fail("what had arrived was lost")


async def test_what_had_arrived_is_not_lost_when_a_request_is_refused(
    start_peer: StartPeer, score: ScoreWith
) -> None:
    def script(seen: Seen) -> Action:
        return Reply(422, error_body("invalid_request")) if "s1" in seen.ids else scored(seen)

    peer = await start_peer(script)
    with pytest.raises(InvalidRequest) as caught:
        await score(peer.url, 2, batch_size=1, max_in_flight=1)
    assert [each and each.id for each in caught.value.results] == ["s0", None]


async def test_each_try_tells_the_server_how_little_time_is_left(
    start_peer: StartPeer, score: ScoreWith
) -> None:
    troubles: list[Action] = [Reset(), Reset(), Reset()]
    peer = await start_peer(lambda seen: troubles.pop() if troubles else scored(seen))
    await score(peer.url, 1, timeout_s=10.0)
    deadlines = [seen.body["deadline_ms"] for seen in peer.seen]
    assert deadlines[0] <= 9_500
    assert deadlines == sorted(deadlines, reverse=True)
    assert deadlines[-1] < deadlines[0]


async def test_a_request_that_is_too_large_is_halved_and_goes_on(
    start_peer: StartPeer, score: ScoreWith
) -> None:
    def script(seen: Seen) -> Action:
        return scored(seen) if len(seen.ids) <= 3 else Reply(413, error_body("request_too_large"))

    peer = await start_peer(script)
    assert ids(await score(peer.url, 20)) == [f"s{i}" for i in range(20)]


async def test_a_sample_too_large_for_any_request_is_a_result_and_the_others_are_scored(
    start_peer: StartPeer, score: ScoreWith
) -> None:
    def script(seen: Seen) -> Action:
        return Reply(413, error_body("too_large")) if "s5" in seen.ids else scored(seen)

    peer = await start_peer(script)
    results = await score(peer.url, 20)
    assert ids(results) == [f"s{i}" for i in range(20)]
    [large] = [each for each in results if each.status == "error"]
    assert large.id == "s5"
    assert large.reward is None
    assert large.error is not None
    assert large.error.code == "response_too_large"
    assert (large.scores, large.fingerprint) == ({"math": None}, "f")


async def test_only_the_samples_that_may_succeed_are_sent_again(
    start_peer: StartPeer, score: ScoreWith
) -> None:
    def script(seen: Seen) -> Action:
        if len(seen.ids) == 1:
            return scored(seen)
        lost, bad, *fine = seen.ids
        errors = [failed(lost, retryable=True), failed(bad, retryable=False)]
        return Reply(200, answer([*errors, *(result(each) for each in fine)]))

    peer = await start_peer(script)
    results = await score(peer.url, 4)
    assert [each.status for each in results] == ["ok", "error", "ok", "ok"]
    assert [seen.ids for seen in peer.seen] == [["s0", "s1", "s2", "s3"], ["s0"]]


async def test_a_sample_that_fails_to_the_end_is_a_result_and_no_exception(
    start_peer: StartPeer, score: ScoreWith
) -> None:
    peer = await start_peer(
        lambda seen: Reply(200, answer([failed(each, retryable=True) for each in seen.ids]))
    )
    for timeout_s in longer_and_longer(0.5):
        peer.seen.clear()
        with suppress(RewardServerUnavailable):  # if the machine is too busy for the first answer
            [only] = await score(peer.url, 1, timeout_s=timeout_s)
            assert only.reward is None
            assert only.error is not None
            assert only.error.code == "worker_lost"
            if len(peer.seen) > 1:
                return
    pytest.fail("it was not sent again")


async def test_another_server_takes_over_at_once(
    start_peer: StartPeer, score: ScoreWith, dead_url: str
) -> None:
    peer = await start_peer(scored)
    results = await score([dead_url, peer.url], 40, batch_size=4, timeout_s=20)
    assert ids(results) == [f"s{i}" for i in range(40)]


async def test_nobody_sleeps_while_another_server_is_healthy(start_peer: StartPeer) -> None:
    busy = await start_peer(lambda _: Reply(503, error_body("no"), {"Retry-After": "600"}))
    peer = await start_peer(scored)
    urls = [busy.url, peer.url]
    async with AsyncRemoteRewardClient(urls, batch_size=1, timeout_s=700) as client:
        await asyncio.wait_for(client.score(samples(30)), 500)  # Retry-After asks for 600
    assert len(busy.seen) <= 8, "a server that asked to be left alone was asked on"


async def test_several_servers_share_the_work(start_peer: StartPeer, score: ScoreWith) -> None:
    peers = [await start_peer(scored) for _ in range(3)]
    await score(",".join(peer.url for peer in peers), 30, batch_size=1)
    assert [len(peer.seen) for peer in peers] == [10, 10, 10]


async def test_a_server_that_hangs_is_left_for_one_that_answers(
    start_peer: StartPeer, score: ScoreWith
) -> None:
    hanging, peer = await start_peer(lambda _: Hang()), await start_peer(scored)
    for timeout_s in longer_and_longer(2.0):
        with suppress(RewardServerUnavailable):
            results = await score([hanging.url, peer.url], 8, batch_size=2, timeout_s=timeout_s)
            assert ids(results) == [f"s{i}" for i in range(8)]
            assert hanging.seen
            return
    pytest.fail("the server that answers was not asked in time")


async def test_a_server_known_to_hang_holds_one_request_at_a_time(start_peer: StartPeer) -> None:
    hanging, peer = await start_peer(lambda _: Hang()), await start_peer(scored)
    urls, held = [hanging.url, peer.url], 0
    for timeout_s in longer_and_longer(1.0):  # on a busy machine 40 samples outlast a short rest
        hanging.seen.clear()
        async with AsyncRemoteRewardClient(urls, batch_size=1, timeout_s=timeout_s) as client:
            with suppress(RewardServerUnavailable):
                await client.score(samples(8))
                held = len(hanging.seen)
                assert held > 1
                await asyncio.sleep(0.7 * timeout_s)  # it held each for half, and rests as long
                await client.score(samples(40))
                if len(hanging.seen) == held + 1:
                    return
    pytest.fail(f"it held {len(hanging.seen) - held} requests at a time")


async def test_a_server_that_came_back_is_used_again(start_peer: StartPeer) -> None:
    returning = await start_peer(first(Reset()))
    steady = await start_peer(scored)
    async with AsyncRemoteRewardClient([returning.url, steady.url]) as client:
        for _ in range(20):
            await client.score(samples(1))
            await asyncio.sleep(0.02)
    assert len(returning.seen) > 5


async def test_there_are_never_more_requests_in_flight_than_allowed(
    start_peer: StartPeer, score: ScoreWith
) -> None:
    gate = asyncio.Event()
    peer = await start_peer(lambda seen: scored(seen, gate=gate))
    scoring = asyncio.ensure_future(score(peer.url, 100, batch_size=1, max_in_flight=5))
    await until(lambda: peer.busy == 5)
    await asyncio.sleep(0.05)  # time for a sixth
    gate.set()
    await scoring
    assert peer.most_busy == 5
    assert len(peer.seen) == 100


async def test_the_cap_holds_over_all_calls_of_a_client(start_peer: StartPeer) -> None:
    gate = asyncio.Event()
    peer = await start_peer(lambda seen: scored(seen, gate=gate))
    async with AsyncRemoteRewardClient(peer.url, batch_size=1, max_in_flight=5) as client:
        calls = (client.score(samples(3), profile) for profile in ["math", "format"] * 10)
        scoring = asyncio.gather(*calls)
        await until(lambda: peer.busy == 5)
        await asyncio.sleep(0.05)  # time for a sixth
        gate.set()
        await scoring
    assert peer.most_busy == 5


async def test_small_calls_that_wait_together_share_requests(start_peer: StartPeer) -> None:
    peer = await start_peer(scored)
    async with AsyncRemoteRewardClient(peer.url, batch_size=100) as client:
        calls = (client.score([Sample(f"c{i}", "x")]) for i in range(1000))
        found = await asyncio.gather(*calls)
    assert [results[0].id for results in found] == [f"c{i}" for i in range(1000)]
    assert len(peer.seen) == 10


async def test_requests_are_shared_only_by_calls_that_ask_for_the_same(
    start_peer: StartPeer,
) -> None:
    peer = await start_peer(scored)
    async with AsyncRemoteRewardClient(peer.url) as client:
        await asyncio.gather(
            *(client.score([Sample(f"m{i}", "x")], "math") for i in range(5)),
            *(client.score([Sample(f"f{i}", "x")], "format") for i in range(5)),
            *(client.score([Sample(f"e{i}", "x")], "format", explain=True) for i in range(5)),
            *(client.score([Sample(f"p{i}", "x")], "format", priority="eval") for i in range(5)),
        )
    sent = {"".join(sorted({each[0] for each in seen.ids})): seen.body for seen in peer.seen}
    assert set(sent) == {"m", "f", "e", "p"}
    assert sent["m"].get("profile", "math") == "math"
    assert sent["e"]["explain"] is True
    assert sent["p"]["priority"] == "eval"


@pytest.mark.parametrize("spoiled", [Reply(422, error_body("no")), Reply(200, "nonsense")])
async def test_a_call_that_is_refused_spoils_none_that_shared_its_request(
    start_peer: StartPeer, spoiled: Reply
) -> None:
    peer = await start_peer(lambda seen: spoiled if "bad" in seen.ids else scored(seen))
    async with AsyncRemoteRewardClient(peer.url) as client:
        calls = [client.score([Sample(each, "x")]) for each in ("a", "bad", "b")]
        a, bad, b = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(bad, RewardClientError)
    assert bad.results == [None]
    assert isinstance(a, list)
    assert isinstance(b, list)
    assert (a[0].id, b[0].id) == ("a", "b")


async def test_a_large_body_is_cut_by_its_bytes(start_peer: StartPeer) -> None:
    peer = await start_peer(scored)
    async with AsyncRemoteRewardClient(peer.url) as client:
        await client.score([Sample(str(i), "x" * 2**20) for i in range(7)])
    assert max(len(seen.ids) for seen in peer.seen) == 3
    assert sum(len(seen.ids) for seen in peer.seen) == 7


async def test_a_call_that_was_cancelled_is_not_sent_on(start_peer: StartPeer) -> None:
    peer = await start_peer(scored)
    async with AsyncRemoteRewardClient(peer.url, batch_size=1, max_in_flight=1) as client:
        call = asyncio.create_task(client.score(samples(100)))
        await until(lambda: len(peer.seen) > 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await client.score([Sample("next", "x")]))[0].id == "next"
    assert len(peer.seen) < 20


async def test_a_failure_inside_the_client_reaches_the_caller(start_peer: StartPeer) -> None:
    peer = await start_peer(scored)
    async with AsyncRemoteRewardClient(peer.url) as client:
        with pytest.raises(UnicodeEncodeError):
            await client.score(samples(1), "a profile that no JSON can carry: \ud800")
        assert len(await client.score(samples(1))) == 1


async def test_an_empty_call_asks_nobody(score: ScoreWith, dead_url: str) -> None:
    assert await score(dead_url, 0) == []


async def test_a_sample_that_cannot_be_sent_keeps_the_whole_call_at_home(
    start_peer: StartPeer,
) -> None:
    peer = await start_peer(scored)
    async with AsyncRemoteRewardClient(peer.url) as client:
        with pytest.raises(InvalidSample, match="sample 1"):
            await client.score([{"id": "a", "response": "x"}, {"id": "b"}])
    assert peer.seen == []


async def test_ids_may_repeat_in_a_call(start_peer: StartPeer) -> None:
    peer = await start_peer(scored)
    async with AsyncRemoteRewardClient(peer.url) as client:
        assert ids(await client.score([Sample("same", "x")] * 3)) == ["same"] * 3


async def test_rewards_of_differing_profiles_in_one_call_are_warned_of(
    start_peer: StartPeer, caplog: pytest.LogCaptureFixture
) -> None:
    def other(seen: Seen) -> Reply:
        return Reply(200, {**answer([result(each) for each in seen.ids]), "fingerprint": "other"})

    urls = [(await start_peer(scored)).url, (await start_peer(other)).url]
    async with AsyncRemoteRewardClient(urls, batch_size=1) as client:
        await client.score(samples(2))
    assert "different fingerprints: ['f', 'other']" in caplog.text


# Answers that are too large, of another profile, or always a 500


async def test_an_answer_beyond_the_cap_is_not_read_to_its_end(
    start_peer: StartPeer, score: ScoreWith
) -> None:
    def script(request: Seen) -> Action:
        return Reply(
            200, answer([result(each, scores={"x" * 50_000: 1.0}) for each in request.ids])
        )

    peer = await start_peer(script)
    # Two fit, four do not: the request is halved until its answer fits.
    found = await score(peer.url, 4, max_answer_bytes=150_000)
    assert [each.id for each in found] == ["s0", "s1", "s2", "s3"]
    assert [len(each.ids) for each in peer.seen] == [4, 2, 2]
    with pytest.raises(MalformedAnswer, match="more than 20000 bytes"):
        await score(peer.url, 2, max_answer_bytes=20_000)


async def test_an_answer_that_is_packed_to_a_thousandth_is_stopped_too(
    start_peer: StartPeer, score: ScoreWith
) -> None:
    packed = gzip.compress(b" " * 50_000_000)

    def script(_: Seen) -> Action:
        return Reply(200, packed, {"Content-Encoding": "gzip"})

    peer = await start_peer(script)
    with pytest.raises(MalformedAnswer, match="more than 1000000 bytes"):
        await score(peer.url, 1, max_answer_bytes=1_000_000)
    assert peer.seen[0].headers["accept-encoding"] == "identity"


async def test_an_answer_of_another_profile_is_not_taken(
    start_peer: StartPeer, score: ScoreWith
) -> None:
    def script(request: Seen) -> Action:
        return Reply(200, {**answer([result(each) for each in request.ids]), "profile": "dummy"})

    peer = await start_peer(script)
    with pytest.raises(MalformedAnswer, match="expected an answer of profile 'math', got 'dummy'"):
        await score(peer.url)


async def test_a_sample_at_which_the_server_fails_is_found_and_the_others_are_scored(
    start_peer: StartPeer, score: ScoreWith
) -> None:
    def script(request: Seen) -> Action:
        bad = "s11" in request.ids
        return Reply(500, error_body("internal_error", "a bug")) if bad else scored(request)

    peer = await start_peer(script)
    found = await score(peer.url, 16, retry=RetryPolicy(first_delay_s=0.001))
    assert [each.id for each in found if each.reward == 1.0] == [
        f"s{i}" for i in range(16) if i != 11
    ]
    error = found[11].error
    assert error is not None
    assert (error.code, error.retryable) == ("scorer_failed", False)
    assert "500: a bug" in error.message
    assert found[11].fingerprint == "f"
    assert found[11].scores == {"math": None}
    assert len(peer.seen) < 40


async def test_500s_that_pass_cost_no_sample(start_peer: StartPeer, score: ScoreWith) -> None:
    answers = iter([500, 500, 503, 500, 500])

    def script(request: Seen) -> Action:
        status = next(answers, 200)
        return scored(request) if status == 200 else Reply(status, error_body("trouble"))

    peer = await start_peer(script)
    found = await score(peer.url, 8, retry=RetryPolicy(first_delay_s=0.001))
    assert [each.reward for each in found] == [1.0] * 8
    assert {len(each.ids) for each in peer.seen} == {8}
