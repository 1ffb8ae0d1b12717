"""Every setting of `.env` reaches the server in the stack, and so does a plug-in's Python."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.checkout import ROOT
from tests.docker.stack import compose_or_skip
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.settings import ENV_PREFIX, Settings

SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
EXAMPLE = ROOT / "examples" / "compose"
# The image decides the address and the packages; a cluster is no container.
NOT_PASSED = {"host", "port", "insecure", "tls_cert", "tls_key"}


@pytest.mark.parametrize("service", ["reward-server", "reward-server-gpu"])
def test_every_setting_reaches_the_server(service: str) -> None:
    passed = set(SERVICES[service]["environment"])
    wanted = {
        ENV_PREFIX + name.upper()
        for name in Settings.model_fields
        if name not in NOT_PASSED and not name.startswith("cluster")
    }
    assert passed == wanted


def test_what_is_not_set_is_left_to_the_server() -> None:
    given = SERVICES["reward-server"]["environment"]
    bare = {name for name, value in given.items() if value is None}
    assert "REWARD_MAX_SAMPLES" in bare
    # Those with a value have the stack's own default, or may be empty, which means unset.
    assert all(str(value).startswith(("${", "/")) for name, value in given.items() if value)


def test_the_example_file_names_settings_that_there_are() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    named = {line.lstrip("#").partition("=")[0] for line in lines if "=" in line}
    of_server = {name for name in named if name.startswith(ENV_PREFIX)}
    substituted = (ROOT / "docker-compose.yml").read_text()
    known = set(SERVICES["reward-server"]["environment"])
    assert {
        name for name in of_server if name not in known and f"${{{name}" not in substituted
    } == set()


def test_a_mounted_plug_in_scores(start_server: Callable[..., LiveServer]) -> None:
    """Return the stack's mounts and variables, with folders in place of the mount points."""
    mounts = dict(
        volume.removesuffix(":ro").rpartition(":")[::2]
        for volume in SERVICES["reward-server"]["volumes"]
        if volume.startswith("${")
    )
    assert mounts == {
        "${PROFILES:-./docker/profiles}": "/profiles",
        "${PLUGINS:-./docker/plugins}": "/plugins",
    }
    live = start_server(
        REWARD_PROFILES_DIR=str(EXAMPLE / "profiles"), REWARD_PLUGINS_DIR=str(EXAMPLE / "plugins")
    )
    samples = [{"id": "1", "response": "a cat\non a mat"}, {"id": "2", "response": "a cat"}]
    answer = httpx2.post(f"{live.url}/score", json={"profile": "rhyme", "samples": samples})
    assert [each["reward"] for each in answer.json()["results"]] == [1.0, 0.0]


def test_compose_resolves_what_stands_in_env(tmp_path: Path) -> None:
    compose = compose_or_skip()
    rewards = '{"openrlhf": -1.0}'
    lines = {
        "REWARD_API_KEY": "k",
        "REWARD_LOG_FORMAT": "json",
        "REWARD_COMPAT_NULL_REWARDS": rewards,
        "REWARD_PLUGINS_DIR": "/plugins",
        "PLUGINS": "./examples/compose/plugins",
    }
    file = tmp_path / "env"
    file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    done = subprocess.run(
        [*compose, "--env-file", str(file), "config"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    service = yaml.safe_load(done.stdout)["services"]["reward-server"]
    given = service["environment"]
    assert json.loads(given["REWARD_COMPAT_NULL_REWARDS"]) == json.loads(rewards)
    assert (given["REWARD_LOG_FORMAT"], given["REWARD_PLUGINS_DIR"]) == ("json", "/plugins")
    assert "examples/compose/plugins" in str(service["volumes"])
