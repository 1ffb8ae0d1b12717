"""Keys with names and limits, compressed bodies, and the log lines about them, through a real
server.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import random
import socket
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.checkout import live_server
from tests.waiting import PATIENCE_S, wait_until
from touchstone_rewards.reward_server.errors import (
    ConfigError,
    InvalidRequest,
    QueueFull,
    RequestTooLarge,
)
from touchstone_rewards.reward_server.http.inflate import SLICE_BYTES, inflater, zstd
from touchstone_rewards.reward_server.limits import Share
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.settings import load_settings

LIMIT = 4 * 2**20
HASHED = hashlib.sha256(b"hush-hashed").hexdigest()
CONFIG = f"""
max_body_bytes: {LIMIT}
log_format: json
api_keys:
  - hush-plain
  - {{name: hashed, key: "sha256:{HASHED}"}}
  - {{name: slow, key: hush-slow, samples_per_s: 10}}
  - {{name: small, key: hush-small, max_pending_samples: 4}}
"""
SECRET = "what the model wrote"
BODY = {"profile": "dummy", "samples": [{"id": "a", "response": SECRET, "ground_truth": "x"}]}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("guard")
    (folder / "server.yaml").write_text(CONFIG)
    slow = "tests.reward_server.hostile_scorers:Hostile"
    (folder / "slow.yaml").write_text(f"scorers: {{slow: {{scorer: '{slow}'}}}}")
    (folder / "profiles").mkdir()
    (folder / "slow.yaml").rename(folder / "profiles" / "slow.yaml")
    options = ["--config", str(folder / "server.yaml"), "--profiles_dir", str(folder / "profiles")]
    options += ["--sample_deadline_s", str(2 * PATIENCE_S)]
    server = live_server(folder / "log", *options).start()
    yield server
    server.kill()


def post(live: LiveServer, key: str, body: Any = BODY, **options: Any) -> httpx2.Response:
    headers = {"X-API-Key": key, **options.pop("headers", {})}
    content = options.pop("content", None) or json.dumps(body)
    url = f"{live.url}/score"
    return httpx2.post(url, content=content, headers=headers, **options)


def logged(live: LiveServer) -> list[str]:
    """Return the log's lines, with those of all requests that were answered."""
    httpx2.get(f"{live.url}/health")  # a line is written after the answer, and before the next one
    return live.log.read_text().splitlines()


def lines(live: LiveServer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in logged(live)]


def samples(count: int, response: str = "x", **fields: Any) -> list[dict[str, Any]]:
    return [{"id": str(i), "response": response, **fields} for i in range(count)]


@pytest.mark.parametrize("key", ["hush-plain", "hush-hashed", "hush-slow", "hush-small"])
def test_a_key_opens_plain_or_hashed(live: LiveServer, key: str) -> None:
    assert post(live, key).status_code == 200


@pytest.mark.parametrize("name", ["requests", "aiohttp", "httpx2"])
async def test_a_key_in_the_url_opens_as_common_clients_send_it(
    live: LiveServer, name: str
) -> None:
    client = pytest.importorskip(name)

    async def status(key: str) -> int:
        url = live.url.replace("http://", f"http://:{key}@") + "/score"
        if name != "aiohttp":
            return (await asyncio.to_thread(client.post, url, json=BODY)).status_code
        async with client.ClientSession() as session, session.post(url, json=BODY) as answer:
            return answer.status

    assert [await status(key) for key in ("hush-plain", "hush-hashed", "hush")] == [200, 200, 401]


@pytest.mark.parametrize("sent", ["Basic", "Basic ???", "Basic aHVzaC1wbGFpbg==", "Basic Og=="])
def test_basic_authorization_without_a_key_as_password_does_not_open(
    live: LiveServer, sent: str
) -> None:
    answer = httpx2.post(f"{live.url}/score", json=BODY, headers={"Authorization": sent})
    assert answer.status_code == 401


@pytest.mark.parametrize("key", [HASHED, f"sha256:{HASHED}", "hush", ""])
def test_a_hash_is_no_key(live: LiveServer, key: str) -> None:
    assert post(live, key).status_code == 401


def test_a_key_beyond_its_rate_is_told_when_to_come_again(live: LiveServer) -> None:
    many = {"profile": "dummy", "samples": samples(30)}
    # On a busy machine three seconds, the cost of the first 30, may pass between two of them.
    answers = (post(live, "hush-slow", many) for _ in range(100))
    shed = next(answer for answer in answers if answer.status_code == 429)
    assert shed.json()["error"]["code"] == "queue_full"
    assert "key slow may score 10 samples per second" in shed.json()["error"]["message"]
    wait_s = int(shed.headers["retry-after"])
    assert 1 <= wait_s <= 6
    assert post(live, "hush-plain", many).status_code == 200
    time.sleep(wait_s)
    assert post(live, "hush-slow", many).status_code == 200


def test_a_keys_samples_in_work_are_limited_and_no_other_keys(
    live: LiveServer, tmp_path: Path
) -> None:
    metadata = {"begun": str(tmp_path / "begun"), "file": "no such file"}
    endless = samples(3, "2", ground_truth="wait_for", metadata=metadata)
    content = json.dumps({"profile": "slow", "samples": endless}).encode()
    head = "POST /score HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: hush-small\r\n"
    few = {"profile": "dummy", "samples": samples(4)}
    with socket.create_connection(("127.0.0.1", live.port)) as connection:
        connection.sendall(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
        wait_until((tmp_path / "begun").exists)
        assert post(live, "hush-small", few).status_code == 429
    # That caller has left, so its samples count no more.
    wait_until(lambda: post(live, "hush-small", few).status_code == 200)
    share = Share("small", max_pending_samples=4)
    with share.room(3):
        with pytest.raises(QueueFull, match="3 samples of key small are pending and 2 came"):
            share.room(2).__enter__()
        with share.room(1):
            pass
    with pytest.raises(RequestTooLarge, match="100 samples came, and key small may have 4"):
        share.room(100).__enter__()


def test_keys_are_named_in_the_metrics_and_shown_nowhere(live: LiveServer) -> None:
    post(live, "hush-hashed")
    post(live, "hush-wrong")
    text = httpx2.get(f"{live.url}/metrics", headers={"X-API-Key": "hush-plain"}).text
    assert 'reward_key_requests_total{key="hashed",status="200"}' in text
    assert 'reward_key_samples_total{key="hashed"}' in text
    assert "hush" not in text
    assert "hush" not in live.log.read_text()
    assert HASHED not in live.log.read_text()


def test_a_request_leaves_one_line_without_what_the_model_wrote(live: LiveServer) -> None:
    body = {"profile": "math", "samples": [*BODY["samples"], *samples(2)]}  # two without a truth
    answer = post(live, "hush-hashed", body, headers={"X-Request-ID": "step-7"})
    assert answer.status_code == 200
    httpx2.get(f"{live.url}/no%0Awhere", headers={"X-API-Key": "hush-plain"})
    [line] = [line for line in lines(live) if line.get("request_id") == "step-7"]
    assert line.pop("ms") > 0
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "touchstone_rewards.reward_server.requests",
        "message": "answered",
        "request_id": "step-7",
        "route": "/score",
        "status": 200,
        "key": "hashed",
        "profile": "math",
        "samples": 3,
        "failures": {"bad_ground_truth": 2},
    }
    assert [line["route"] for line in lines(live) if line.get("status") == 404] == ["other"]
    assert SECRET not in live.log.read_text()


def test_samples_are_logged_when_asked_for(tmp_path: Path) -> None:
    live = live_server(tmp_path / "log", "--log_samples").start()
    try:
        httpx2.post(f"{live.url}/score", json=BODY)
        [line] = [line for line in logged(live) if "route=/score" in line]
        assert SECRET in line
        assert "status=200" in line
    finally:
        live.kill()


PACKED = {"gzip": gzip.compress, "x-gzip": gzip.compress, "zstd": zstd.compress}


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "zstd", "GZIP"])
def test_a_packed_body_is_scored_as_a_plain_one(live: LiveServer, encoding: str) -> None:
    many = {"profile": "dummy", "samples": samples(500, "y" * 2000)}
    packed = PACKED[encoding.lower()](json.dumps(many).encode())
    answer = post(live, "hush-plain", content=packed, headers={"Content-Encoding": encoding})
    assert answer.status_code == 200, answer.text
    assert answer.json()["results"] == post(live, "hush-plain", many).json()["results"]


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_is_stopped_at_the_limit_of_a_body(live: LiveServer, encoding: str) -> None:
    bomb = PACKED[encoding](bytes(512 * 2**20))
    assert len(bomb) < LIMIT / 4
    assert live.process is not None
    before = psutil.Process(live.process.pid).memory_info().rss
    for _ in range(3):
        answer = post(live, "hush-plain", content=bomb, headers={"Content-Encoding": encoding})
        assert answer.status_code == 413
        assert f"at most {LIMIT} bytes" in answer.json()["error"]["message"]
    assert psutil.Process(live.process.pid).memory_info().rss - before < 64 * 2**20


def broken_bodies(encoding: str) -> dict[str, bytes]:
    whole = PACKED[encoding](json.dumps(BODY).encode())
    return {
        "nothing": b"",
        "cut short": whole[:-5],
        "no such thing": json.dumps(BODY).encode(),
        "spoilt": whole[:12] + b"\xff\xff\xff\xff" + whole[16:],
        "a second one": whole + whole,
        "trailing": whole + b"trailing",
    }


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("what", list(broken_bodies("gzip")))
def test_a_body_that_cannot_be_unpacked_does_not_fit(
    live: LiveServer, encoding: str, what: str
) -> None:
    body = broken_bodies(encoding)[what]
    headers = {"Content-Encoding": encoding, "X-API-Key": "hush-plain"}
    answer = httpx2.post(f"{live.url}/score", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
    assert encoding in answer.json()["error"]["message"]


def test_a_zstd_window_larger_than_a_server_must_hold_is_refused() -> None:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27}
    compressor = zstd.ZstdCompressor(options=options)
    noise = random.Random(1).randbytes(2**24)
    packed = compressor.compress(noise) + compressor.flush()
    unpacking = inflater(b"zstd")
    assert unpacking is not None
    with pytest.raises(InvalidRequest, match="zstd"):
        unpacking.feed(packed)


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, zstd", "x\xff"])
def test_another_encoding_is_415(live: LiveServer, encoding: str) -> None:
    header = {"Content-Encoding": encoding.encode("latin-1")}
    answer = post(live, "hush-plain", headers=header)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_encoding")
    assert "gzip, zstd" in answer.json()["error"]["message"]


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("piece", [1, 1000, 10**9])
def test_slices_make_the_whole_however_the_bytes_come(encoding: str, piece: int) -> None:
    whole = random.Random(1).randbytes(3000) + bytes(3 * SLICE_BYTES)
    packed, unpacked = PACKED[encoding](whole), b""
    unpacking = inflater(encoding.encode())
    assert unpacking is not None
    for start in range(0, len(packed), piece):
        part = unpacking.feed(packed[start : start + piece])
        unpacked += part
        while len(part) == SLICE_BYTES:
            part = unpacking.feed(b"")
            unpacked += part
    unpacking.end()
    assert zlib.crc32(unpacked) == zlib.crc32(whole)


def test_all_bodies_together_are_limited(tmp_path: Path) -> None:
    limits = ["--max_pending_bytes", "5000", "--profiles_dir", str(tmp_path)]
    limits += ["--sample_deadline_s", str(2 * PATIENCE_S), "--request_deadline_s", str(PATIENCE_S)]
    slow = "tests.reward_server.hostile_scorers:Hostile"
    (tmp_path / "slow.yaml").write_text(f"scorers: {{slow: {{scorer: '{slow}'}}}}")
    live = live_server(tmp_path / "log", *limits).start()
    try:
        alone = {"profile": "dummy", "samples": samples(1, "x" * 9000)}
        assert httpx2.post(f"{live.url}/score", json=alone).status_code == 200
        begun, gate = tmp_path / "begun", tmp_path / "go_on"
        metadata = {"begun": str(begun), "file": str(gate)}
        held = samples(1, "1", ground_truth="wait_for", metadata=metadata)
        body = json.dumps({"profile": "slow", "samples": held}).encode() + b" " * 4000
        with ThreadPoolExecutor(1) as caller:
            first = caller.submit(httpx2.post, f"{live.url}/score", content=body)
            wait_until(begun.exists)
            second = httpx2.post(f"{live.url}/score", content=body)
            gate.touch()
        assert (first.result().status_code, second.status_code) == (200, 429)
        assert httpx2.post(f"{live.url}/score", json=alone).status_code == 200
    finally:
        live.kill()


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ("[{name: a, key: 'sha256:hush'}]", "64 hex digits"),
        ("[{name: a, key: hush1}, {name: a, key: hush2}]", "two keys are called a"),
        ("[{name: 'a b', key: hush}]", "name"),
        ("[{name: a}]", "key"),
        ("[{name: a, key: hush, limit: 3}]", "limit: unknown key"),
        ("[{name: a, key: hush, samples_per_s: 0}]", "samples_per_s"),
    ],
)
def test_a_key_that_does_not_fit_is_refused_and_not_shown(
    tmp_path: Path, keys: str, complaint: str
) -> None:
    file = tmp_path / "server.yaml"
    file.write_text(f"api_keys: {keys}\n")
    with pytest.raises(ConfigError, match=complaint) as refusal:
        load_settings(file)
    assert "hush" not in str(refusal.value)
