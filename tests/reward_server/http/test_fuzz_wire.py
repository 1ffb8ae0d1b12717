"""No request to any route gets a 5xx, or an answer that the OpenAPI file does not describe.

`make fuzz` runs 1,000 examples an operation; by default a few, so that the check itself is kept.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.checkout import live_server
from touchstone_rewards.reward_server.live_server import LiveServer

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "5"))
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance"
)
HEADERS = {"Authorization": "Bearer fuzz"}  # with a key, so that loading models is reached too


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("fuzz")
    server = live_server(folder / "log", REWARD_API_KEY="fuzz").start()
    yield server
    assert "Traceback" not in server.log.read_text()
    server.kill()


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_generated_requests_get_only_documented_answers(live: LiveServer, tmp_path: Path) -> None:
    if shutil.which("schemathesis") is None:
        pytest.skip("schemathesis (extra dev) is not installed")
    command = ["schemathesis", "run", f"{live.url}/openapi.json", "--no-color"]
    options = ["--max-examples", str(EXAMPLES), "--checks", CHECKS, "--continue-on-failure"]
    phases = ["--phases", "examples,coverage,fuzzing", "--request-timeout", "60"]
    key = ["--header", f"Authorization: {HEADERS['Authorization']}"]
    done = subprocess.run(
        [*command, *options, *phases, *key], capture_output=True, text=True, cwd=tmp_path
    )
    # A deadline near zero is generated too: 504 is its documented answer.
    blamed = set(re.findall(r"^\s+\[(\d{3})\]", done.stdout, re.MULTILINE))
    assert done.returncode == 0 or blamed == {"504"}, done.stdout[-8000:]
    assert "passed" in done.stdout


BODIES = {
    "a lone surrogate": rb'{"samples": [{"id": "a", "response": "\ud800"}], "query": ["\ud800"]}',
    "NaN": b'{"samples": [{"id": "a", "response": "x", "ground_truth": NaN}], "query": NaN}',
    "not UTF-8": b'{"samples": [{"id": "a", "response": "\xff\xfe"}], "query": ["\xff"]}',
    "nothing": b"",
    "no object": b"[[[]]]",
    "very deep": b'{"samples": ' + b"[" * 100_000,
    "a huge integer": b'{"samples": [{"id": "a", "response": "x", "ground_truth": 1'
    + b"0" * 5000
    + b"}]}",
}


@pytest.mark.parametrize("what", list(BODIES))
def test_a_body_that_no_generator_makes_gets_a_documented_answer(
    live: LiveServer, what: str
) -> None:
    paths = httpx2.get(f"{live.url}/openapi.json").json()["paths"]
    posts = {path: each["post"]["responses"] for path, each in paths.items() if "post" in each}
    assert len(posts) > 3
    for path, documented in posts.items():
        answer = httpx2.post(f"{live.url}{path}", content=BODIES[what], headers=HEADERS)
        assert answer.status_code < 500, (path, answer.text)
        assert str(answer.status_code) in documented, (path, answer.text)
        answer.json()
