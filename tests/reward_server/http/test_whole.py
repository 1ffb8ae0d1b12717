"""A whole request gets the same answer, word for word, as one that comes in chunks."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.checkout import live_server
from tests.waiting import PATIENCE_S, until
from touchstone_rewards.reward_server.app import create_app
from touchstone_rewards.reward_server.http.gate import AnswerParts
from touchstone_rewards.reward_server.http.heads import KnownHead
from touchstone_rewards.reward_server.http.whole import WholeRequest
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.settings import Settings

KEY = "hush-hush-hush"
GOOD = {"profile": "format", "samples": [{"id": "a", "response": "x"}]}
MATH = {"profile": "math", "samples": [{"id": "a", "response": "7", "ground_truth": "7"}]}
OPENRLHF = {"query": ["6+1=7"], "prompts": ["6+1="], "labels": ["7"]}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("whole")
    slow = "tests.reward_server.hostile_scorers:Hostile"
    (folder / "slow.yaml").write_text(f"scorers: {{slow: {{scorer: '{slow}'}}}}")
    options = "--log_format", "json", "--profiles_dir", str(folder), "--request_deadline_s", "600"
    server = live_server(folder / "log", *options, REWARD_API_KEY=KEY)
    server.start()
    yield server
    server.kill()


def request(
    path: str, body: bytes, *lines: str, chunked: bool = False, version: str = "1.1"
) -> bytes:
    if chunked:
        lines, body = (
            (*lines, "transfer-encoding: chunked"),
            b"%x\r\n%b\r\n0\r\n\r\n"
            % (
                len(body),
                body,
            ),
        )
    else:
        lines = (*lines, f"content-length: {len(body)}")
    head = "\r\n".join([f"POST {path} HTTP/{version}", "host: 127.0.0.1", *lines])
    return f"{head}\r\n\r\n".encode() + body


async def said(live: LiveServer, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """Send the parts; return all that the server sends until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    for part in parts:
        writer.write(part)
        await asyncio.sleep(pause_s)
    answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
    writer.close()
    return answer


def parsed(answer: bytes) -> tuple[str, dict[str, str], Any]:
    """Return the status line, the headers and the body, without the parts that differ each time."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    headers.pop("date")
    content = re.sub(rb'"elapsed_ms":[0-9.e-]+', b'"elapsed_ms":0', body)
    assert int(headers.pop("content-length")) == len(body)
    return status, headers, json.loads(content)


CASES = {
    "good": ("/score", json.dumps(GOOD), KEY),
    "waits": ("/score", json.dumps(MATH), KEY),
    "explained": ("/score", json.dumps(MATH | {"explain": True}), KEY),
    "foreign": ("/compat/openrlhf/get_reward?profile=math", json.dumps(OPENRLHF), KEY),
    "foreign at once": ("/compat/openrlhf/get_reward?profile=format", json.dumps(OPENRLHF), KEY),
    "none": ("/score", json.dumps(GOOD | {"samples": []}), KEY),
    "no key": ("/score", json.dumps(GOOD), "wrong"),
    "no profile": ("/score", json.dumps(GOOD | {"profile": "gone"}), KEY),
    "no JSON": ("/score", "{", KEY),
    "no text": ("/score", '{"samples": [{"id": "a", "response": "\\ud800"}]}', KEY),
    "misfit": ("/compat/slime/rm", '{"a": 1}', KEY),
}


@pytest.mark.parametrize("name", CASES)
async def test_a_whole_request_gets_what_a_chunked_one_gets(live: LiveServer, name: str) -> None:
    path, body, key = CASES[name]
    lines = f"authorization: Bearer {key}", "x-request-id: one", "connection: close"
    whole = parsed(await said(live, request(path, body.encode(), *lines)))
    chunked = parsed(await said(live, request(path, body.encode(), *lines, chunked=True)))
    assert whole == chunked
    assert whole[1]["x-request-id"] == "one"
    assert whole[1]["connection"] == "close"


async def test_requests_that_come_in_one_packet_are_answered_in_their_order(
    live: LiveServer,
) -> None:
    auth = f"authorization: Bearer {KEY}"
    bodies = [
        MATH | {"samples": [{"id": f"m{i}", "response": "7", "ground_truth": "7"}]}
        if i % 2
        else GOOD | {"samples": [{"id": f"m{i}", "response": "x"}]}
        for i in range(6)
    ]
    parts = [request("/score", json.dumps(body).encode(), auth) for body in bodies]
    last = request("/score", json.dumps(GOOD).encode(), auth, "connection: close")
    answer = await said(live, b"".join([*parts, last]))
    assert re.findall(rb'"id":"(\w+)"', answer) == [*(b"m%d" % i for i in range(6)), b"a"]


async def test_a_body_that_comes_byte_by_byte_is_answered_once_it_is_whole(
    live: LiveServer,
) -> None:
    auth = f"authorization: Bearer {KEY}", "connection: close"
    whole = request("/score", json.dumps(GOOD).encode(), *auth)
    pieces = [whole[at : at + 7] for at in range(0, len(whole), 7)]
    status, _, content = parsed(await said(live, *pieces, pause_s=0.001))
    assert (status, content["results"][0]["reward"]) == ("HTTP/1.1 200 OK", 0.0)


async def test_who_hangs_up_is_counted_and_what_was_begun_for_it_ends(live: LiveServer) -> None:
    hangs = {"id": "h", "response": "3", "ground_truth": "sleep"}
    body = json.dumps({"profile": "slow", "samples": [hangs] * 40}).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", live.port)
    writer.write(request("/score", body, f"authorization: Bearer {KEY}"))
    await until(lambda: pending(live) > 0)
    writer.close()
    # Of the forty, none is begun any more except those that run.
    await until(lambda: pending(live) <= 2)
    await until(lambda: '"status": 499' in Path(live.log).read_text())


class Endless:
    """An endpoint that never answers."""

    async def _wait(self) -> bytes:
        return await asyncio.get_running_loop().create_future()

    def begin(self, query: bytes, body: bytes) -> Coroutine[Any, Any, bytes]:
        return self._wait()


class Hearing:
    """A connection that receives answers."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.tasks: set[asyncio.Task[None]] = set()
        self.answers: list[int] = []

    def answer(self, answer: AnswerParts, request_id: str, *, keep_alive: bool) -> None:
        self.answers.append(answer[0])


@pytest.mark.parametrize("passes", [0, 1, 2])
async def test_whoever_hangs_up_before_anything_was_begun_leaves_nothing_behind(
    passes: int,
) -> None:
    app = create_app(Settings())
    assert app.gate is not None
    asked, host = Hearing(), {b"host": b"127.0.0.1"}
    head = KnownHead(Endless(), ("/score", b""), list(host.items()), host, keep_alive=True)
    whole = WholeRequest(app.gate, head, 100, keep_alive=True)
    whole.feed(bytes(100))
    whole.run(asked)
    [task] = asked.tasks
    for _ in range(passes):
        await asyncio.sleep(0)
    whole.disconnected = True  # as uvicorn notes it
    whole.message_event.set()
    await asyncio.wait([task])
    assert whole.response_complete
    assert app.gate.bodies.pending_bytes == 0
    assert not asked.tasks
    assert not asked.answers


def pending(live: LiveServer) -> float:
    text = httpx2.get(f"{live.url}/metrics", headers={"X-API-Key": KEY}).text
    return float(re.findall(r"^reward_worker_pending_samples (\S+)", text, re.MULTILINE)[0])
