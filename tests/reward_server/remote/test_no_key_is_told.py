"""An endpoint repeats its key in every answer, and the key is in no trace, log, page, score log or
output of a command. A real server, a real collector, a real endpoint.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.checkout import run_command
from tests.reward_server.telemetry.test_tracing import Collector, collector
from tests.waiting import wait_until
from touchstone_rewards.reward_server.live_server import LiveServer

__all__ = ["collector"]

KEY = "sk-very/secret+0123456789"
PARTS = ("sk-very", "secret+", "0123456789", "sk-very\\/secret", "very%2Fsecret")
PAGES = ("/", "/profiles", "/scorers", "/metrics", "/ready", "/health", "/version", "/status")


class Repeating(BaseHTTPRequestHandler):
    """A judge that repeats the key it was sent in every kind of answer."""

    protocol_version = "HTTP/1.1"
    verdict = "yes"

    def do_POST(self) -> None:
        prompt = self.rfile.read(int(self.headers["content-length"])).decode()
        key = self.headers["authorization"].removeprefix("Bearer ")
        status = 401 if "refuse" in prompt else 503 if "storm" in prompt else 200
        said = f"My key is {key}, {json.dumps(key)}.\nVerdict: {type(self).verdict}"
        if "ramble" in prompt:
            said = f"{key} " * 20
        choice: Any = {"message": {"content": said}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 2}
        answer: Any = {"model": "m", "choices": [choice], "usage": usage}
        if status != 200:
            answer = {"error": f"{key} is wrong"}
        if "misnamed" in prompt:
            answer["model"] = key
        if "misshapen" in prompt:
            answer = [key]
        body = json.dumps(answer).encode()
        self.send_response(status, key)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Key", key)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name there)
        return


@pytest.fixture
def judge() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Repeating)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Repeating.verdict = "yes"
    yield server.server_port
    server.shutdown()


def holds(text: str) -> list[str]:
    return [part for part in PARTS if part in text]


def test_the_key_is_in_no_trace_log_page_or_replay(
    start_server: Callable[..., LiveServer],
    collector: Collector,
    judge: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    profiles, log, state = (tmp_path / each for each in ("profiles", "scores.jsonl", "state"))
    profiles.mkdir()
    config = {"url": f"http://127.0.0.1:{judge}/v1", "model": "m", "key_env": "JUDGE_KEY"}
    entry = {"deadline_s": 60, "config": config}
    later = {**entry, "when": {"math": "undecided"}, "replaces": "math"}
    for name, entries in {"judged": {"judge": entry}, "both": {"math": {}, "judge": later}}.items():
        (profiles / f"{name}.yaml").write_text(yaml.safe_dump({"scorers": entries}))
    monkeypatch.setenv("JUDGE_KEY", KEY)
    flags = ["--profiles_dir", profiles, "--score_log", log, "--state_dir", state, "--traces"]
    live = start_server(
        *map(str, [*flags, "--log_level", "debug", "--log_samples"]),
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.server_port}",
        OTEL_BSP_SCHEDULE_DELAY="50",
    )
    words = ("plain", "refuse", "storm", "ramble", "misnamed", "misshapen")
    samples = [{"id": w, "response": f"{w} words", "ground_truth": "it is as it is"} for w in words]
    shown: dict[str, str] = {}
    for name in ("judged", "both"):
        body = {"profile": name, "samples": samples, "explain": True}
        # The first answer to arrive names the model; an answer with another name has no verdict.
        httpx2.post(f"{live.url}/score", json=body | {"samples": samples[:1]}).raise_for_status()
        answer = httpx2.post(f"{live.url}/score", json=body, headers={"x-request-id": name})
        shown[name] = answer.text
        rewards = [each["reward"] for each in answer.json()["results"]]
        assert rewards == [1.0, None, None, None if name == "judged" else 0.0, None, None]
        assert collector.of(name, 2)
    assert "[key]" in shown["judged"]
    shown |= {page: httpx2.get(live.url + page).text for page in PAGES}
    wait_until(lambda: log.exists() and len(log.read_text().splitlines()) >= 2 * len(words))
    live.stop()
    shown["log of the server"] = live.log.read_text()
    shown["score log"] = log.read_text()
    shown["traces"] = b"".join(collector.bodies).decode(errors="replace")
    for path in filter(Path.is_file, state.rglob("*")):
        shown[str(path)] = path.read_bytes().decode(errors="replace")
    Repeating.verdict = "no"
    common = ["--profile", "both", "--profiles_dir", profiles, "--workers", 1]
    for name, words_ in {
        "replay": ["replay", "--input", log],
        "check": ["check", "--profiles_dir", profiles, "--workers", 1],
    }.items():
        done = run_command(*words_, *(common if name == "replay" else ()))
        shown[name] = done.stdout + done.stderr
    assert "plain: 1" in shown["replay"]  # its verdict has changed, so the judge's words are shown
    assert "[key]" in shown["replay"]
    monkeypatch.delenv("JUDGE_KEY")
    monkeypatch.setenv("OTHER", KEY)
    done = run_command("replay", "--input", log, *common)
    shown["replay without a key"] = done.stdout + done.stderr
    assert "has no key" in shown["replay without a key"]
    assert {name: found for name, text in shown.items() if (found := holds(text))} == {}
    assert all(shown[name] for name in ("traces", "score log", "log of the server", "/metrics"))
