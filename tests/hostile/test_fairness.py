"""No caller, scorer or sample takes time from the others."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import msgspec
import pytest

from tests.checkout import PLUGINS, live_server
from tests.waiting import PATIENCE_S, until
from touchstone_rewards.reward_server.caller import Caller, begin
from touchstone_rewards.reward_server.errors import QueueFull, RequestTooLarge
from touchstone_rewards.reward_server.limits import SampleLimits, Share
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.pool.calls import Call
from touchstone_rewards.reward_server.pool.turns import CallTurns
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.received import ReceivedRequest
from touchstone_rewards.reward_server.schemas import Sample, ScoreRequest
from touchstone_rewards.reward_server.scoring.engine import Engine, create_engine
from touchstone_rewards.reward_server.scoring.inline import PROOF_SAMPLES
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

CONFIG = """
api_keys:
  - {name: abuser, key: abuser}
  - {name: victim, key: victim}
"""
SLEEPER = "scorers: {x: {scorer: 'tests.hostile.scorers:Sleeper'}}\n"
INLINE = "scorers: {x: {scorer: 'tests.hostile.scorers:InlineSleeper'}}\n"
OWN = "scorers: {x: {scorer: 'tests.hostile.scorers:Sleeper', pool: {workers: 1}}}\n"
OTHER = "scorers: {x: {scorer: 'tests.hostile.scorers:OtherSleeper'}}\n"
QUICK = "scorers: {x: {scorer: 'tests.hostile.scorers:Sleeper', deadline_s: 0.3}}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fair")
    (folder / "server.yaml").write_text(CONFIG)
    (folder / "profiles").mkdir()
    texts = {"sleeper": SLEEPER, "other": OTHER, "inline": INLINE, "quick": QUICK, "own": OWN}
    for name, text in texts.items():
        (folder / "profiles" / f"{name}.yaml").write_text(text)
    return folder


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[LiveServer]:
    options = ["--config", str(folder / "server.yaml"), "--cache_bytes", "0"]
    options += ["--sample_deadline_s", "1200", "--request_deadline_s", "1200"]
    server = live_server(folder / "log", *options, "--profiles_dir", str(folder / "profiles"))
    yield server.start()
    server.kill()


async def score(live: LiveServer, key: str, profile: str, responses: list[str]) -> list[float]:
    samples = [
        {"id": str(at), "response": text, "ground_truth": "4"} for at, text in enumerate(responses)
    ]
    async with httpx2.AsyncClient(timeout=PATIENCE_S) as client:
        body = {"profile": profile, "samples": samples}
        answer = await client.post(f"{live.url}/score", json=body, headers={"X-API-Key": key})
    assert answer.status_code == 200, answer.text
    return [result["reward"] for result in answer.json()["results"]]


@pytest.mark.parametrize(
    ("key", "profile", "responses"),
    [
        ("victim", "math", ["#### 4"] * 256),
        ("victim", "sleeper", ["0"] * 64),  # the scorer that the slow samples are for
        ("abuser", "math", ["#### 4"] * 64),  # the caller whose slow samples they are
    ],
)
async def test_slow_samples_hold_up_neither_other_callers_nor_other_scorers(
    live: LiveServer, key: str, profile: str, responses: list[str], tmp_path: Path
) -> None:
    async with both_workers_held(live, tmp_path, "sleeper", "sleeper"):
        assert await score(live, key, profile, responses) == [1.0] * len(responses)


async def test_a_scorer_with_workers_of_its_own_waits_for_no_other(
    live: LiveServer, tmp_path: Path
) -> None:
    async with both_workers_held(live, tmp_path, "sleeper", "other"):
        assert await score(live, "abuser", "own", ["0"] * 8) == [1.0] * 8


@asynccontextmanager
async def both_workers_held(live: LiveServer, folder: Path, *profiles: str) -> AsyncIterator[None]:
    """Occupy both workers with one of six slow samples of each profile, until the block ends."""
    gate = folder / "go_on"
    slow = [asyncio.create_task(score(live, "abuser", each, [str(gate)] * 6)) for each in profiles]
    await until(lambda: len(list(folder.glob("go_on.*"))) >= 2)
    yield
    assert not any(task.done() for task in slow)
    gate.touch()
    assert await asyncio.gather(*slow) == [[1.0] * 6] * 2


async def test_a_scorers_own_deadline_holds_for_its_samples_alone(live: LiveServer) -> None:
    assert await score(live, "victim", "quick", ["1.2", "0"]) == [None, 1.0]
    assert await score(live, "victim", "sleeper", ["1.2"]) == [1.0]


@pytest.fixture
async def engine(folder: Path) -> AsyncIterator[Engine]:
    settings = load_settings(None, {"workers": 1, "profiles_dir": folder / "profiles"})
    made = create_engine(load_profiles(settings.profile_dirs, plugins=PLUGINS), settings, Metrics())
    await made.start()
    yield made
    await made.stop()


async def places(engine: Engine, *responses: str) -> list[float | None]:
    """Return the processes in which the inline scorer ran for these samples."""
    samples = [Sample(str(at), text) for at, text in enumerate(responses)]
    answer = await engine.score(ScoreRequest(samples, profile="inline"))
    return [result.reward for result in answer.results]


async def let_in(engine: Engine) -> None:
    """Let the inline scorer prove that it is quick; a busy machine may need several tries."""
    for _ in range(100):
        if os.getpid() in await places(engine, *["0"] * PROOF_SAMPLES):
            return
    raise AssertionError("3,200 samples that take no time did not let the scorer into the loop")


async def test_an_unknown_inline_scorer_begins_in_a_worker_until_it_proved_quick(
    engine: Engine,
) -> None:
    assert os.getpid() not in await places(engine, "0.3", *["0"] * (PROOF_SAMPLES - 1))
    assert os.getpid() not in await places(engine, *["0"] * PROOF_SAMPLES)
    await let_in(engine)


async def test_an_inline_scorer_that_is_slow_once_goes_on_in_a_worker(engine: Engine) -> None:
    await let_in(engine)
    first, *_ = await places(engine, *["0.3"] * 4)
    assert first == os.getpid()
    after = await places(engine, "0", "0.3")
    assert os.getpid() not in after
    assert None not in after


async def test_a_sample_with_much_to_read_is_scored_in_a_worker_and_keeps_its_place(
    engine: Engine,
) -> None:
    await let_in(engine)
    large = json.dumps({"history": ["x" * 2_000_000]})
    samples = [
        f'{{"id": "{at}", "response": "0", "metadata": {large if at == 1 else "{}"}}}'
        for at in range(3)
    ]
    body = f'{{"profile": "inline", "samples": [{",".join(samples)}]}}'
    request = msgspec.json.decode(body, type=ReceivedRequest)
    answer = await engine.score(request)
    rewards = [result.reward for result in answer.results]
    assert rewards[0] == rewards[2] == os.getpid()
    assert rewards[1] not in (None, os.getpid())


def call(caller: str, scorer: str = "s", *, weight: float = 1.0, after_s: float = 0.0) -> Call:
    share = Share(caller)
    begin(Caller(caller, share, weight=weight))
    loop = asyncio.new_event_loop()
    about = scorer, ("response",), [Sample("a", "x")], False, 1, loop.create_future()
    made = Call(*about, after_s=after_s)
    loop.close()
    return made


def test_turns_go_to_whoever_had_least_by_weight() -> None:
    turns = CallTurns()
    heavy, light = call("heavy", weight=3.0), call("light")
    served: list[str] = []
    for each in (heavy, light):
        turns.append(each)
    for _ in range(40):
        taken = turns.popleft()
        assert taken is not None
        taken.charge(1.0)
        served.append(taken.flow[0])
        turns.append(taken)
    assert 28 <= served.count("heavy") <= 32  # three of four


def test_a_caller_who_was_away_has_no_claim_on_the_past_and_no_debt_of_others() -> None:
    turns = CallTurns()
    first = call("first")
    turns.append(first)
    for _ in range(100):
        taken = turns.popleft()
        assert taken is not None
        taken.charge(1.0)
        turns.append(taken)
    late = call("late")
    turns.append(late)
    order = []
    for _ in range(10):
        taken = turns.popleft()
        assert taken is not None
        taken.charge(1.0)
        order.append(taken.flow[0])
        turns.append(taken)
    assert order.count("late") in (5, 6)


def test_priorities_hold_within_a_caller_and_scorers_take_turns() -> None:
    turns = CallTurns()
    later, train = call("a", "one", after_s=60.0), call("a", "two")
    turns.append(later)
    turns.append(train)
    assert turns.popleft() is train
    assert turns.popleft() is later
    assert turns.popleft() is None
    turns.append(call("a", "one"))
    assert turns.any_outside({("a", "two")})
    assert not turns.any_outside({("a", "one")})
    assert turns.popleft({("a", "one")}) is None
    assert turns.waiting == 1


def test_the_limits_of_pending_samples_hold_from_the_first_request() -> None:
    limits = SampleLimits(4096, 2**20, 100, 60.0, 5.0)
    limits.admit(100, 0)
    with pytest.raises(RequestTooLarge, match="max_pending_samples"):
        limits.admit(101, 0)
    with pytest.raises(QueueFull):
        limits.admit(1, 100)
    share = Share("key", max_pending_samples=4)
    with pytest.raises(RequestTooLarge):
        share.room(5).__enter__()
