"""A real server before upstreams that break TCP or HTTP: each fault gives null and one message
within the deadline, and other profiles go on scoring.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from socket import socket
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any

import httpx2
import pytest
import yaml

from touchstone_rewards.reward_server.live_server import LiveServer

DEADLINE_S = 30
OK = b"HTTP/1.1 200 OK\r\n"
CHAT = json.dumps(
    {
        "model": "m",
        "choices": [{"message": {"content": "Verdict: yes"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    }
).encode()


def sized(body: bytes, first: bytes = OK) -> bytes:
    return first + b"Content-Length: %d\r\n\r\n" % len(body) + body


def storm(retry_after: str) -> bytes:
    first = f"HTTP/1.1 429 Slow Down\r\nRetry-After: {retry_after}\r\n".encode()
    return sized(b'{"error": "slow down"}', first)


def rows(count: int) -> bytes:
    data = [{"index": i, "probs": [1.0]} for i in range(count)]
    return sized(json.dumps({"model": "m", "data": data}).encode())


class Slowly(bytes):
    """Bytes to be sent one at a time, for as long as someone reads."""


BOMB = gzip.compress(b" " * 10**8)
GIVES_UP = "the deadline leaves no time for another try"
# By fault: the bytes sent, and the message about them.
CHAT_LIES: dict[str, tuple[bytes, str]] = {
    "retry_0": (storm("0"), "5 tries failed"),
    "retry_negative": (storm("-5"), "5 tries failed"),
    "retry_past": (storm("Wed, 21 Oct 2015 07:28:00 GMT"), "5 tries failed"),
    "retry_date": (storm("Wed, 21 Oct 2099 07:28:00 GMT"), GIVES_UP),
    "retry_billion": (storm("1000000000"), GIVES_UP),
    "drip_in_the_head": (Slowly(OK + b"x-slow: " + b"z" * 10**5), "did not answer within"),
    "drip_in_the_body": (Slowly(sized(b" " * 10**5)), "did not answer within"),
    "drip_in_a_chunk_size": (
        Slowly(OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 10**5),
        "did not answer within",
    ),
    "chunks_break_off": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(CHAT) + CHAT[:-9],
        "it ended before the answer did",
    ),
    "last_chunk_missing": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(CHAT) + CHAT + b"\r\n",
        "it ended before the answer did",
    ),
    "words_without_end": (b"HTTP/1.1 100 Continue\r\n\r\n" * 9999, "its head is longer than"),
    "switching": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", "it ended before"),
    "moved": (
        sized(b"", b"HTTP/1.1 302 Found\r\nLocation: /thief/v1/chat/completions\r\n"),
        "answered 302: a redirect, which is not followed",
    ),
    "moved_for_good": (
        sized(b"", b"HTTP/1.1 308 Moved\r\nLocation: /thief/v1/chat/completions\r\n"),
        "answered 308: a redirect, which is not followed",
    ),
    "not_modified": (b"HTTP/1.1 304 Not Modified\r\n\r\n", "answered 304"),
    "gzip_bomb": (
        sized(BOMB, OK + b"Content-Encoding: gzip\r\n"),
        "answered 200 with gzip, which was not asked for, at",
    ),
    "nested": (sized(b"[" * 10**6), "no JSON object"),
    "without_end": (sized(b" " * 10**8), "answered with more than 8388608 bytes"),
}
BATCH_LIES: dict[str, tuple[bytes, str]] = {
    "one_too_few": (rows(2), "2 outputs for 3 inputs"),
    "one_too_many": (rows(4), "4 outputs for 3 inputs"),
    "none_at_all": (rows(0), "0 outputs for 3 inputs"),
}
GOOD = {"good": sized(CHAT), "hint": b"HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n" + sized(CHAT)}
ANSWERS = GOOD | {name: lie for name, (lie, _) in (CHAT_LIES | BATCH_LIES).items()}


class Upstreams(ThreadingTCPServer):
    """A server that answers by the first part of the path; `asked` keeps these parts."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Lying)
        self.asked: list[str] = []


class _Lying(StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Upstreams)
        while first := self.rfile.readline():
            name = first.split()[1].split(b"/")[1].decode()
            length = 0
            while (line := self.rfile.readline().strip()) != b"":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            self.rfile.read(length)
            self.server.asked.append(name)
            answer = ANSWERS[name]
            if name == "renamed" and self.server.asked.count(name) > 1:
                answer = answer.replace(b'"m"', b'"n"')
            with suppress(OSError):
                _send(self.connection, answer)
            if name not in GOOD and not name.startswith(("retry", "renamed")):
                return


def _send(connection: socket, answer: bytes) -> None:
    if not isinstance(answer, Slowly):
        connection.sendall(answer)
        return
    for at in range(len(answer)):
        connection.sendall(answer[at : at + 1])
        time.sleep(0.01)


ANSWERS["renamed"] = sized(CHAT)


@pytest.fixture
def upstreams() -> Iterator[Upstreams]:
    server = Upstreams()
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def write_profiles(folder: Path, port: int) -> None:
    def write(name: str, entries: dict[str, Any]) -> None:
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"scorers": entries}))

    for name in [*CHAT_LIES, *GOOD, "renamed"]:
        config = {"url": f"http://127.0.0.1:{port}/{name}/v1", "timeout_s": 10.0}
        if name.startswith("drip"):
            config["timeout_s"] = 0.5
        if name != "renamed":
            config["model"] = "m"
        judge = {"weight": 0.0, "deadline_s": DEADLINE_S, "config": {"model": "m", **config}}
        write(f"{name}_alone", {"judge": {**judge, "weight": 1.0}})
        write(name, {"math": {}, "judge": judge})
    for name in BATCH_LIES:
        url = f"http://127.0.0.1:{port}/{name}"
        config = {"url": url, "wire": "vllm_classify", "model": "m", "template": "plain"}
        entry = {"weight": 1.0, "deadline_s": DEADLINE_S, "config": config}
        write(f"{name}_alone", {"remote_reward_model": entry})


def posted(live: LiveServer, profile: str, count: int) -> tuple[list[Any], float]:
    """Return the results, and how long they took by the server's clock."""
    sample = {"response": "It is 46.", "ground_truth": "46"}
    samples = [{"id": str(i), "prompt": f"Problem {i}", **sample} for i in range(count)]
    body = {"profile": profile, "samples": samples}
    answer = httpx2.post(f"{live.url}/score", json=body).raise_for_status().json()
    return answer["results"], answer["elapsed_ms"] / 1000


def most_memory_mb(live: LiveServer) -> float:
    assert live.process is not None
    status = Path(f"/proc/{live.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def test_each_lie_is_null_with_its_message_and_costs_no_one_else(
    start_server: Callable[..., LiveServer], upstreams: Upstreams, tmp_path: Path
) -> None:
    write_profiles(tmp_path, upstreams.server_address[1])
    live = start_server("--profiles_dir", str(tmp_path), "--workers", "1")
    before_mb = most_memory_mb(live)
    lies = CHAT_LIES | BATCH_LIES
    with ThreadPoolExecutor(len(lies) + len(CHAT_LIES)) as threads:
        counts = {name: 3 if name in BATCH_LIES else 1 for name in lies}
        alone = {n: threads.submit(posted, live, f"{n}_alone", counts[n]) for n in lies}
        beside = {name: threads.submit(posted, live, name, 1) for name in CHAT_LIES}
        for name in [*GOOD, "math"] * 3:
            assert [each["reward"] for each in posted(live, name, 3)[0]] == [1.0] * 3
    for name, (_, message) in lies.items():
        results, took_s = alone[name].result()
        for each in results:
            assert (each["reward"], each["error"]["code"]) == (None, "upstream_failed"), name
            assert message in each["error"]["message"], name
            assert len(each["error"]["message"]) < 1000, name  # 200 characters, escaped
        print(f"{name:22} {took_s:5.2f} s  {results[0]['error']['message'][:150]}")
    for name, asked in beside.items():
        for each in asked.result()[0]:
            assert (each["reward"], each["scores"]) == (1.0, {"math": 1.0, "judge": None}), name
    assert "thief" not in upstreams.asked
    print(f"memory: {before_mb:.0f} to {most_memory_mb(live):.0f} MB")


def test_a_model_of_another_name_in_mid_run_scores_nothing(
    start_server: Callable[..., LiveServer], upstreams: Upstreams, tmp_path: Path
) -> None:
    write_profiles(tmp_path, upstreams.server_address[1])
    live = start_server("--profiles_dir", str(tmp_path), "--workers", "1")
    first, _ = posted(live, "renamed_alone", 1)
    assert first[0]["reward"] == 1.0
    [*_, second], _ = posted(live, "renamed_alone", 2)
    assert second["reward"] is None
    assert second["error"]["message"].endswith("answered as model 'n' where 'm' was expected")
