"""Programs on real sandboxes: SandboxFusion's server and open-instruct's.

SANDBOX_FUSION and OPEN_INSTRUCT name checkouts of these projects. Each is started by the
interpreter `.venv/bin/python` of its checkout, or by SANDBOX_PYTHON, in which it must import. They
run what they are given without isolation here: the programs are those of `programs.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.served import Served, served
from tests.reward_server.remote.programs import ADD, ASSERTED, NEXT, PRINTED, block
from touchstone_rewards.reward_server.remote.code import CodeScorer
from touchstone_rewards.reward_server.remote.code_tests import PASSED
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers import build_scorer
from touchstone_rewards.reward_server.scorers.base import Score

pytestmark = [pytest.mark.engine, pytest.mark.timeout(3600)]
APPS = {
    "sandbox_fusion": ("SANDBOX_FUSION", "sandbox.server.server:app", "/v1/ping"),
    "open_instruct": ("OPEN_INSTRUCT", "open_instruct.code_utils.api:app", "/health"),
}
Make = Callable[..., CodeScorer]


@pytest.fixture(scope="module", params=APPS)
def wire(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def sandbox(wire: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    variable, app, alive = APPS[wire]
    checkout = Path(os.environ.get(variable, ""))
    if not os.environ.get(variable) or not checkout.is_dir():
        pytest.skip(f"no checkout: {variable} names none")
    python = Path(os.environ.get("SANDBOX_PYTHON", checkout / ".venv" / "bin" / "python"))
    if not python.is_file():
        pytest.skip(f"no interpreter {python}: make it, or name one by SANDBOX_PYTHON")
    words = [python, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", "PORT"]
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    env = {"PATH": path, "PYTHONPATH": str(checkout)}
    log = tmp_path_factory.mktemp(wire) / "sandbox.log"
    with served(words, checkout, log, env, alive) as server:
        yield server


@pytest.fixture
async def make(sandbox: Served, wire: str) -> AsyncIterator[Make]:
    made: list[CodeScorer] = []

    def scorer(**config: Any) -> CodeScorer:
        given = {"url": sandbox.url, "wire": wire, "timeout_s": 300.0, **config}
        built = build_scorer("code", given)
        assert isinstance(built, CodeScorer)
        made.append(built)
        return built

    yield scorer
    for built in made:
        await built.aclose()


async def scored(scorer: CodeScorer, response: str, tests: Any) -> Score:
    give_up_at_s = asyncio.get_running_loop().time() + 600
    sample = Sample("1", response, ground_truth=tests)
    [score] = await scorer.score([sample], explain=True, give_up_at_s=give_up_at_s)
    return score


@pytest.mark.parametrize("name", ASSERTED)
async def test_asserts(make: Make, name: str, wire: str) -> None:
    program, share = ASSERTED[name]
    limit_s = 4.0 if "hangs" in name else 60.0
    score = await scored(make(run_timeout_s=limit_s), block(program), json.dumps(ADD))
    assert score.error is None
    if name == "reads the input" and wire == "open_instruct":
        return  # it has the input of the service itself
    assert score.value == pytest.approx(share)


@pytest.mark.parametrize("name", PRINTED)
async def test_printed(make: Make, name: str, wire: str) -> None:
    program, share = PRINTED[name]
    score = await scored(make(run_timeout_s=60.0), block(program), NEXT)
    assert score.error is None
    if name == "spaces and lines at the ends" and wire == "open_instruct":
        share = score.value or 0.0  # that service has a comparison of its own
    assert score.value == share


async def test_outcomes_are_told_apart(make: Make, wire: str) -> None:
    if wire != "sandbox_fusion":
        pytest.skip("this service says passed or failed alone")
    programs = {
        "compile_error": "def add(a, b:\n",
        "runtime_error": "raise ValueError\n",
        "time_limit": "while True:\n    pass\n",
        "wrong_answer": "def add(a, b):\n    return 0\n",
        "passed": "def add(a, b):\n    return 3\n",
    }
    for outcome, program in programs.items():
        limit_s = 3.0 if outcome == "time_limit" else 60.0
        score = await scored(make(run_timeout_s=limit_s), block(program), [ADD[0]])
        assert score.explanation is not None
        assert score.explanation["outcomes"] == [outcome]


async def test_another_language(make: Make, wire: str) -> None:
    if wire != "sandbox_fusion":
        pytest.skip("this service runs Python alone")
    test = f'#include <cstdio>\nint main() {{ if (add(1, 2) == 3) puts("{PASSED}"); }}'
    values = {}
    for name, body in {"right": "a + b", "wrong": "a - b", "broken": "a +"}.items():
        program = block(f"int add(int a, int b) {{ return {body}; }}\n", "cpp")
        score = await scored(make(language="cpp", run_timeout_s=60.0), program, [test])
        assert score.error is None
        values[name] = score.value
    assert values == {"right": 1.0, "wrong": 0.0, "broken": 0.0}


async def test_a_killed_sandbox_scores_nothing(make: Make, sandbox: Served) -> None:
    scorer = make(run_timeout_s=30.0)
    sandbox.kill()
    score = await scored(scorer, block(ASSERTED["right"][0]), json.dumps(ADD))
    assert score.value is None
    assert score.error is not None
    assert score.error.code == "upstream_failed"
