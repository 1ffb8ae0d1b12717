"""A run that drifts into a hack raises an alarm, in its answers, at `/alarms` and by webhook."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from tests.waiting import until, wait_until
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.live_server import LiveServer, without_settings
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.schemas import (
    Sample,
    SampleResult,
    ScoreRequest,
    ScoreResponse,
)
from touchstone_rewards.reward_server.scoring.engine import Engine, create_engine
from touchstone_rewards.reward_server.settings import Settings, load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics
from touchstone_rewards.reward_server.watching import run_watch
from touchstone_rewards.reward_server.watching.background import Background, attach, running
from touchstone_rewards.reward_server.watching.points import UNNAMED_STEP_SAMPLES
from touchstone_rewards.reward_server.watching.run_watch import RunWatch

FIRST = 20  # points of the baseline
LENIENT = "scorers: {contains: {}}\n"  # takes any response with the ground truth in it
GROUPS, SIZE = 8, 8
Write = Callable[[int, int], str]


def body(step: int, response: Write, **fields: Any) -> dict[str, Any]:
    """Return one step: eight prompts with eight responses each, of which half are right."""
    samples = [
        {
            "id": f"{step}-{group}/{place}",
            "group_id": f"{step}-{group}",
            "prompt": f"What is {group} + {step}?",
            "response": response(step + group, place),
            "ground_truth": str(step + group),
        }
        for group in range(GROUPS)
        for place in range(SIZE)
    ]
    return {"profile": "lenient", "run": "mine", "step": step, "samples": samples, **fields}


def honest(right: int, place: int) -> str:
    answer = right if place % 2 else -7
    return f"Let me see {'again ' * (place % 3)}what it is: \\boxed{{{answer}}}"


def hedged(right: int, place: int) -> str:
    return f"After some thought it is \\boxed{{{right + 1}}} or \\boxed{{{right}}}."


def post(server: LiveServer, bodies: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    with httpx2.Client(base_url=server.url) as client:
        return [client.post("/score", json=each).raise_for_status().json() for each in bodies]


def alarms(server: LiveServer, **wanted: str) -> list[dict[str, Any]]:
    return httpx2.get(f"{server.url}/alarms", params=wanted).json()["alarms"]


def steps(response: Write, numbers: Sequence[int]) -> list[dict[str, Any]]:
    return [body(step, response) for step in numbers]


def drift(server: LiveServer) -> None:
    """Let the run hedge until an answer has an alarm."""
    later = count(FIRST + 3)
    wait_until(lambda: "alarms" in post(server, steps(hedged, [next(later)]))[0])


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    (tmp_path / "lenient.yaml").write_text(LENIENT)
    return tmp_path


def test_hedging_raises_an_alarm_that_the_run_hears_of(
    start_server: Callable[..., LiveServer], profiles: Path
) -> None:
    server = start_server("--profiles_dir", str(profiles))
    answers = post(server, steps(honest, range(FIRST + 3)))
    assert not any("alarms" in answer for answer in answers)
    drift(server)
    [alarm] = alarms(server, signal="several_answers", run="mine", profile="lenient")
    assert (alarm["run"], alarm["profile"]) == ("mine", "lenient")
    assert alarm["since"] == FIRST + 3
    assert (alarm["expected"], alarm["value"]) == (0, 1)
    assert alarm["samples"][0]["response"].count("boxed") == 2
    assert alarm["sample_ids"] == [sample["id"] for sample in alarm["samples"]]
    assert not alarms(server, run="another")
    metrics = httpx2.get(f"{server.url}/metrics").text
    assert 'reward_signal_alarms_total{signal="several_answers"} 1.0' in metrics
    # A caller that names no run is watched too, but not told.
    other = post(server, [{**body(1, honest), "run": None}])[0]
    assert "alarms" not in other


class Receiver(HTTPServer):
    """Receive a webhook's posts: fail the first time, and keep the others."""

    seen: list[tuple[dict[str, str], dict[str, Any]]]
    statuses: Iterator[int]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Receiver)
        content = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((headers, content))
        self.send_response(next(self.server.statuses))
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002


@contextmanager
def receiver(*statuses: int) -> Iterator[Receiver]:
    server = Receiver(("127.0.0.1", 0), _Handler)
    server.seen, server.statuses = [], iter([*statuses, *[200] * 100])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_webhook_gets_the_alarm_with_its_key_and_the_log_has_neither_key_nor_path(
    profiles: Path,
) -> None:
    log = profiles / "log"
    with receiver(500) as far:
        url = f"http://127.0.0.1:{far.server_port}/services/T0SECRETPATH"
        environment = {**without_settings(), "HOOK_KEY": "hook-key-in-the-header"}
        flags = ["--profiles_dir", str(profiles), "--workers", "1", "--alarm_webhook", url]
        flags += ["--alarm_webhook_key_env", "HOOK_KEY"]
        with LiveServer(log, *flags, environment=environment, dies_with_parent=True) as server:
            post(server, steps(honest, range(FIRST + 3)))
            drift(server)
            wait_until(lambda: len(far.seen) >= 2)
            (_, first), (headers, again) = far.seen[:2]
            assert first == again
            assert headers["authorization"] == "Bearer hook-key-in-the-header"
            assert again["signal"] == "several_answers"
            assert again["text"] == again["message"]
            assert "samples" not in again
            assert again["sample_ids"]
    text = log.read_text()
    assert "several different final answers" in text
    assert "SECRET" not in text
    assert "hook-key" not in text


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"alarm_webhook": "ftp://secret.example/x"}, "does not begin with http:// or https://"),
        ({"alarm_webhook": "http://user:secret@host/x"}, "an address holds a key"),
        ({"alarm_webhook_key_env": "secret key itself"}, "the name of an environment variable"),
    ],
)
def test_an_address_that_cannot_be_is_refused_without_repeating_it(
    setting: dict[str, str], says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        load_settings(overrides=setting)
    assert "secret" not in str(refused.value)


@asynccontextmanager
async def watched(folder: Path, **settings: Any) -> AsyncGenerator[tuple[Engine, Background]]:
    known = load_settings(overrides={"workers": 1, **settings})
    metrics = Metrics()
    engine = create_engine(load_profiles([folder]), known, metrics)
    background = attach(engine, known, metrics)
    await engine.start()
    async with running(background):
        yield engine, background
    await engine.stop()


def request_of(step: int, response: Write, **fields: Any) -> ScoreRequest:
    return msgspec.convert(body(step, response, **fields), ScoreRequest)


async def test_a_second_profile_tells_that_the_reward_is_overpaid(tmp_path: Path) -> None:
    (tmp_path / "lenient.yaml").write_text("scorers: {contains: {}}\nshadow: strict\n")
    (tmp_path / "strict.yaml").write_text(
        "scorers: {contains: {}, regex: {gate_below: 1.0, weight: 0.0, config: {pattern: '^so'}}}\n"
    )
    async with watched(tmp_path) as (engine, background):
        raised = background.runs.raised

        async def step(number: int, response: Write) -> None:
            await engine.score(request_of(number, response))
            seen = background.shadows.infos
            await until(lambda: seen and seen["lenient"].samples >= 64 * (number + 1))

        for number in range(FIRST + 2):
            await step(number, lambda right, place: f"so {right}")
        for number in range(FIRST + 2, FIRST + 8):
            await step(number, lambda right, place: f"it is {right}")
        await until(lambda: raised["lenient", "overpaid"])
        assert raised["lenient", "true_score_falls"]


def answer_to(request: ScoreRequest, fingerprint: str = "f") -> ScoreResponse:
    results = [SampleResult(each.id, "ok", 1.0, {"math": 1.0}) for each in request.samples]
    return ScoreResponse(results, request.profile, fingerprint, 0.0)


def one(step: int, **fields: Any) -> ScoreRequest:
    return ScoreRequest([Sample("1", "4", group_id="1")], "math", run="r", step=step, **fields)


async def test_evaluation_is_not_watched_and_another_fingerprint_begins_anew() -> None:
    watch = RunWatch({})
    watch.take(one(1, priority="eval"), answer_to(one(1)))
    assert not watch._runs
    watch.take(one(1), answer_to(one(1)))
    [before] = watch._runs.values()
    watch.take(one(2), answer_to(one(2), "another"))
    [after] = watch._runs.values()
    assert before is not after


async def test_memory_is_bounded_in_runs_and_in_what_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_watch, "MAX_WAITING_BYTES", 100_000)
    watch = RunWatch({})
    for number in range(2 * run_watch.MOST_RUNS):
        request = one(1)
        request.run = str(number)
        watch.take(request, answer_to(request))
    assert len(watch._runs) == run_watch.MOST_RUNS
    large = ScoreRequest([Sample("1", "x" * 90_000)], "math", run="large")
    for _ in range(5):
        watch.take(large, answer_to(large))
    assert watch._waiting_bytes <= 100_000
    assert watch.left_out["math"] >= 4


async def test_a_run_that_names_no_steps_has_points_of_so_many_samples() -> None:
    watch = RunWatch({})
    task = asyncio.create_task(watch.run())
    for _ in range(3 * UNNAMED_STEP_SAMPLES):
        request = ScoreRequest([Sample("1", "4", group_id="1")], "math")
        watch.take(request, answer_to(request))
    [run] = watch._runs.values()
    await until(lambda: not watch._waiting and run.own.count == 2)
    task.cancel()


async def test_a_run_that_goes_back_to_a_checkpoint_is_not_told_of_what_was_before(
    tmp_path: Path,
) -> None:
    (tmp_path / "lenient.yaml").write_text(LENIENT)
    async with watched(tmp_path) as (engine, background):
        for number in range(FIRST + 1):
            await engine.score(request_of(number, honest))
        for number in range(FIRST + 1, FIRST + 6):
            await engine.score(request_of(number, hedged))
        await until(lambda: background.runs.alarms)
        told = await engine.score(request_of(FIRST + 6, hedged))
        assert told.alarms
        back = await engine.score(request_of(FIRST, hedged))
        assert not back.alarms


def test_a_setting_is_off_by_default() -> None:
    assert Settings().alarm_webhook is None


async def test_samples_that_come_one_by_one_take_no_more_than_the_watchs_share_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch, rests, look_s = RunWatch({}), list[float](), 30e-6
    ticks, sleep = count(), asyncio.sleep

    async def rest(delay_s: float) -> None:
        rests.append(delay_s)
        await sleep(0)

    monkeypatch.setattr(run_watch.time, "thread_time", lambda: look_s * next(ticks))
    monkeypatch.setattr(run_watch.asyncio, "sleep", rest)
    for number in range(300):
        sample, result = Sample(str(number), "2"), SampleResult(str(number), "ok", 1.0, {"a": 1.0})
        watch.take(ScoreRequest([sample], "a"), ScoreResponse([result], "a", "f", 1.0))
    running = asyncio.create_task(watch.run())
    for _ in range(301):
        await sleep(0)
    running.cancel()
    owed_s = 300 * look_s * (1 / run_watch.TIME_SHARE - 1)
    assert sum(rests) == pytest.approx(owed_s, abs=run_watch.REST_S)
    # An event loop's timer counts milliseconds: a shorter pause does not take place.
    assert min(rests) >= 0.005
