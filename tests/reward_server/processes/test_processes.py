"""`serve --processes 2`: two real processes on one port answer as one server."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.checkout import ROOT, clean_environment, live_server
from tests.reward_server.processes.callers import Caller
from tests.waiting import PATIENCE_S, wait_until
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.dummy import DummyScorer
from touchstone_rewards.reward_server.scoring.normalization import RunningMoments

PENDING = "reward_worker_pending_samples"
PROFILES = {
    "normed": "scorers: {dummy: {weight: 1.0}}\nnormalization: running\n",
    "grouped": "scorers: {duplicates: {weight: 1.0}}\ngroups: {size: 2, deadline_s: 300}\n",
    "remembering": "scorers: {duplicates: {config: {remember: 100}}}\n",
}


def metric(text: str, name: str) -> dict[str, float]:
    """Return the values of one metric by its labels, as written in the braces."""
    found = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
    return {labels: float(value) for labels, value in found}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("two")
    (folder / "profiles").mkdir()
    for name, profile in PROFILES.items():
        (folder / "profiles" / f"{name}.yaml").write_text(profile)
    config = folder / "server.yaml"
    keys = [{"name": "slow", "key": "slow", "samples_per_s": 0.001}]
    config.write_text(json.dumps({"api_keys": keys, "admin_key": "admin"}))
    options = ["--config", config, "--profiles_dir", folder / "profiles"]
    options += ["--score_log", folder / "scores.jsonl", "--state_dir", folder / "state"]
    server = live_server(folder / "log", "--processes", "2", *map(str, options)).start()
    yield server
    assert server.stop() == 0


def test_a_few_connections_are_shared_out_evenly_and_the_numbers_add_up(two: LiveServer) -> None:
    callers = [Caller(two) for _ in range(4)]
    _, text = Caller(two).ask("GET", "/metrics")
    before = metric(text, "reward_process_requests_total")
    for place in range(200):
        sample = {"id": f"added {place}", "response": "\\boxed{2}", "ground_truth": "2"}
        status, answer = callers[place % 4].score("math", sample)
        assert (status, answer["results"][0]["reward"]) == (200, 1.0)
    _, text = Caller(two).ask("GET", "/metrics")
    after = metric(text, "reward_process_requests_total")
    share = [after[name] - before.get(name, 0) for name in ('process="0"', 'process="1"')]
    assert abs(share[0] - share[1]) <= 0.2 * sum(share) / 2
    assert metric(text, "reward_samples_total")['profile="math",status="ok"'] == 200
    assert metric(text, "reward_reward_bucket")['le="+Inf",profile="math"'] == 200
    assert metric(text, "reward_key_samples_total")['key="admin"'] >= 200
    assert metric(text, "reward_workers_alive")[""] == 2
    data = callers[0].ask("GET", "/dashboard/data")[1]
    math = next(each for each in data["profiles"] if each["name"] == "math")
    assert math["watched"]["samples"] == 200
    assert data["server"]["workers_alive"] == 2


def test_the_newest_samples_of_both_processes_are_shown(two: LiveServer) -> None:
    for place, caller in enumerate([Caller(two) for _ in range(4)]):

        def shown(name: str = f"seen {place}", caller: Caller = caller) -> bool:
            # Of a second in which many came, some are not kept: then it is sent again.
            caller.score("math", {"id": name, "response": "2", "ground_truth": "2"})
            recent = caller.ask("GET", "/dashboard/data")[1]["recent"]
            return name in {each["id"] for each in recent}

        wait_until(shown, pause_s=0.3)


def test_the_rate_of_a_key_holds_for_all_processes_together(two: LiveServer) -> None:
    callers = [Caller(two, "slow") for _ in range(4)]
    sample = {"id": "a", "response": "", "ground_truth": "2"}
    statuses = [caller.score("math", sample)[0] for caller in callers]
    assert statuses == [200, 429, 429, 429]


def test_running_normalization_has_one_state(two: LiveServer) -> None:
    callers, expected = [Caller(two) for _ in range(4)], RunningMoments("")
    for place in range(20):
        response = f"number {place}"
        _, answer = callers[place % 4].score("normed", {"id": "a", "response": response})
        (score,) = DummyScorer().score([Sample("a", response)])
        assert score.value is not None
        expected.count_in([score.value])
        assert answer["results"][0]["reward"] == pytest.approx(expected.normalised(score.value))


def test_what_one_process_was_answered_the_other_remembers(two: LiveServer) -> None:
    callers = [Caller(two) for _ in range(4)]
    text = " ".join(f"word{n}" for n in range(40))
    for place in range(8):
        sample = {"id": f"r{place}", "prompt": f"P{place}", "group_id": "g", "response": text}
        _, answer = callers[place % 4].score("remembering", sample)
        assert answer["results"][0]["reward"] == pytest.approx(-place / (place + 1))


def test_a_group_that_comes_in_two_requests_to_two_processes_is_one_group(two: LiveServer) -> None:
    callers, answers = [Caller(two) for _ in range(4)], dict[int, Any]()

    def ask(place: int) -> None:
        sample = {"id": str(place), "response": "the very same words", "group_id": f"g{place // 2}"}
        answers[place] = callers[place].score("grouped", sample)

    # Neighbors have connections to different processes.
    threads = [threading.Thread(target=ask, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for status, answer in answers.values():
        assert status == 200
        assert answer["results"][0]["reward"] == -1.0  # all others are copies of it
        assert answer["results"][0]["group"].endswith("/2")


def test_every_connection_gets_the_profiles_that_a_reload_brought(two: LiveServer) -> None:
    callers = [Caller(two) for _ in range(4)]
    folder = Path(two.options[two.options.index("--profiles_dir") + 1])
    (folder / "new.yaml").write_text("scorers: {format: {weight: 1.0}}\n")
    status, report = callers[0].ask("POST", "/profiles/reload")
    assert (status, report["added"]) == (200, ["new"])
    answers = [caller.score("new", {"id": "a", "response": "x"}) for caller in callers]
    assert [status for status, _ in answers] == [200] * 4
    fingerprints = {answer["fingerprint"] for _, answer in answers}
    assert fingerprints == {report["fingerprints"]["new"]}
    assert all(caller.ask("GET", "/profiles")[1] for caller in callers)

    (folder / "new.yaml").write_text("scorers: {format: {weight: 2.0}}\n")
    assert two.process is not None
    two.process.send_signal(signal.SIGHUP)
    for caller in callers:
        wait_until(
            lambda caller=caller: (
                caller.score("new", {"id": "a", "response": "x"})[1]["fingerprint"]
                not in fingerprints
            )
        )


def test_the_score_log_has_each_sample_once_and_whole(two: LiveServer) -> None:
    callers = [Caller(two) for _ in range(4)]
    log = Path(two.options[two.options.index("--score_log") + 1])

    def ask(place: int) -> None:
        for number in range(50):
            sample = {"id": f"logged {place} {number}", "response": "x" * 5000}
            assert callers[place].score("format", sample)[0] == 200

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    def ids() -> Counter[str]:
        whole = log.read_text().split("\n")[:-1]  # the last may be on its way
        lines = [json.loads(line) for line in whole]
        found = Counter(line["sample"]["id"] for line in lines)
        return Counter({name: n for name, n in found.items() if name.startswith("logged")})

    wait_until(lambda: len(ids()) == 200)
    assert set(ids().values()) == {1}


def test_all_see_what_the_first_keeps(two: LiveServer) -> None:
    for caller in [Caller(two) for _ in range(4)]:
        for path in ("/ready", "/health", "/profiles", "/scorers", "/models", "/docs", "/"):
            assert caller.ask("GET", path)[0] == 200, path
        assert caller.ask("GET", "/nothing")[0] == 404
        assert caller.score("no_such", {"id": "a", "response": ""})[0] == 404
        explain = {"profile": "math", "sample": {"id": "a", "response": "2", "ground_truth": "2"}}
        assert caller.ask("POST", "/dashboard/explain", explain)[1]["result"]["reward"] == 1.0


def test_nothing_is_left_behind_when_the_supervisor_is_killed(
    start_server: Callable[..., LiveServer],
) -> None:
    server = start_server("--processes", "2")
    assert server.process is not None
    left = psutil.Process(server.process.pid).children(recursive=True)
    assert len(left) >= 4
    server.kill()
    _, alive = psutil.wait_procs(left, timeout=PATIENCE_S)
    assert not alive


def test_sigterm_finishes_what_is_in_work_and_ends_all(
    start_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    (tmp_path / "slow.yaml").write_text(
        "scorers: {slow: {scorer: 'tests.reward_server.hostile_scorers:Hostile'}}"
    )
    deadline = ["--sample_deadline_s", str(2 * PATIENCE_S)]
    server = start_server("--processes", "2", "--profiles_dir", str(tmp_path), *deadline)
    assert server.process is not None
    gate = tmp_path / "open"
    left = psutil.Process(server.process.pid).children(recursive=True)
    answers: list[tuple[int, Any]] = []

    def ask() -> None:
        held = {"ground_truth": "wait_for", "metadata": {"file": str(gate)}}
        answers.append(Caller(server).score("slow", {"id": "a", "response": "2", **held}))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: metric(Caller(server).ask("GET", "/metrics")[1], PENDING)[""] == 4)
    server.process.terminate()
    gate.touch()
    assert server.process.wait(PATIENCE_S) == 0
    for thread in threads:
        thread.join()
    assert [status for status, _ in answers] == [200] * 4
    assert all(answer["results"][0]["status"] == "ok" for _, answer in answers)
    _, alive = psutil.wait_procs(left, timeout=PATIENCE_S)
    assert not alive


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--processes", "0"], "processes"),
        (["--processes", "two"], "processes"),
        (["--processes", "2", "--cluster"], "cannot be combined"),
        (["--processes", "2", "--profiles_dir", "/nowhere"], "/nowhere"),
    ],
)
def test_what_cannot_be_is_refused_with_one_line(options: list[str], said: str) -> None:
    command = [sys.executable, "-m", "touchstone_rewards.reward_server", "serve", "--port", "0"]
    done = subprocess.run(
        [*command, "--log_level", "error", *options],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
