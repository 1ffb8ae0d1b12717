"""Run the example with a reward of one's own in the stack, as its page and `.env` say."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.checkout import ROOT
from tests.docker.stack import Stack, compose_or_skip, docker, wait_for

pytestmark = pytest.mark.docker

PAGE = (ROOT / "examples" / "compose" / "README.md").read_text(encoding="utf-8")
HEALTHY_S = 300.0
BODY = {
    "profile": "rhyme",
    "samples": [
        {"id": "1", "response": "a cat\non a mat"},
        {"id": "2", "response": "a cat\non a chair"},
    ],
}


def settings_of_the_page() -> dict[str, str]:
    """Return the lines of the page's `.env`."""
    [lines] = re.findall(r"<<'ENV'\n(.*?)\nENV\n", PAGE, re.DOTALL)
    return dict(line.split("=", 1) for line in lines.splitlines())


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the example's profiles, for a test to edit."""
    folder = tmp_path_factory.mktemp("compose") / "profiles"
    return shutil.copytree(ROOT / "examples" / "compose" / "profiles", folder)


@pytest.fixture(scope="module")
def stack(profiles: Path) -> Iterator[Stack]:
    compose = compose_or_skip(engine=True)
    more = {"REWARD_MAX_SAMPLES": "3", "REWARD_COMPAT_NULL_REWARDS": '{"openrlhf": -1.0}'}
    more["PROFILES"] = str(profiles)
    running = Stack(compose, settings={**settings_of_the_page(), **more})
    running("build", "reward-server")
    running("up", "-d", "reward-server")
    yield running
    running("down", "-v", "--timeout", "20")


def asked(stack: Stack, path: str, key: str | None, body: object) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = f"http://127.0.0.1:{stack.port}{path}"
    return httpx2.post(url, json=body, headers=headers)


def wait_until_healthy(stack: Stack) -> None:
    def is_healthy() -> bool:
        return stack.state("reward-server")["State"]["Health"]["Status"] == "healthy"

    wait_for(is_healthy, HEALTHY_S, "the server's health check")


def test_the_mounted_plug_in_scores_for_the_key_alone(stack: Stack) -> None:
    wait_until_healthy(stack)
    assert asked(stack, "/score", None, BODY).status_code == 401
    results = asked(stack, "/score", stack.key, BODY).json()["results"]
    assert [result["reward"] for result in results] == [1.0, 0.0]


def test_settings_of_the_file_reach_the_server(stack: Stack) -> None:
    samples = [{"id": str(number), "response": "x"} for number in range(4)]
    too_many = asked(stack, "/score", stack.key, {"profile": "format", "samples": samples})
    assert too_many.status_code == 413
    assert "3" in too_many.json()["error"]["message"]
    query = {"query": ["Q: 1+1?A: 2"], "prompts": ["Q: 1+1?"], "labels": [None]}
    reward = asked(stack, "/compat/openrlhf/get_reward?profile=math", stack.key, query)
    assert reward.json()["rewards"] == [-1.0]


def test_a_server_that_is_killed_in_its_container_comes_back(stack: Stack) -> None:
    wait_until_healthy(stack)
    before = stack.state("reward-server")
    container = stack.container("reward-server")
    # The first process is the init that compose adds; the server is its child.
    kill = "import os, signal; [os.kill(int(p), signal.SIGKILL) for p in os.listdir('/proc')"
    kill += " if p.isdigit() and int(p) > 1 and int(p) != os.getpid()]"
    docker("exec", container, "python3", "-c", kill)
    wait_for(
        lambda: stack.state("reward-server")["RestartCount"] > before["RestartCount"],
        HEALTHY_S,
        "a new start",
    )
    wait_until_healthy(stack)
    results = asked(stack, "/score", stack.key, BODY).json()["results"]
    assert [result["reward"] for result in results] == [1.0, 0.0]


def test_an_edited_profile_is_read_again_on_the_signal(stack: Stack, profiles: Path) -> None:
    wait_until_healthy(stack)
    file = profiles / "rhyme.yaml"
    file.write_text(file.read_text().replace("end alike", "end alike, as edited"))
    stack("kill", "-s", "HUP", "reward-server")
    url, headers = (
        f"http://127.0.0.1:{stack.port}/profiles",
        {"Authorization": f"Bearer {stack.key}"},
    )

    def shown() -> dict[str, str]:
        listed = httpx2.get(url, headers=headers).json()["profiles"]
        return {each["name"]: each["description"] for each in listed}

    assert "rhyme" in shown()
    wait_for(lambda: "as edited" in shown()["rhyme"], HEALTHY_S, "the edited profile")
