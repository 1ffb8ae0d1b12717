"""The worker pool against samples that hang, crash, lie and use up memory, with real processes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from tests.reward_server.hostile_scorers import nested
from tests.waiting import PATIENCE_S, skip_time, until
from touchstone_rewards.reward_server.caller import begin
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.pool import link
from touchstone_rewards.reward_server.pool.family import has_ended
from touchstone_rewards.reward_server.pool.pool import WorkerPool
from touchstone_rewards.reward_server.pool.process import Task, write_frame
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.base import Score, ScorerSpec

SCORERS = Path(__file__).parents[1]
LENGTH = ScorerSpec("hostile_scorers:Length", {})
HOSTILE = ScorerSpec("hostile_scorers:Hostile", {})
REQUEST_S = 100.0  # the deadline of a call whose test advances the clock
StartPool = Callable[..., Awaitable[WorkerPool]]


@pytest.fixture(autouse=True)
def _scorers_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCORERS)


@pytest.fixture
async def start_pool() -> AsyncIterator[StartPool]:
    """`await start_pool(option=…)` starts a pool; none of its processes is left after the test."""
    pools: list[WorkerPool] = []

    async def start(**options: Any) -> WorkerPool:
        options = {"workers": 2, "sample_deadline_s": 0.5} | options
        pools.append(WorkerPool({"length": LENGTH, "hostile": HOSTILE}, **options))
        await pools[-1].start()
        return pools[-1]

    yield start
    for pool in pools:
        await pool.stop()
    await gone(pids_of(processes()))


def processes() -> list[psutil.Process]:
    """Return the processes of these pools; other tests' servers may run at the same time."""
    return [*fork_servers(), *worker_processes()]


def fork_servers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if is_fork_server(child)]


def is_fork_server(process: psutil.Process) -> bool:
    try:
        return any("reward_server.pool.fork_server" in word for word in process.cmdline())
    except psutil.Error:
        return False


def worker_processes() -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for server in fork_servers():
        with suppress(psutil.NoSuchProcess):
            found += server.children(recursive=True)
    return found


def fork_server_process() -> psutil.Process:
    (server,) = fork_servers()
    return server


async def gone(pids: Sequence[int]) -> None:
    """Return as soon as none of the processes is alive.

    Raises:
        TimeoutError: one stayed alive.
    """
    await until(lambda: all(map(has_ended, pids)))


def pids_of(processes: Iterable[psutil.Process]) -> list[int]:
    return [process.pid for process in processes]


def numbers(count: int) -> list[Sample]:
    """Return good samples for the hostile scorer: sample i scores i."""
    return [Sample(id=f"s{number}", response=str(number)) for number in range(count)]


def acting(act: str, response: str = "0", **metadata: Any) -> Sample:
    return Sample(id=act, response=response, ground_truth=act, metadata=metadata)


def code(score: Score) -> str | None:
    return score.error.code if score.error else None


def message(score: Score) -> str:
    assert score.value is None
    assert score.error is not None
    return score.error.message


def assert_only(bad: dict[int, str], scores: list[Score], count: int) -> None:
    """Check that each sample scored its number, except the `bad` ones, which have these codes."""
    assert len(scores) == count
    assert {at: code(score) for at, score in enumerate(scores) if score.value is None} == bad
    good = [at for at in range(count) if at not in bad]
    assert [scores[at].value for at in good] == good


# What goes right


async def test_scores_come_back_in_the_order_of_the_samples(start_pool: StartPool) -> None:
    pool = await start_pool()
    assert_only({}, await pool.score("hostile", numbers(1000)), 1000)
    assert await pool.score("hostile", []) == []
    assert pool.pending == 0


async def test_a_worker_sees_only_what_the_scorer_reads(start_pool: StartPool) -> None:
    pool = await start_pool()
    sample = Sample(
        id="a", response="r", ground_truth="fields", prompt="p", group_id="g", signals={"x": 1.0}
    )
    (score,) = await pool.score("hostile", [sample])
    assert score.explanation is not None
    assert score.explanation["id"] == "a"
    assert score.explanation["response"] == "r"
    assert score.explanation["prompt"] is None
    assert score.explanation["group_id"] is None
    assert score.explanation["signals"] == {}


async def test_explanations_come_when_asked_for(start_pool: StartPool) -> None:
    pool = await start_pool()
    (plain,) = await pool.score("hostile", numbers(1))
    (explained,) = await pool.score("hostile", numbers(1), explain=True)
    assert plain.explanation is None
    assert explained.explanation == {"by": "hostile"}


async def test_large_samples_and_integers_beyond_64_bits_pass(start_pool: StartPool) -> None:
    pool = await start_pool(sample_deadline_s=10.0)
    lengths = [3_000_000 + number for number in range(20)]
    large = [Sample(id="a", response="x" * length) for length in lengths]
    assert [score.value for score in await pool.score("length", large)] == lengths
    big = Sample(id="a", response="7", ground_truth=10**40)
    odd = [big, acting("big_int"), acting("int")]
    assert [score.value for score in await pool.score("hostile", odd)] == [7.0, 1.0, 7.0]


async def test_64_calls_at_once_each_get_their_own_scores(start_pool: StartPool) -> None:
    pool = await start_pool()
    calls = [
        pool.score(
            "length", [Sample(id="x", response="x" * (call + at)) for at in range(call % 20)]
        )
        for call in range(64)
    ]
    for call, scores in enumerate(await asyncio.gather(*calls)):
        assert [score.value for score in scores] == [call + at for at in range(call % 20)]


async def test_calls_that_come_together_travel_together(
    start_pool: StartPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does one sample harm the others by hanging, by killing its worker, or by not being
    encodable.
    """
    pool, sent = await start_pool(workers=1), list[int]()

    def noted(message: Task, outbox: bytearray) -> None:
        write_frame(message, outbox)
        sent.append(len(message.samples))

    monkeypatch.setattr(link, "write_frame", noted)
    monkeypatch.setattr(link, "PACE_MEMORY", 1.0)  # no sample seems slow because the machine is
    calls = [pool.score("hostile", [sample]) for sample in numbers(30)]
    scores = [score for [score] in await asyncio.gather(*calls)]
    assert_only({}, scores, 30)
    assert len(sent) < 10
    assert sum(sent) == 30
    samples = numbers(30)
    samples[7], samples[11], samples[20] = (
        Sample(id="surrogate", response="\ud800"),
        acting("segfault"),
        acting("loop"),
    )
    calls = [pool.score("hostile", [sample]) for sample in samples]
    scores = [score for [score] in await asyncio.gather(*calls)]
    bad = {7: "scorer_failed", 11: "worker_lost", 20: "deadline_exceeded"}
    assert_only(bad, scores, 30)


async def test_a_huge_call_does_not_starve_a_small_one(start_pool: StartPool) -> None:
    pool = await start_pool(workers=1, spares=0)
    slow = [acting("sleep", "0.01") for _ in range(3000)]
    huge = asyncio.create_task(pool.score("hostile", slow))
    await until(lambda: pool.pending < 3000)
    assert_only({}, await pool.score("hostile", numbers(3)), 3)
    assert not huge.done()
    assert pool.pending > 1500
    huge.cancel()


async def test_it_works_on_uvloop_too() -> None:
    async def scenario() -> list[Score]:
        pool = WorkerPool({"hostile": HOSTILE}, workers=2, sample_deadline_s=2.0)
        await pool.start()
        samples = numbers(300)
        samples[7], samples[150], samples[222] = acting("loop"), acting("segfault"), acting("exit")
        try:
            return await pool.score("hostile", samples)
        finally:
            await pool.stop()

    scores = await asyncio.to_thread(uvloop.run, scenario())
    bad = {7: "deadline_exceeded", 150: "worker_lost", 222: "scorer_failed"}
    assert_only(bad, scores, 300)


# What scorers do wrong


@pytest.mark.parametrize("act", ["loop", "stuck_in_c", "regex"])
async def test_a_sample_that_hangs_is_killed_and_no_other_notices(
    start_pool: StartPool, act: str
) -> None:
    pool = await start_pool()
    samples = numbers(1000)
    samples[303] = samples[304] = acting(act)
    scores = await pool.score("hostile", samples)
    assert_only({303: "deadline_exceeded", 304: "deadline_exceeded"}, scores, 1000)
    assert "0.5 s" in message(scores[303])
    assert scores[303].error is not None
    assert not scores[303].error.retryable
    assert scores[303].timed_out
    assert pool.restarts == {"deadline": 2}


async def test_a_memory_bomb_is_told_the_limit_and_no_other_notices(start_pool: StartPool) -> None:
    pool = await start_pool(memory_limit_bytes=256 * 1024**2, sample_deadline_s=30.0)
    samples = numbers(1000)
    for at in (5, 6, 500):
        samples[at] = acting("memory")
    scores = await pool.score("hostile", samples)
    assert_only(dict.fromkeys((5, 6, 500), "scorer_failed"), scores, 1000)
    assert "256 MiB (worker_memory_bytes of the server)" in message(scores[5])
    assert set(pool.restarts) == {"memory"}


async def test_what_a_scorer_hoards_is_never_what_a_later_sample_lacks(
    start_pool: StartPool,
) -> None:
    pool = await start_pool(memory_limit_bytes=256 * 1024**2, sample_deadline_s=30.0)
    scores = await pool.score("hostile", [acting("leak") for _ in range(30)])
    assert [score.value for score in scores] == [0.0] * 30
    assert set(pool.restarts) == {"memory"}


@pytest.mark.parametrize(
    ("act", "says"),
    [
        ("raise", "KeyError: 'no such key'"),
        ("exit", "SystemExit: 3"),
        ("too_many", "expected a list of 1 Score"),
        ("too_few", "expected a list of 1 Score"),
        ("no_list", "expected a list of 1 Score"),
        ("text", "hostile_scorers:Hostile returned the value '7'; expected a number or None"),
        ("bare", "hostile_scorers:Hostile returned 7.0 for a sample; expected Score"),
        ("none_in_list", "hostile_scorers:Hostile returned None for a sample"),
        ("error_text", "the error 'no answer'; expected sample_error(code, message)"),
        ("unknown_code", "the error SampleError(code='no_answer'"),
        ("both", "both the value 1.0 and the error 'bad_ground_truth'"),
        ("int_keys", "the explanation {1: 'one'}; expected a dict with str keys"),
        ("explanation_text", "the explanation 'because'; expected a dict"),
        ("surrogate_inside", "hostile_scorers:Hostile returned a value that cannot be sent"),
        (
            "beyond",
            "hostile_scorers:Hostile returned -1; expected a finite number within its range",
        ),
        ("huge_int", "OverflowError"),
        ("undeclared", "it uses sample.prompt, but its `reads` has only"),
        ("nan", "nan"),
        ("inf", "inf"),
        ("neither", "neither a value nor an error"),
        ("unsendable", "cannot be sent"),
        ("deep", "cannot be sent"),
        ("large", "17825"),
    ],
)
async def test_what_is_no_proper_score_fails_the_guilty_sample_alone(
    start_pool: StartPool, act: str, says: str
) -> None:
    pool = await start_pool(sample_deadline_s=10.0)
    samples = numbers(40)
    samples[13] = acting(act)
    scores = await pool.score("hostile", samples)
    assert_only({13: "scorer_failed"}, scores, 40)
    assert says in message(scores[13])
    assert not pool.restarts


async def test_numbers_of_numpy_and_of_other_kinds_are_scores(start_pool: StartPool) -> None:
    pool = await start_pool()
    acts = ["float32", "int64", "numpy_bool", "bool", "numpy_told", "rounding"]
    scores = await pool.score("hostile", [acting(act) for act in acts], explain=True)
    assert [score.value for score in scores] == [0.5, 7.0, 1.0, 1.0, 1.0, 0.0]
    assert scores[4].explanation == {"words": 3, "ratios": [0.5, 0.25]}


async def test_a_surrogate_in_a_message_costs_no_worker(start_pool: StartPool) -> None:
    pool = await start_pool()
    scores = await pool.score("hostile", [acting("surrogate_error"), acting("surrogate_raised")])
    assert [code(score) for score in scores] == ["bad_ground_truth", "scorer_failed"]
    assert "what is ?" in message(scores[0])
    assert "ValueError: ?" in message(scores[1])
    assert not pool.restarts


async def test_the_traceback_is_logged_once_with_scorer_profile_and_request(
    start_pool: StartPool, caplog: pytest.LogCaptureFixture
) -> None:
    pool = await start_pool()
    begin(None, "request-7").profile = "mine"
    await pool.score("hostile", [acting("raise_here")] * 50)
    await pool.score("hostile", [acting("raise_here")] * 50)
    assert caplog.text.count("in raise_here") == 1
    assert "scorer hostile failed; profile mine, request request-7" in caplog.text


async def test_a_worker_that_dies_twice_on_the_same_sample_ends_that_sample(
    start_pool: StartPool,
) -> None:
    """The last bytes of a dying worker may be no answer; then the pool cannot tell which sample
    ran.
    """
    pool = await start_pool()
    samples = numbers(20)
    samples[0] = acting("babble")
    scores = await asyncio.wait_for(pool.score("hostile", samples), PATIENCE_S)
    assert_only({0: "worker_lost"}, scores, 20)
    assert pool.restarts == {"crashed": 2}


async def test_a_sample_before_it_is_not_blamed_though_its_score_was_never_sent(
    start_pool: StartPool,
) -> None:
    pool = await start_pool()
    samples = numbers(20)
    samples[5] = acting("babble")
    scores = await asyncio.wait_for(pool.score("hostile", samples), PATIENCE_S)
    assert_only({5: "worker_lost"}, scores, 20)


async def test_an_error_that_the_scorer_returns_arrives_as_it_is(start_pool: StartPool) -> None:
    pool = await start_pool()
    scores = await pool.score("hostile", [acting("own_error")])
    assert code(scores[0]) == "bad_ground_truth"


async def test_text_that_cannot_be_sent_fails_alone(start_pool: StartPool) -> None:
    pool = await start_pool()
    samples = numbers(40)
    samples[13] = Sample(id="surrogate", response="\ud800")
    samples[14] = acting("none", what=object())
    samples[15] = acting("none", what=nested(100_000))
    scores = await pool.score("hostile", samples)
    assert_only(dict.fromkeys((13, 14, 15), "scorer_failed"), scores, 40)
    assert "cannot be sent" in message(scores[13])


async def test_a_slow_sample_keeps_no_other_one_waiting(
    start_pool: StartPool, tmp_path: Path
) -> None:
    pool = await start_pool(sample_deadline_s=60.0)
    go_on = tmp_path / "go_on"
    samples = [acting("wait_for", file=str(go_on)), *numbers(15)]
    scored: list[int] = []

    def note(position: int, _: Score) -> None:
        scored.append(position)
        if len(scored) == 15:  # all others are done: only now may the slow one end
            go_on.touch()

    await pool.score("hostile", samples, on_score=note)
    assert sorted(scored[:15]) == list(range(1, 16))
    assert scored[15] == 0


async def test_a_call_that_comes_while_a_sample_stalls_does_not_wait_for_it(
    start_pool: StartPool, tmp_path: Path
) -> None:
    pool = await start_pool(sample_deadline_s=2 * PATIENCE_S)
    begun, go_on = tmp_path / "begun", tmp_path / "go_on"
    stalling = acting("wait_for", begun=str(begun), file=str(go_on))
    slow = asyncio.create_task(pool.score("hostile", [*numbers(200), stalling]))
    await until(begun.exists)
    for _ in range(20):
        others = pool.score("hostile", numbers(200))
        assert_only({}, await asyncio.wait_for(others, PATIENCE_S), 200)
    assert not slow.done()
    go_on.touch()
    assert [score.value for score in await slow] == [*range(200), 0.0]


# What happens to workers


@pytest.mark.parametrize("act", ["segfault", "die"])
async def test_a_sample_that_kills_its_worker_is_not_tried_again(
    start_pool: StartPool, act: str, tmp_path: Path
) -> None:
    pool = await start_pool()
    samples = numbers(100)
    samples[41] = acting(act, file=str(tmp_path / "tries"))
    scores = await pool.score("hostile", samples)
    assert_only({41: "worker_lost"}, scores, 100)
    assert scores[41].error is not None
    assert not scores[41].error.retryable
    assert pool.restarts == {"crashed": 1}
    if act == "die":
        assert (tmp_path / "tries").read_text() == "die\n"


async def test_60_random_kills_cost_at_most_60_of_1500_samples(start_pool: StartPool) -> None:
    pool = await start_pool(sample_deadline_s=PATIENCE_S)
    dice = random.Random(7)

    async def kill_60() -> None:
        kills = 0
        while kills < 60:
            await asyncio.sleep(0.02)
            # In a thread: while the loop looks for them, workers would run out of samples. At least
            # one must be up: five killed in a row while they start are "no worker can be started".
            if pool.alive and (victims := await asyncio.to_thread(worker_processes)):
                with suppress(psutil.NoSuchProcess):  # the last victim, not yet reaped
                    dice.choice(victims).kill()
                    kills += 1

    killing = asyncio.create_task(kill_60())
    scores: list[Score] = []
    while not killing.done() or len(scores) < 1500:  # as many samples as the kills take
        seconds = [f"0.004{len(scores) + number:06d}" for number in range(500)]
        scores += await pool.score("hostile", [acting("sleep", each) for each in seconds])
    await killing
    lost = [at for at, score in enumerate(scores) if score.value is None]
    assert {code(scores[at]) for at in lost} <= {"worker_lost"}
    assert 0 < len(lost) <= 60
    for at, score in enumerate(scores):
        assert score.value is None or score.value == float(f"0.004{at:06d}")
    assert_only({}, await pool.score("hostile", numbers(100)), 100)


@pytest.mark.parametrize("with_fork_server", [False, True])
async def test_the_pool_heals_when_all_its_workers_die_at_once(
    start_pool: StartPool, with_fork_server: bool
) -> None:
    pool = await start_pool(sample_deadline_s=10.0)
    samples = [acting("sleep", "0.01") for _ in range(100)]
    call = asyncio.create_task(pool.score("hostile", samples))
    await until(lambda: pool.pending < 100 and len(worker_processes()) == 3)
    victims = worker_processes()
    if with_fork_server:
        victims.append(fork_server_process())
    for victim in victims:
        victim.kill()
    scores = await asyncio.wait_for(call, PATIENCE_S)
    assert {code(score) for score in scores} <= {None, "worker_lost"}
    assert sum(score.value is None for score in scores) <= 2
    assert_only({}, await pool.score("hostile", numbers(100)), 100)
    await until(lambda: len(worker_processes()) >= 3 and pool.alive == 2)


async def test_a_killed_fork_server_is_replaced(start_pool: StartPool) -> None:
    pool = await start_pool()
    fork_server_process().kill()
    await until(lambda: pool.restarts["fork_server"] == 1)
    assert_only({}, await asyncio.wait_for(pool.score("hostile", numbers(100)), PATIENCE_S), 100)
    assert pool.restarts["fork_server"] == 1


async def test_the_samples_that_ran_when_the_fork_server_died_are_scored(
    start_pool: StartPool, tmp_path: Path
) -> None:
    pool = await start_pool(sample_deadline_s=2 * PATIENCE_S)
    begun, go_on = [tmp_path / "0", tmp_path / "1"], str(tmp_path / "go on")
    running = [acting("wait_for", begun=str(file), file=go_on) for file in begun]
    calls = [asyncio.create_task(pool.score("hostile", [sample])) for sample in running]
    await until(lambda: all(file.exists() for file in begun))
    fork_server_process().kill()
    await until(lambda: pool.restarts["fork_server"] == 1)
    Path(go_on).touch()
    for call in calls:
        assert_only({}, await asyncio.wait_for(call, PATIENCE_S), 1)


async def test_a_sample_that_kills_fork_servers_kills_two(start_pool: StartPool) -> None:
    pool = await start_pool()
    scores = await asyncio.wait_for(pool.score("hostile", [acting("kill_parent")]), PATIENCE_S)
    assert_only({0: "worker_lost"}, scores, 1)
    assert_only({}, await asyncio.wait_for(pool.score("hostile", numbers(20)), PATIENCE_S), 20)
    assert pool.restarts["fork_server"] == 2


async def test_a_stopped_process_is_replaced_and_its_samples_scored(start_pool: StartPool) -> None:
    pool = await start_pool()
    for worker in worker_processes():
        worker.send_signal(signal.SIGSTOP)
    scores = await asyncio.wait_for(pool.score("hostile", numbers(40)), PATIENCE_S)
    assert_only({}, scores, 40)
    assert pool.restarts["stuck"] > 0


async def test_ctrl_c_and_sigterm_do_not_reach_workers(start_pool: StartPool) -> None:
    pool = await start_pool()
    for each in processes():
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            each.send_signal(signum)
    assert_only({}, await pool.score("hostile", numbers(100)), 100)
    assert not pool.restarts


async def test_what_a_scorer_started_is_killed_with_its_worker(
    start_pool: StartPool, tmp_path: Path
) -> None:
    pool = await start_pool()
    (score,) = await pool.score("hostile", [acting("child", file=str(tmp_path / "pid"))])
    assert code(score) == "deadline_exceeded"
    await gone([int((tmp_path / "pid").read_text())])


@pytest.mark.parametrize("end", ["deadline", "recycled", "stopped"])
async def test_what_a_scorer_started_in_a_session_of_its_own_ends_with_the_worker(
    start_pool: StartPool, tmp_path: Path, end: str
) -> None:
    pool = await start_pool(workers=1, spares=0, recycle_after=3, sample_deadline_s=3.0)
    response = "hang" if end == "deadline" else "1"
    await pool.score("hostile", [acting("daemon", response, file=str(tmp_path / "pids"))])
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    if end == "recycled":
        assert all(psutil.pid_exists(pid) for pid in pids)
        await pool.score("hostile", numbers(10))
    elif end == "stopped":
        await pool.stop()
    await gone(pids)


async def test_a_process_that_a_scorer_keeps_from_its_building_outlives_workers(
    start_pool: StartPool,
) -> None:
    pool = await start_pool(workers=1)
    await pool.add({"helped": ScorerSpec("hostile_scorers:WithHelper", {})})
    for _ in range(3):
        await pool.score("helped", [Sample("1", "x", ground_truth="die")])
        (score,) = await pool.score("helped", [Sample("1", "x")])
        assert score.value == 1.0


async def test_workers_are_recycled_and_nothing_is_lost(start_pool: StartPool) -> None:
    pool = await start_pool(recycle_after=50)
    scores = await pool.score("hostile", [acting("pid") for _ in range(1000)])
    assert all(score.value is not None for score in scores)
    assert len({score.value for score in scores}) > 4
    assert set(pool.restarts) == {"recycled"}


async def test_no_worker_outlives_a_server_killed_with_9(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import asyncio
        from touchstone_rewards.reward_server.schemas import Sample
        from touchstone_rewards.reward_server.scorers.base import ScorerSpec
        from touchstone_rewards.reward_server.pool.pool import WorkerPool

        async def main():
            pool = WorkerPool({"h": ScorerSpec("hostile_scorers:Hostile", {})}, workers=2)
            await pool.start()
            print("up", flush=True)
            await pool.score("h", [Sample("a", "0", ground_truth="stuck_in_c")] * 2)

        asyncio.run(main())
    """)
    server = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(SCORERS)},
        stdout=subprocess.PIPE,
    )
    assert server.stdout is not None
    with server.stdout:
        assert server.stdout.readline() == b"up\n"
    await until(lambda: len(psutil.Process(server.pid).children(recursive=True)) == 4)
    family = psutil.Process(server.pid).children(recursive=True)
    server.kill()
    server.wait()
    await gone(pids_of(family))


# What callers do


def timed_call(pool: WorkerPool, samples: list[Sample]) -> asyncio.Task[list[Score]]:
    """A call with a deadline of `REQUEST_S`, by the patched clock."""
    give_up_at_s = asyncio.get_running_loop().time() + REQUEST_S
    return asyncio.create_task(pool.score("hostile", samples, give_up_at_s=give_up_at_s))


async def test_samples_not_begun_in_time_may_be_sent_again(
    start_pool: StartPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = await start_pool(spares=0, chunk=1, sample_deadline_s=2 * PATIENCE_S)
    begun = [tmp_path / str(number) for number in range(38)]
    waiting = [acting("wait_for", begun=str(file), file="no such file") for file in begun]
    call = timed_call(pool, [*[acting("sleep", "1")] * 2, *waiting])
    await until(lambda: pool.pending == 38 and sum(file.exists() for file in begun) == 2)
    skip_time(monkeypatch, REQUEST_S)
    scores = await asyncio.wait_for(call, PATIENCE_S)
    assert [score.value for score in scores] == [1.0, 1.0, *[None] * 38]
    late = [score.error for score in scores if score.error]
    assert {(error.code, error.retryable) for error in late} == {("deadline_exceeded", True)}
    assert pool.pending == 0
    assert_only({}, await pool.score("hostile", numbers(10)), 10)
    assert sum(file.exists() for file in begun) == 2


async def test_a_sample_still_running_when_its_call_gives_up_is_killed(
    start_pool: StartPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = await start_pool(spares=0, sample_deadline_s=2 * PATIENCE_S)
    begun = tmp_path / "begun"
    call = timed_call(pool, [*numbers(4), acting("stuck_in_c", begun=str(begun))])
    await until(lambda: pool.pending == 1 and begun.exists())
    skip_time(monkeypatch, REQUEST_S)
    scores = await asyncio.wait_for(call, PATIENCE_S)
    assert_only({4: "deadline_exceeded"}, scores, 5)
    assert scores[4].error is not None
    assert pool.restarts == {"gave_up": 1}


async def test_a_hang_that_took_its_requests_time_is_its_own_and_not_worth_another_try(
    start_pool: StartPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If such a response were retried forever, none of the other samples would get an answer."""
    pool = await start_pool(workers=1, spares=0, sample_deadline_s=2 * PATIENCE_S)
    sent_at_s, begun = time.monotonic(), tmp_path / "begun"
    call = timed_call(pool, [acting("loop", begun=str(begun))])
    await until(begun.exists)
    await asyncio.sleep(0.1 + 2 * (time.monotonic() - sent_at_s))  # most of the request's time
    skip_time(monkeypatch, REQUEST_S)
    (hung,) = await call
    assert hung.error is not None
    assert not hung.error.retryable
    assert not hung.timed_out  # its own deadline had not passed


async def test_a_sample_whose_turn_came_late_may_be_sent_again(
    start_pool: StartPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = await start_pool(workers=1, spares=0, sample_deadline_s=2 * PATIENCE_S, chunk=1)
    begun = tmp_path / "begun"
    call = timed_call(pool, [acting("sleep", "1"), acting("loop", begun=str(begun))])
    await until(begun.exists)
    skip_time(monkeypatch, REQUEST_S)
    first, late = await call
    assert first.value == 1.0
    assert late.error is not None
    assert late.error.retryable


async def test_a_call_without_time_left_scores_nothing(start_pool: StartPool) -> None:
    pool = await start_pool()
    now = asyncio.get_running_loop().time()
    scores = await pool.score("hostile", numbers(3), give_up_at_s=now - 1)
    assert [code(score) for score in scores] == ["deadline_exceeded"] * 3


async def test_a_cancelled_call_drops_what_it_had_queued(
    start_pool: StartPool, tmp_path: Path
) -> None:
    pool = await start_pool(sample_deadline_s=10.0)
    begun = tmp_path / "begun"
    samples = [acting("note", file=str(begun)) for _ in range(100)]
    call = asyncio.create_task(pool.score("hostile", samples))
    await until(lambda: begun.exists() and begun.read_text().count("\n") >= 2)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert pool.pending == 0
    await asyncio.sleep(0.3)  # time for more to begin, were they not dropped
    lines = begun.read_text().count("\n")
    assert 2 <= lines < 50
    assert_only({}, await pool.score("hostile", numbers(100)), 100)
    assert begun.read_text().count("\n") == lines
    assert not pool.restarts


async def test_stopping_fails_what_is_pending_and_leaves_no_process(start_pool: StartPool) -> None:
    pool = await start_pool(sample_deadline_s=60.0)
    family = processes()
    call = asyncio.create_task(pool.score("hostile", [acting("stuck_in_c")] * 20))
    await asyncio.sleep(0.1)
    await pool.stop()
    scores = await asyncio.wait_for(call, PATIENCE_S)
    assert [code(score) for score in scores] == ["worker_lost"] * 20
    assert pool.alive == 0
    await gone(pids_of(family))
    assert [code(score) for score in await pool.score("hostile", numbers(2))] == ["worker_lost"] * 2
    await pool.start()
    assert_only({}, await pool.score("hostile", numbers(10)), 10)


# Scorers


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (ScorerSpec("no_such_scorer", {}), "no_such_scorer"),
        (ScorerSpec("no_such_module:Scorer", {}), "no_such_module"),
        (ScorerSpec("hostile_scorers:NoSuchScorer", {}), "NoSuchScorer"),
        (ScorerSpec("hostile_scorers:Hostile", {"no_such_key": 1}), "no_such_key"),
        (ScorerSpec("hostile_scorers:Astray", {}), "answer"),
        (ScorerSpec("hostile_scorers:Hostile", {"refuse": "I will not"}), "I will not"),
        (ScorerSpec("hostile_scorers:NoVersion", {}), "has version None; give its class a str"),
        (ScorerSpec("hostile_scorers:InAProcess", {}), "runs_in 'process'; set one of inline"),
        (ScorerSpec("hostile_scorers:NoRange", {}), "has range None; give its class the least"),
        (ScorerSpec("hostile_scorers:ReadsText", {}), "has reads 'response'; give its class a"),
        (ScorerSpec("hostile_scorers:loop_for_ever", {}), "nothing fills its parameter '_'"),
        (ScorerSpec("subprocess:Popen", {"args": ["false"]}), "Popen' is not a scorer"),
    ],
)
async def test_a_scorer_that_cannot_be_built_stops_the_start(spec: ScorerSpec, says: str) -> None:
    pool = WorkerPool({"good": HOSTILE, "bad": spec}, workers=2)
    with pytest.raises(ConfigError, match=says):
        await pool.start()
    await gone(pids_of(processes()))


async def test_scorers_are_added_while_the_pool_works(start_pool: StartPool) -> None:
    pool = await start_pool()
    call = asyncio.create_task(pool.score("hostile", [acting("sleep", "0.01")] * 100))
    await asyncio.sleep(0.05)
    await pool.add({"more": LENGTH})
    assert [score.value for score in await pool.score("more", numbers(3))] == [1, 1, 1]
    with pytest.raises(ConfigError, match="no_such_scorer"):
        await pool.add({"bad": ScorerSpec("no_such_scorer", {})})
    assert [score.value for score in await call] == [0.01] * 100
    assert [score.value for score in await pool.score("more", numbers(3))] == [1, 1, 1]


async def test_a_scorer_that_the_pool_does_not_have_is_our_own_bug(start_pool: StartPool) -> None:
    pool = await start_pool()
    with pytest.raises(KeyError, match="no_such_scorer"):
        await pool.score("no_such_scorer", numbers(1))


async def test_evaluation_waits_behind_training_and_does_not_starve(
    start_pool: StartPool, tmp_path: Path
) -> None:
    pool = await start_pool(workers=1, spares=0, chunk=1, sample_deadline_s=PATIENCE_S)
    done: list[str] = []
    gate = tmp_path / "gate"

    async def call(name: str, act: str, after_s: float) -> None:
        samples = [acting(act, "0.01", file=str(gate)) for _ in range(3)]
        await pool.score("hostile", samples, after_s=after_s)
        done.append(name)

    calls = [("first", "wait_for", 0.0), ("evaluation", "sleep", 60.0), ("training", "sleep", 0.0)]
    tasks: list[asyncio.Task[None]] = []
    for each in calls:
        tasks.append(asyncio.create_task(call(*each)))
        await until(lambda: pool.pending == 3 * len(tasks))
    gate.touch()
    await asyncio.gather(*tasks)
    assert done.index("training") < done.index("evaluation")

    # Half a minute of work: the evaluation does not wait for its end.
    stream = asyncio.create_task(pool.score("hostile", [acting("sleep", "0.01")] * 3000))
    await until(lambda: pool.pending < 3000)
    await pool.score("hostile", [acting("sleep", "0.01")], after_s=0.3)
    assert not stream.done()
    stream.cancel()
