"""The examples of docs/client.md run, and every name on the page exists."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from statistics import fmean, stdev

import pytest

from tests.checkout import ROOT, clean_environment
from touchstone_rewards import clients
from touchstone_rewards.clients.client import ClientOptions
from touchstone_rewards.reward_server.live_server import LiveServer

PAGE = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
EXAMPLES = [
    code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "trl" not in code
]


@pytest.mark.parametrize("code", EXAMPLES, ids=["sync", "async"])
def test_the_examples_run(code: str, server: LiveServer) -> None:
    environment = {**clean_environment(), "REWARD_URL": server.url}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(("1.0 {'math': 1.0", "["))


def test_the_page_names_every_parameter_and_its_default() -> None:
    for name, parameter in inspect.signature(clients.AsyncRemoteRewardClient).parameters.items():
        row = next((line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")), None)
        assert row is not None, name
        if parameter.default is not None:
            default = parameter.default
            shown = f"{default:g}" if isinstance(default, float) else f"{default}"
            shown = shown if isinstance(default, int | float) else "`RetryPolicy()`"
            assert f"| {shown} |" in row


def test_both_clients_take_the_same_options() -> None:
    parameters = inspect.signature(clients.AsyncRemoteRewardClient).parameters
    assert ["url", *ClientOptions.__annotations__] == list(parameters)


def test_the_page_names_every_error() -> None:
    for name in clients.__all__:
        if issubclass(getattr(clients, name), Exception):
            assert name in PAGE


def test_the_advantages_are_those_of_the_formulas() -> None:
    """The group of the page has the rewards 1, none, 1, 0; an advantage is (r - mean) / std."""

    def advantages(rewards: list[float]) -> list[str]:
        return [f"{(each - fmean(rewards)) / stdev(rewards):.3f}" for each in rewards]

    summed = advantages([1, 0, 1, 0])  # what an older TRL makes of None
    left_out = advantages([1, 1, 0])
    left_out.insert(1, "0")
    group_mean = advantages([1, 2 / 3, 1, 0])
    for cell, times in ((summed, 1), (left_out, 1), (group_mean, 2)):
        shown = ", ".join(each.replace("0.", ".").replace("-", "−") for each in cell)
        assert PAGE.replace("**", "").count(f"| {shown.replace('.000', '0')} |") == times
