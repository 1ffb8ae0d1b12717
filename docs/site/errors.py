"""Make the page of errors: provoke each error in a running server, and show its answer."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import httpx2

from touchstone_rewards.reward_server.app import create_app
from touchstone_rewards.reward_server.errors import SAMPLE_ERRORS, RequestError
from touchstone_rewards.reward_server.live_server import LiveServer, without_settings
from touchstone_rewards.reward_server.schemas import SampleErrorCode
from touchstone_rewards.reward_server.settings import Settings

FAILING = """
import os, time
def broken(response): raise ValueError("no such unit")
def gone(response): os._exit(1)
def slow(response): time.sleep(3600)
def held(response):
    while not os.path.exists(os.path.join(os.path.dirname(__file__), "released")): time.sleep(0.01)
"""
PROFILES = {
    "exact": "scorers: {exact: {}}",
    "broken": 'scorers: {broken: {scorer: "failing:broken"}}',
    "gone": 'scorers: {gone: {scorer: "failing:gone"}}',
    "slow": 'scorers: {slow: {scorer: "failing:slow", deadline_s: 0.5}}',
    "held": 'scorers: {held: {scorer: "failing:held", deadline_s: 3600}}',
    "judged": "scorers: {judge: {deadline_s: 60, config: {url: 'http://127.0.0.1:9', model: m}}}",
}
SETTINGS = """
api_keys:
  - {key: scores, name: trainer}
  - {key: few, name: few, samples_per_s: 0.001}
workers: 1
max_samples: 4
max_response_bytes: 40
"""
RIGHT = {"id": "1", "response": "It is \\boxed{46}.", "ground_truth": "46"}


# Starlette's own errors; the code is derived from its message.
ROUTING = [
    (404, "not_found", "There is no such route."),
    (
        405,
        "method_not_allowed",
        "The route does not support this method; `Allow` lists those that it supports.",
    ),
]


class SampleCase(NamedTuple):
    """How to provoke a sample's error: the reason in words, the profile, and changes to the
    sample."""

    why: str
    profile: str
    sample: dict[str, Any]


SAMPLE_CASES: dict[SampleErrorCode, SampleCase] = {
    "deadline_exceeded": SampleCase(
        "The sample exceeded its deadline, and its worker was killed; or the request's deadline "
        "passed first, in which case it may be sent again.",
        "slow",
        {},
    ),
    "scorer_failed": SampleCase(
        "The scorer raised an exception or returned an invalid score. The scorer is at fault.",
        "broken",
        {},
    ),
    "bad_ground_truth": SampleCase(
        "The ground truth cannot be read. The data is at fault: "
        "[check it before training](../lint.md).",
        "math",
        {"ground_truth": "\\frac{1}{"},
    ),
    "missing_field": SampleCase(
        "A field that the scorer needs is missing.", "exact", {"ground_truth": None}
    ),
    "response_too_large": SampleCase(
        "The response has more bytes than `max_response_bytes`, or more tokens than the model "
        "accepts.",
        "math",
        {"response": "6 times 8 is 48, and 48 less 2 is \\boxed{46}."},
    ),
    "worker_lost": SampleCase(
        "The worker died on this sample, for example because it ran out of memory.", "gone", {}
    ),
    "upstream_failed": SampleCase(
        "The endpoint of a remote scorer gave no usable answer.", "judged", {}
    ),
    "unsupported_input": SampleCase(
        "The scorer does not support the sample's language or form, or no route matches.",
        "math",
        {"profile": "dummy"},
    ),
}


def errors_page() -> str:
    """Return the page of all errors, each with a fresh answer of a server."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "failing.py").write_text(FAILING)
        (place / "server.yaml").write_text(SETTINGS)
        (place / "profiles").mkdir()
        for name, text in PROFILES.items():
            (place / "profiles" / f"{name}.yaml").write_text(text)
        options = [
            *("--config", str(place / "server.yaml")),
            *("--profiles_dir", str(place / "profiles")),
            *("--plugins_dir", str(place)),
        ]
        with LiveServer(place / "log", *options, environment=without_settings()) as server:
            refused = {**_refused(server.url, place / "released"), **asyncio.run(_at_fault())}
            return _page(refused, _unscored(server.url))


class Refused(NamedTuple):
    """A description of the request, and its answer."""

    asked: str
    answer: httpx2.Response


def _refused(url: str, release: Path) -> dict[str, Refused]:
    """Provoke each error of a request in a running server, and return the answers by code."""
    found: dict[str, Refused] = {}
    own = {"x-request-id": "step-7", "user-agent": "trainer", "accept-encoding": "identity"}
    client = httpx2.Client(base_url=url, headers=own, trust_env=False, timeout=60)

    def ask(asked: str, path: str, body: Any, key: str = "scores", **headers: str) -> None:
        sent = {"authorization": f"Bearer {key}", **headers}
        answer = client.request("GET" if body is None else "POST", path, json=body, headers=sent)
        found[answer.json()["error"]["code"]] = Refused(asked, answer)

    with client:
        ask("A request with a wrong key", "/score", {"samples": []}, key="wrong")
        ask("A scoring key at `POST /profiles/reload`", "/profiles/reload", [])
        ask("`GET /scores`", "/scores", None)
        ask("`GET /score`", "/score", None)
        ask('`"profile": "maths"`', "/score", {"profile": "maths", "samples": [RIGHT]})
        ask('`POST /embed` with `"model": "e5"`', "/embed", {"model": "e5", "texts": ["a"]})
        ask("Five samples with `max_samples: 4`", "/score", {"samples": [RIGHT] * 5})
        rot13 = {"content-encoding": "rot13"}
        ask("A body in an unknown encoding", "/score", {"samples": []}, **rot13)
        ask("A sample whose id is a number", "/score", {"samples": [{**RIGHT, "id": 1}]})
        unread = {"sample_ids": ["1"], "queries": ["So it is 46."], "responses": ["So it is 46."]}
        ask("`POST /compat/rewards` without ground truths", "/compat/rewards?profile=math", unread)
        client.post("/score", json={"samples": [RIGHT] * 4}, headers={"x-api-key": "few"})
        too_often = "A key over its `samples_per_s`"
        ask(too_often, "/score", {"samples": [RIGHT] * 4}, key="few")
        ask("A header of 40,000 bytes", "/score", {"samples": []}, **{"x-long": "a" * 40_000})
        with _busy(client, release):
            late = {"profile": "held", "samples": [RIGHT], "deadline_ms": 100}
            ask('`"deadline_ms": 100` while all workers are busy', "/score", late)
    return found


@contextmanager
def _busy(client: httpx2.Client, release: Path) -> Iterator[None]:
    """Keep the server's only worker busy until the file `release` exists."""
    headers = {"authorization": "Bearer scores"}
    body = {"profile": "held", "samples": [RIGHT], "deadline_ms": 600_000}
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(client.post, "/score", json=body, headers=headers, timeout=600)
        while "reward_worker_pending_samples 0.0" in client.get("/metrics", headers=headers).text:
            time.sleep(0.01)
        yield
        release.touch()
        asked.result()


async def _at_fault() -> dict[str, Refused]:
    """Return the answers of a server that is still loading, and of one with a bug."""
    logging.disable()
    app = create_app(Settings())
    transport = httpx2.ASGITransport(app=app)
    found: dict[str, Refused] = {}
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for asked in ("A request while the server loads", "A request that runs into a bug"):
            headers = {"x-request-id": "step-7"}
            answer = await client.post("/score", json={"samples": [RIGHT]}, headers=headers)
            found[answer.json()["error"]["code"]] = Refused(asked, answer)
            app.state.engine.score = None  # a bug
    return found


def _unscored(url: str) -> dict[SampleErrorCode, Any]:
    """Provoke each error of a sample, and return the results by code."""
    found: dict[SampleErrorCode, Any] = {}
    headers = {"authorization": "Bearer scores"}
    for code, case in SAMPLE_CASES.items():
        body = {"profile": case.profile, "samples": [{**RIGHT, **case.sample}]}
        answer = httpx2.post(
            f"{url}/score", json=body, headers=headers, timeout=120, trust_env=False
        )
        found[code] = answer.json()["results"][0]["error"]
    return found


def _page(refused: dict[str, Refused], unscored: dict[SampleErrorCode, Any]) -> str:
    """Lay out the page.

    Raises:
        AssertionError: an error was not provoked, or came with another code.
    """
    kinds = _kinds()
    assert set(refused) == set(kinds), set(refused) ^ set(kinds)
    codes = [error and error["code"] for error in unscored.values()]
    assert codes == list(SAMPLE_ERRORS), unscored
    requests = "".join(
        _request_section(code, about, refused[code]) for code, about in kinds.items()
    )
    samples = "".join(map(_sample_section, unscored.values()))
    return (
        "# Errors\n\n"
        "The HTTP status reports errors of the request, `results[i].error` those of a sample. A "
        "sample with an error has the reward `null`; other samples are not affected. Every "
        "answer below was given by a server.\n\n"
        "## Of a request\n\n"
        'The body is `{"error": {"code", "message", "request_id"}}`. 429 and 503 carry '
        "`Retry-After`: retry those with growing pauses, and 504 with a longer deadline.\n"
        f"{requests}\n## Of a sample\n\n"
        "The HTTP status is 200. `retryable` says whether the same sample may succeed if it is "
        f"sent again.\n{samples}"
    )


def _kinds() -> dict[str, list[str]]:
    """Return the meanings of each request error code, with status, ordered by status."""
    known = [
        (error.status, error.code, error.__doc__ or "") for error in RequestError.__subclasses__()
    ]
    found: dict[str, list[str]] = {}
    for status, code, about in sorted([*known, *ROUTING]):
        found.setdefault(code, []).append(f"**{status}** {' '.join(about.split())}")
    return found


def _request_section(code: str, about: list[str], refused: Refused) -> str:
    meaning = "\n\n".join(about)
    return (
        f"\n### {code}\n\n{meaning}\n\n"
        f"{refused.asked}: {refused.answer.status_code}\n\n{_json(refused.answer.json())}"
    )


def _sample_section(error: dict[str, Any]) -> str:
    case = SAMPLE_CASES[error["code"]]
    sample = {**RIGHT, **case.sample}
    how = f"Profile `{case.profile}`" + {
        "math": " with `max_response_bytes: 40`" if error["code"] == "response_too_large" else "",
        "exact": ", which uses the rule of that name",
        "broken": ", a function that raises",
        "gone": ", a function that ends its process",
        "slow": ", a function that sleeps, with `deadline_s: 0.5`",
        "judged": ", a judge at a port without a server",
    }.get(case.profile, "")
    return f"\n### {error['code']}\n\n{case.why}\n\n{how}:\n\n{_json(sample)}\n{_json(error)}"


def _json(value: Any) -> str:
    return f"```json\n{json.dumps(value, ensure_ascii=False, indent=2)}\n```\n"
