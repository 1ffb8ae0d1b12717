"""The pure half of the clients: bodies, checks, delays."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clients.peers import answer, error_body, failed, result
from touchstone_rewards.clients import (
    InvalidSample,
    MalformedAnswer,
    Sample,
    UnknownProfile,
    protocol,
)
from touchstone_rewards.clients.protocol import Encoded
from touchstone_rewards.reward_server.remote import policy
from touchstone_rewards.reward_server.remote.policy import Failure, RetryPolicy, ServerHealth
from touchstone_rewards.reward_server.schemas import SampleResult, ScoreRequest

TEXT = st.text(st.characters(codec=None), max_size=20)  # lone surrogates too


def parse(*results: dict[str, Any], sent: str = "ab") -> list[protocol.ScoreResult]:
    body = json.dumps(answer(list(results))).encode()
    return protocol.parse(body, [Encoded(each, b"{}") for each in sent], "math")


@given(TEXT, TEXT)
def test_whatever_a_model_writes_can_be_sent(sample_id: str, response: str) -> None:
    [encoded] = protocol.encode([Sample(sample_id, response, metadata={sample_id: [response]})])
    arrived = msgspec.json.decode(encoded.json, type=Sample)
    assert arrived.id == encoded.id
    assert len(arrived.response) <= len(response)
    if response.isprintable():
        assert arrived.response == response


def test_all_that_the_server_says_of_a_sample_comes_through() -> None:
    more = {
        "explanation": {"math": {"method": "words"}},
        "routed_to": "p",
        "group": "g/2",
        "turns": [1.0, None],
        "weights": {"math": 0.5},
        "decided_by": {"math": "judge"},
        "undecided": ["math"],
    }
    [got] = parse(result("a", **more), sent="a")
    assert {name: getattr(got, name) for name in more} == more
    given = {"id", "status", "reward", "scores", "error", *more}
    assert given == set(SampleResult.__struct_fields__)


def test_a_lone_surrogate_becomes_the_replacement_character() -> None:
    [encoded] = protocol.encode([{"id": "a\ud800", "response": "x\udfffy \ud83d\ude00"}])
    assert encoded.id == "a\ufffd"
    assert msgspec.json.decode(encoded.json, type=Sample).response == "x\ufffdy \U0001f600"


def test_a_number_that_is_not_finite_travels_as_null() -> None:
    [encoded] = protocol.encode([Sample("a", "b", signals={"kl": math.nan, "h": math.inf})])
    assert json.loads(encoded.json)["signals"] == {"kl": None, "h": None}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"id": "a", "response": "b", "ground_thruth": "3"}, "ground_thruth"),
        ({"id": "a"}, "response"),
        ({"id": 3, "response": "b"}, "id"),
        ("just text", "str"),
        (Sample("a", "b", metadata={"x": object()}), "object"),
    ],
)
def test_a_sample_that_cannot_be_sent_is_named_with_its_place(wrong: Any, named: str) -> None:
    with pytest.raises(InvalidSample, match=rf"sample 1 .*{named}"):
        protocol.encode([Sample("fine", "x"), wrong])


def test_the_body_is_the_request_of_the_wire() -> None:
    samples = [Sample("a", "x", ground_truth="3"), Sample("b", "y", prompt="p")]
    body = protocol.build(protocol.encode(samples), "format", "eval", True, 20.0)
    request = msgspec.json.decode(body, type=ScoreRequest)
    assert request == ScoreRequest(samples, "format", 19_500.0, "eval", True)


@pytest.mark.parametrize(("left_s", "sent_ms"), [(60, 59_500), (1, 900), (0.1, 90), (1e-6, 1)])
def test_the_server_is_to_answer_a_little_before_the_client_leaves(
    left_s: float, sent_ms: float
) -> None:
    body = protocol.build([], "math", "train", False, left_s)
    assert json.loads(body)["deadline_ms"] == sent_ms


def test_results_carry_what_made_them() -> None:
    first, second = parse(result("a", 0.5), failed("b", retryable=False))
    assert (first.reward, first.profile, first.fingerprint) == (0.5, "math", "f")
    assert second.reward is None
    assert second.error is not None


@pytest.mark.parametrize(
    ("results", "named"),
    [
        ([result("a")], "expected 2 results, got 1"),
        ([result("a"), result("b"), result("c")], "got 3"),
        ([result("b"), result("a")], "expected the result of 'a', got that of 'b'"),
        ([result("a"), result("b", None)], "never both"),
        ([result("a"), result("b", status="error")], "never both"),
        ([result("a"), {**failed("b", retryable=False), "reward": 0.0}], "never both"),
        ([result("a"), {**failed("b", retryable=False), "error": None}], "never both"),
        ([result("a"), {**failed("b", retryable=False), "status": "ok"}], "never both"),
        ([result("a"), result("b", math.nan)], "not a score response"),
        ([result("a"), result("b", math.inf)], "not a score response"),
        ([result("a"), result("b", scores={"math": "1"})], "not a score response"),
    ],
)
def test_an_answer_that_breaks_the_wires_promises_is_refused(
    results: list[dict[str, Any]], named: str
) -> None:
    with pytest.raises(MalformedAnswer, match=named):
        parse(*results)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"results": []}', b"\xff\xfe"])
def test_an_answer_that_is_no_score_response_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        protocol.parse(body, [], "math")


def test_a_number_too_large_for_a_float_is_refused() -> None:
    body = json.dumps(answer([result("a", 7.25)])).replace("7.25", "1e999").encode()
    with pytest.raises(MalformedAnswer):
        protocol.parse(body, [Encoded("a", b"")], "math")


def test_only_408_429_and_5xx_are_tried_again() -> None:
    retried = [status for status in range(100, 600) if policy.is_retried(status)]
    assert retried == [408, 429, *range(500, 600)]


def test_a_refusal_says_who_what_and_what_to_do() -> None:
    body = json.dumps(error_body("unknown_profile", "profile 'x' is not known")).encode()
    error = protocol.refusal(404, body, "http://h/score")
    assert isinstance(error, UnknownProfile)
    assert (error.status, error.code, error.request_id) == (404, "unknown_profile", "r1")
    assert str(error).startswith("http://h/score answered 404: profile 'x' is not known; check")


def test_a_refusal_by_something_else_shows_the_beginning_of_what_it_said() -> None:
    error = protocol.refusal(302, b"<html>" + b"x" * 1000, "http://h/score")
    assert error.code is None
    assert "<html>xxx" in str(error)
    assert "is http://h/score a Touchstone reward server?" in str(error)
    assert len(str(error)) < 400


NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0.0),
        ("soon", 0.0),
        ("-3", 0.0),
        ("", 0.0),
        (None, 0.0),
        ("9" * 400, 600.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 600.0),
        ("Mon, 99999999999 Jan 2020 00:00:00 GMT", 0.0),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str | None, seconds: float) -> None:
    assert policy.retry_after_s(value, NOW.timestamp()) == seconds


def test_the_delay_is_a_random_part_of_a_bound_that_doubles_up_to_five_seconds() -> None:
    bounds = [RetryPolicy().delay_s(attempt, lambda: 1.0) for attempt in (0, 1, 2, 5, 6, 10_000)]
    assert bounds == [0.1, 0.2, 0.4, 3.2, 5.0, 5.0]
    assert RetryPolicy().delay_s(6, lambda: 0.25) == 1.25
    assert len({RetryPolicy().delay_s(3) for _ in range(20)}) > 10


def test_servers_take_turns() -> None:
    servers = [ServerHealth("a"), ServerHealth("b"), ServerHealth("c")]
    assert "".join(policy.next_server(servers, 0.0).url for _ in range(6)) == "abcabc"


def test_a_server_that_failed_is_passed_over_until_it_has_rested() -> None:
    servers = [ServerHealth("a"), ServerHealth("b")]
    servers[0].failed(Failure("gone"), now_s=10.0, rest_s=2.0)
    assert [policy.next_server(servers, 11.0).url for _ in range(3)] == ["b", "b", "b"]
    assert "a" in {policy.next_server(servers, 12.5).url for _ in range(2)}


def test_when_all_rest_the_first_to_be_back_is_next() -> None:
    servers = [ServerHealth("a"), ServerHealth("b")]
    servers[0].failed(Failure("gone"), now_s=10.0, rest_s=5.0)
    servers[1].failed(Failure("gone"), now_s=10.0, rest_s=2.0)
    assert policy.next_server(servers, 11.0).url == "b"


def test_a_server_that_refuses_at_once_is_tried_again_at_once() -> None:
    servers = [ServerHealth("a"), ServerHealth("b")]
    servers[0].failed(Failure("gone"), now_s=10.0, rest_s=0.1)
    servers[0].tried_until_s = 10.2 + RetryPolicy().trial_s
    assert [policy.next_server(servers, 11.0).url for _ in range(3)] == ["b", "b", "b"]
    servers[0].failed(Failure("still gone"), now_s=10.2, rest_s=0.1)
    assert "a" in {policy.next_server(servers, 10.4).url for _ in range(2)}


def test_an_answer_to_what_was_sent_before_a_failure_does_not_end_the_rest() -> None:
    server = ServerHealth("a")
    server.failed(Failure("429"), now_s=10.0, rest_s=3.0)
    server.succeeded(sent_at_s=9.0)
    assert server.rests_until_s == 13.0
    server.succeeded(sent_at_s=13.0)
    assert (server.rests_until_s, server.failure) == (0.0, None)


def test_a_result_made_by_the_client_gets_the_keys_and_fingerprint_of_the_others() -> None:
    large = protocol.too_large(Encoded("a", b"x" * 9), "math")
    assert large.error is not None
    assert (large.reward, large.error.code, large.scores) == (None, "response_too_large", {})
    results = [large, *parse(result("b"), sent="b")]
    protocol.complete(results)
    assert (large.scores, large.fingerprint) == ({"math": None}, "f")
