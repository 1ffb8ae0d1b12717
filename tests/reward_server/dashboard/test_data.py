"""The dashboard's data: slots of time, recent samples, histograms, and who may read them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable

import httpx2
import pytest

from touchstone_rewards.reward_server.dashboard.data import BINS, histogram
from touchstone_rewards.reward_server.dashboard.live import SLOT_S, SLOTS, Live
from touchstone_rewards.reward_server.dashboard.recent import (
    KEPT_A_SECOND,
    MAX_SAMPLE_BYTES,
    RecentSamples,
    excerpt,
)
from touchstone_rewards.reward_server.errors import sample_error
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.schemas import Message, Sample, SampleResult
from touchstone_rewards.reward_server.telemetry.tallies import Verdicts, tally

RIGHT = {"id": "a", "response": "So it is \\boxed{46}.", "ground_truth": "46"}


class Clock:
    """A clock that the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def scored(*rewards: float | None) -> tuple[list[Sample], list[SampleResult]]:
    samples = [Sample(str(i), f"response {i}") for i in range(len(rewards))]
    failed = sample_error("worker_lost", "gone")
    results = [
        SampleResult(s.id, "ok", reward, {"math": reward}, None if reward is not None else failed)
        for s, reward in zip(samples, rewards, strict=True)
    ]
    return samples, results


def verdicts(*rewards: float | None) -> Verdicts:
    numbers, errors = tally(rewards), Counter(worker_lost=rewards.count(None))
    return Verdicts(numbers, {"math": numbers}, +errors)


def test_rates_are_of_whole_slots_and_idle_slots_are_zero() -> None:
    clock = Clock()
    live = Live(clock)
    live.observe_verdicts("math", verdicts(1.0, 0.0, None))
    live.observe_requests([("/score", 200, 0.010)])
    assert live.rates().samples_per_s == []
    clock.now += 2 * SLOT_S
    rates = live.rates()
    assert rates.samples_per_s == [3 / SLOT_S, 0.0]
    assert rates.requests_per_s == [1 / SLOT_S, 0.0]
    assert rates.p99_ms == [pytest.approx(10, rel=0.05), None]
    assert live.means("math") == {"reward": [0.5, None], "math": [0.5, None]}
    assert live.means("another") == {}


def test_latency_quantiles_are_right_within_five_percent() -> None:
    clock = Clock()
    live = Live(clock)
    for i in range(1, 1001):
        live.observe_requests([("/score", 200, i / 1000)])
    clock.now += SLOT_S
    rates = live.rates()
    assert rates.p50_ms == [pytest.approx(500, rel=0.05)]
    assert rates.p99_ms == [pytest.approx(990, rel=0.05)]


def test_failures_are_counted_by_code_for_ten_minutes() -> None:
    clock = Clock()
    live = Live(clock)
    live.observe_verdicts("math", verdicts(None, 1.0))
    live.observe_requests([("/score", 429, 0.001)])
    live.observe_requests([("/dashboard/data", 401, 0.001)])
    assert live.failures().requests == {"429": 1}
    assert live.failures().samples == {"worker_lost": 1}
    clock.now += SLOT_S * SLOTS
    assert live.failures().samples == {}
    for _ in range(2 * SLOTS):
        clock.now += SLOT_S
        live.observe_verdicts("math", verdicts(1.0))
    assert len(live.rates().samples_per_s) == SLOTS


def test_the_newest_samples_are_kept_and_spread_over_a_large_request() -> None:
    clock = Clock()
    recent = RecentSamples(40, clock)
    recent.observe("math", *scored(*[1.0] * 1000))
    kept = recent.since(0)
    assert len(kept) == 40
    assert [int(one.id) for one in kept] == [25 * i for i in range(40)]
    assert recent.since(kept[-2].seq) == kept[-1:]
    clock.now += 1
    recent.observe("math", *scored(0.0))
    assert recent.since(0)[-1].reward == 0.0
    assert len(recent.since(0)) == 40


def test_no_more_is_kept_of_a_second_than_someone_could_read() -> None:
    recent = RecentSamples(1000, Clock())
    for _ in range(100):
        recent.observe("math", *scored(1.0, 1.0))
    assert len(recent.since(0)) == KEPT_A_SECOND


def test_without_room_nothing_is_kept() -> None:
    recent = RecentSamples(0)
    recent.observe("math", *scored(1.0))
    assert recent.since(0) == []


def test_a_kept_sample_comes_back_whole_unless_it_is_large() -> None:
    recent = RecentSamples(10)
    samples, results = scored(1.0, 1.0, 1.0)
    samples[0].prompt = [Message("user", "what is it?")]
    samples[1].response = "x" * (MAX_SAMPLE_BYTES + 1)
    samples[2].metadata = {"notes": "x" * MAX_SAMPLE_BYTES}
    recent.observe("math", samples, results)
    chat, large, noted = recent.since(0)
    assert chat.prompt == "user: what is it?"
    assert recent.whole(chat.seq) == ("math", samples[0])
    assert [one.can_open for one in (chat, large, noted)] == [True, False, False]
    assert recent.whole(large.seq) is None
    assert len(large.response) < 400
    assert recent.whole(99) is None


def test_an_excerpt_has_the_beginning_and_the_end() -> None:
    text = "begin" + "." * 10_000 + "the end"
    assert excerpt(text).startswith("begin")
    assert excerpt(text).endswith("the end")
    assert excerpt("short") == "short"


def test_few_values_have_a_bar_each_and_many_share_bins() -> None:
    few = histogram([0.0, 1.0, 1.0, None, 0.5])
    assert [(bar.low, bar.high, bar.count) for bar in few] == [(0, 0, 1), (0.5, 0.5, 1), (1, 1, 2)]
    many = histogram([float(i) for i in range(-100, 101)])
    assert len(many) == BINS
    assert sum(bar.count for bar in many) == 201
    assert (many[0].low, many[-1].high) == (-100, pytest.approx(100))
    extreme = histogram([i * 1e307 for i in range(-17, 18)] + [float("inf"), float("nan")])
    assert sum(bar.count for bar in extreme) == 35
    assert histogram([None]) == []


def test_data_and_explanations_need_the_key_and_the_page_does_not(
    start_server: Callable[..., LiveServer],
) -> None:
    live = start_server(REWARD_API_KEY="sesame")
    key = {"Authorization": "Bearer sesame"}
    assert httpx2.get(f"{live.url}/").status_code == 200
    assert httpx2.get(f"{live.url}/dashboard/data").status_code == 401
    assert httpx2.post(f"{live.url}/dashboard/explain", json={"seq": 1}).status_code == 401
    assert httpx2.get(f"{live.url}/dashboard/data", headers=key).status_code == 200
    assert "sesame" not in httpx2.get(f"{live.url}/").text


@pytest.mark.parametrize("path", ["/", "/label"])
def test_a_page_may_load_nothing_but_what_it_holds(server: LiveServer, path: str) -> None:
    answer = httpx2.get(f"{server.url}{path}")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    for tag in ("style", "script"):
        [inline] = re.findall(f"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    loaded = re.sub(r"<a [^>]*>", "", answer.text)  # a link loads nothing until it is followed
    assert not re.findall(r"(?:src|href)=\"(?!data:)", loaded)
    assert re.findall(r"<a [^>]*href=\"(?![/#])", answer.text) == []
    assert not re.search(r"innerHTML|insertAdjacentHTML|outerHTML|document\.write", answer.text)
    assert len(answer.content) < 64_000


def test_what_was_scored_shows_and_opening_it_counts_nowhere(
    start_server: Callable[..., LiveServer],
) -> None:
    live = start_server()
    with httpx2.Client(base_url=live.url) as client:
        samples = [RIGHT, {**RIGHT, "id": "b", "ground_truth": None}]
        client.post("/score", json={"samples": samples}).raise_for_status()
        data = client.get("/dashboard/data?profile=math").json()
        first, second = data["recent"]
        assert (first["id"], first["reward"]) == ("a", 1.0)
        assert (second["reward"], second["error"]["code"]) == (None, "bad_ground_truth")
        assert data["failures"]["samples"] == {"bad_ground_truth": 1}
        assert data["chosen"]["histograms"]["reward"] == [{"low": 1.0, "high": 1.0, "count": 1}]
        explained = client.post("/dashboard/explain", json={"seq": first["seq"]}).json()
        assert explained["sample"] == RIGHT
        assert explained["result"]["explanation"]["math"]["answer"] == "46"
        after = client.get(f"/dashboard/data?profile=math&after={second['seq']}").json()
        assert after["recent"] == []
        assert after["profiles"] == data["profiles"]
        assert 'reward_samples_total{profile="math",status="ok"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"seq": 10**9}, 422),
        ({}, 422),
        ({"sample": {"id": "a"}}, 422),
        ({"profile": "nope", "sample": RIGHT}, 404),
    ],
)
def test_what_cannot_be_explained_is_refused_with_a_reason(
    server: LiveServer, body: dict[str, object], status: int
) -> None:
    answer = httpx2.post(f"{server.url}/dashboard/explain", content=json.dumps(body))
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("after", ["x", "-1", "9" * 30, "²"])
def test_a_number_that_is_none_is_refused(server: LiveServer, after: str) -> None:
    answer = httpx2.get(f"{server.url}/dashboard/data", params={"after": after})
    assert answer.status_code == 422
