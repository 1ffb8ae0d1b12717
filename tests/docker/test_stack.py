"""Run the compose stack: build it, train through it, kill a part of it, read its pages."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.checkout import ROOT
from tests.docker.stack import (
    Stack,
    compose_or_skip,
    docker,
    environment,
    fails,
    wait_for,
)
from touchstone_rewards.trainer.data.kept_samples import read_samples, step_files

pytestmark = pytest.mark.docker

BUILD_S, TRAINING_S = 1800.0, 2400.0
IMAGES = ("touchstone-reward-server:0.2.0", "touchstone-trainer:0.2.0")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    compose = compose_or_skip(engine=True)
    running = Stack(compose)
    running("build", "reward-server", "trainer")
    for image in IMAGES:
        size = int(docker("image", "inspect", "-f", "{{.Size}}", image)) / 1e6
        print(f"\n{image}: {size:.0f} MB")
    running("up", "-d", "reward-server", "trainer")
    yield running
    running("down", "-v", "--timeout", "20")


def reward_of(stack: Stack, key: str | None) -> httpx2.Response:
    body = {"samples": [{"id": "1", "response": "#### 4", "ground_truth": "4"}]}
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = f"http://127.0.0.1:{stack.port}/score"
    return httpx2.post(url, json=body, headers=headers)


def test_compose_refuses_to_start_without_a_key() -> None:
    compose = compose_or_skip()
    done = subprocess.run(
        [*compose, "config", "-q"], cwd=ROOT, env=environment(REWARD_API_KEY=""), text=True,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode != 0
    assert "put a key into .env" in done.stderr


def test_the_server_answers_with_the_key_alone_and_on_loopback_alone(stack: Stack) -> None:
    assert reward_of(stack, None).status_code == 401
    assert reward_of(stack, "another").status_code == 401
    assert reward_of(stack, stack.key).json()["results"][0]["reward"] == 1.0
    container = stack.container("reward-server")
    wait_for(lambda: docker("exec", container, "cat", "/logs/scores.jsonl"), 30, "the score log")
    published = docker("port", stack.container("reward-server")).strip().splitlines()
    assert published == [f"8700/tcp -> 127.0.0.1:{stack.port}"]


def test_the_containers_are_nobody_and_write_nowhere_but_in_their_volumes(stack: Stack) -> None:
    for service in ("reward-server", "trainer"):
        container = stack.container(service)
        assert docker("exec", container, "id", "-u").strip() == "10001"
        assert fails("exec", container, "touch", "/opt/touchstone/mark")
        host = stack.state(service)["HostConfig"]
        assert host["ReadonlyRootfs"]
        assert host["Memory"] > 0
        assert host["NanoCpus"] > 0


def test_training_goes_on_after_its_server_was_killed_and_loses_no_sample(
    stack: Stack, tmp_path: Path
) -> None:
    trainer = stack.container("trainer")
    samples = "/runs/demo/grpo/samples/samples_step_5.jsonl"
    wait_for(lambda: not fails("exec", trainer, "test", "-s", samples), TRAINING_S, "five steps")
    docker("kill", stack.container("reward-server"))
    time.sleep(5)
    stack("up", "-d", "reward-server")
    wait_for(lambda: not stack.state("trainer")["State"]["Running"], TRAINING_S, "the demo's end")
    log = docker("logs", trainer)
    assert stack.state("trainer")["State"]["ExitCode"] == 0, log[-3000:]
    print(log[-1500:])
    stack.copy_out("trainer", "/runs/demo/grpo/samples", tmp_path)
    folder = tmp_path / "samples"
    kept = list(read_samples(folder))
    assert len(step_files(folder)) == 60
    assert len(kept) == 60 * 128
    assert len({(sample.step, sample.id) for sample in kept}) == len(kept)
    assert not [sample for sample in kept if sample.reward is None]
