"""Programs run by a sandbox: a wrong program has a score, a failing sandbox gives null."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.clients.peers import Action, Drip, Hang, Reply, Reset, Script, Seen
from tests.reward_server.remote.conftest import StartPeer, in_turn
from tests.reward_server.remote.programs import ADD, ASSERTED, NEXT, PRINTED, block
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.remote.code import CodeScorer
from touchstone_rewards.reward_server.remote.code_block import code_in
from touchstone_rewards.reward_server.remote.code_tests import PASSED, same_output
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers import build_scorer
from touchstone_rewards.reward_server.scorers.base import Score

Make = Callable[..., CodeScorer]
GOOD = block("def add(a, b):\n    return a + b\n")


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[CodeScorer] = []

    def scorer(url: str, **config: Any) -> CodeScorer:
        given = {"url": url.removesuffix("/v1"), "wire": "sandbox_fusion", **config}
        built = build_scorer("code", given)
        assert isinstance(built, CodeScorer)
        made.append(built)
        return built

    yield scorer
    for built in made:
        await built.aclose()


async def scored(
    scorer: CodeScorer, response: str, tests: Any, within_s: float = 120.0, **fields: Any
) -> Score:
    sample = Sample("1", response, ground_truth=tests, **fields)
    give_up_at_s = asyncio.get_running_loop().time() + within_s
    [score] = await scorer.score([sample], explain=True, give_up_at_s=give_up_at_s)
    return score


def why(score: Score) -> str:
    assert score.value is None
    assert score.error is not None
    assert score.error.code == "upstream_failed"
    return score.error.message


def told(score: Score) -> dict[str, Any]:
    assert score.explanation is not None
    return score.explanation


def run_here(request: Seen) -> Action:
    """A sandbox in SandboxFusion's wire for the programs of these tests: a Python process."""
    body = request.body
    command = [sys.executable, "-c", body["code"]]
    try:
        done = subprocess.run(
            command, input=body["stdin"].encode(), capture_output=True, timeout=body["run_timeout"]
        )
    except subprocess.TimeoutExpired as error:
        printed = (error.stdout or b"").decode()
        return ran(None, printed, status="Failed", ended="TimeLimitExceeded")
    ok = "Success" if done.returncode == 0 else "Failed"
    return ran(done.returncode, done.stdout.decode(), done.stderr.decode(), status=ok)


def ran(
    code: int | None,
    stdout: str = "",
    stderr: str = "",
    *,
    status: str = "Success",
    ended: str = "Finished",
    **more: Any,
) -> Reply:
    result = {"status": ended, "return_code": code, "stdout": stdout, "stderr": stderr}
    return Reply(200, {"status": status, "message": "", "run_result": result, **more})


@pytest.mark.parametrize("name", ASSERTED)
async def test_asserts_count_only_where_they_were_seen_to_pass(
    start_peer: StartPeer, make: Make, name: str
) -> None:
    program, share = ASSERTED[name]
    peer = await start_peer(run_here)
    limit_s = 4.0 if "hangs" in name else 50.0
    scorer = make(peer.url, run_timeout_s=limit_s, timeout_s=100.0)
    score = await scored(scorer, block(program), json.dumps(ADD))
    assert score.value == pytest.approx(share)
    assert told(score)["passed"] == round(3 * share)
    assert len(peer.seen) == 1, "all asserts in one run"


@pytest.mark.parametrize("name", PRINTED)
async def test_what_is_printed_is_held_against_each_output(
    start_peer: StartPeer, make: Make, name: str
) -> None:
    program, share = PRINTED[name]
    peer = await start_peer(run_here)
    scorer = make(peer.url, run_timeout_s=50.0, timeout_s=100.0)
    assert (await scored(scorer, block(program), NEXT)).value == share
    everything = make(peer.url, credit="all", run_timeout_s=50.0, timeout_s=100.0)
    assert (await scored(everything, block(program), NEXT)).value == float(share == 1)


async def test_the_ways_to_fail_are_told_apart(start_peer: StartPeer, make: Make) -> None:
    compiled = {"status": "Finished", "return_code": 1, "stderr": "error: expected ';'"}
    answers = {
        "compile_error": Reply(200, {"status": "Failed", "compile_result": compiled}),
        "time_limit": ran(None, "2\n", status="Failed", ended="TimeLimitExceeded"),
        "runtime_error": ran(139, "2\n", "segmentation fault", status="Failed"),
        "wrong_answer": ran(0, "3\n"),
        "passed": ran(0, "2\n"),
    }
    for outcome, answer in answers.items():
        peer = await start_peer(in_turn(answer))
        test = [{"input": "1", "output": "2"}]
        score = await scored(make(peer.url, language="cpp"), block("x\n", "c++"), json.dumps(test))
        assert told(score)["outcomes"] == [outcome]
        assert score.value == float(outcome == "passed")


async def test_a_syntax_error_is_found_once(start_peer: StartPeer, make: Make) -> None:
    peer = await start_peer(run_here)
    score = await scored(make(peer.url), block("print(1\n"), NEXT)
    assert told(score)["outcomes"] == ["compile_error"] * 2
    assert "SyntaxError" in told(score)["stderr"]
    assert len(peer.seen) == 1


async def test_a_flood_beyond_what_is_read_is_the_programs_fault(
    start_peer: StartPeer, make: Make
) -> None:
    peer = await start_peer(in_turn(ran(0, "x" * 9_000_000)))
    score = await scored(make(peer.url), GOOD, '[{"input": "", "output": "1"}]')
    assert score.value == 0.0
    assert told(score)["outcomes"] == ["output_limit"]


BAD: dict[str, tuple[Action, str]] = {
    "says that it failed": (
        Reply(200, {"status": "SandboxError", "message": "no space left on device"}),
        "the sandbox failed: 'no space left on device'",
    ),
    "another shape": (Reply(200, {"detail": "internal"}), "no result of a run"),
    "no return code": (ran(None), "no result of a run"),
    "says Success of a failed run": (ran(1), "no result of a run"),
    "says Failed of a good run": (ran(0, status="Failed"), "no result of a run"),
    "an error within": (ran(None, status="Success", ended="Error"), "no result of a run"),
    "null": (Reply(200, "null"), "no JSON object"),
    "truncated JSON": (Reply(200, '{"status": "Succ'), "no JSON object"),
    "lost output": (ran(0, ""), "lost its output"),
    "a storm of 429": (Reply(429, "busy"), "answered 429: 'busy'"),
    "no such language": (Reply(422, {"detail": "language"}), "answered 422"),
    "a hang": (Hang(), "did not answer within"),
    "a drip": (Drip(), "did not answer within"),
    "a reset": (Reset(), "gave no answer"),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_a_sandbox_gets_wrong_is_null(
    start_peer: StartPeer, make: Make, name: str
) -> None:
    action, message = BAD[name]
    peer = await start_peer(in_turn(action))
    limits = {"timeout_s": 0.2, "run_timeout_s": 0.1, "compile_timeout_s": 0.05}
    score = await scored(make(peer.url, **limits), GOOD, json.dumps(ADD), within_s=1.0)
    assert message in why(score)


async def test_one_run_that_the_sandbox_fails_makes_the_sample_null(
    start_peer: StartPeer, make: Make
) -> None:
    failed = Reply(200, {"status": "SandboxError", "message": "x"})
    peer = await start_peer(in_turn(ran(0, "2"), failed))
    assert "the sandbox failed" in why(await scored(make(peer.url), GOOD, NEXT))


async def test_output_that_was_lost_is_asked_for_again(start_peer: StartPeer, make: Make) -> None:
    peer = await start_peer(in_turn(ran(0, ""), ran(0, "2")))
    test = '[{"input": "1", "output": "2"}]'
    assert (await scored(make(peer.url), GOOD, test)).value == 1.0
    assert len(peer.seen) == 2


async def test_in_other_languages_a_test_prints_that_it_passed(
    start_peer: StartPeer, make: Make
) -> None:
    test = f'int main() {{ if (f() == 1) std::cout << "{PASSED}"; }}'

    def runs(request: Seen) -> Action:
        program: str = request.body["code"]
        nonce = program.split('<< "')[1].split('"')[0]
        assert PASSED not in program
        printed = nonce if "return 1" in program else PASSED
        return ran(0, printed)

    peer = await start_peer(runs)
    scorer = make(peer.url, language="cpp")
    good, bad = block("int f() { return 1; }\n", "cpp"), block("int f() { return 2; }\n", "cpp")
    assert (await scored(scorer, good, [test])).value == 1.0
    assert (await scored(scorer, bad, [test])).value == 0.0


@pytest.mark.parametrize(
    ("tests", "code"),
    [
        (None, "missing_field"),
        ("[]", "bad_ground_truth"),
        ("x = 1", "bad_ground_truth"),
        ("assert add(1, 2 == 3", "bad_ground_truth"),
        ("46", "bad_ground_truth"),
        ('{"inputs": ["1"], "outputs": []}', "bad_ground_truth"),
        ('{"inputs": [], "outputs": []}', "bad_ground_truth"),
        ('{"inputs": ["1"], "outputs": ["1"], "fn_name": "f"}', "bad_ground_truth"),
        ('[{"input": "1", "output": " \\n"}]', "bad_ground_truth"),
        ('[{"input": "1"}]', "bad_ground_truth"),
        ('[{"input": "1", "output": 2}]', "bad_ground_truth"),
        ('["assert add(1, 1) == 2", ""]', "bad_ground_truth"),
    ],
)
async def test_tests_that_cannot_be_used_are_the_datas_fault(
    make: Make, tests: Any, code: str
) -> None:
    score = await scored(make("http://127.0.0.1:9"), GOOD, tests)
    assert score.value is None
    assert score.error is not None
    assert score.error.code == code


async def test_tests_may_stand_in_the_metadata(start_peer: StartPeer, make: Make) -> None:
    peer = await start_peer(run_here)
    scorer = make(peer.url, tests="metadata.tests")
    assert scorer.reads == ("response", "metadata")
    metadata = {"tests": [{"input": "1", "output": "2"}]}
    response = block("print(int(input()) + 1)\n")
    assert (await scored(scorer, response, None, metadata=metadata)).value == 1.0


async def test_of_many_tests_the_first_are_run(start_peer: StartPeer, make: Make) -> None:
    peer = await start_peer(run_here)
    score = await scored(make(peer.url, max_tests=2), GOOD, json.dumps(ADD))
    assert score.value == 1.0
    assert (told(score)["tests"], told(score)["tests_left_out"]) == (2, 1)


BLOCKS: dict[str, tuple[str, str | None]] = {
    "the last one": ("```python\na\n```\n```py\nb\n```", "b"),
    "without a name": ("```\na\n```", "a"),
    "of the language, not another": ("```python\na\n```\n```bash\nb\n```", "a"),
    "not what is printed": ("```python\na\n```\nOutput:\n```text\nb\n```", "a"),
    "closed ones alone": ("```python\na\n```\n```python\nb", "a"),
    "none": ("def f(): pass", None),
    "code within a line": ("use ```f()``` here\n```python\na\n```", "a"),
    "with longer fences": ("````python\n```\na\n````", "```\na"),
    "with tildes": ("~~~python\na\n~~~", "a"),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_which_block_is_taken(name: str) -> None:
    response, expected = BLOCKS[name]
    assert code_in(response, "python") == expected


@pytest.mark.parametrize(
    "response", ["", "def add(a, b): ...", "<think>```python\nx\n```", "```\n \n```"]
)
async def test_a_response_that_hands_in_no_code_costs_no_run(make: Make, response: str) -> None:
    score = await scored(make("http://127.0.0.1:9"), response, json.dumps(ADD))
    assert score.value == 0.0
    assert "has no closed block of python" in told(score)["rule"]


def test_outputs_are_compared_line_by_line() -> None:
    assert same_output("1  2 \n3\n\n", "1  2\n3")
    assert not same_output("1 2", "1  2")
    assert not same_output("\n1", "1")


def by_open_instruct(results: Callable[[list[Any]], Any]) -> Script:
    def act(request: Seen) -> Action:
        found = results(request.body["tests"])
        return Reply(200, {"results": found, "runtimes": [0.1] * len(found)})

    return act


async def test_open_instructs_wire(start_peer: StartPeer, make: Make) -> None:
    peer = await start_peer(by_open_instruct(lambda tests: [1, 0, 1, 1, 0]))
    scorer = make(peer.url, wire="open_instruct", run_timeout_s=2.0)
    score = await scored(scorer, GOOD, json.dumps(ADD))
    assert score.value == pytest.approx(2 / 3)
    seen = peer.seen[0]
    assert seen.path == "/test_program"
    assert seen.body["program"] == "def add(a, b):\n    return a + b"
    assert seen.body["max_execution_time"] == 2.0
    stdio = await start_peer(by_open_instruct(lambda tests: [1, 1, 0]))
    assert (await scored(make(stdio.url, wire="open_instruct"), GOOD, NEXT)).value == 1.0
    assert stdio.seen[0].path == "/test_program_stdio"
    assert stdio.seen[0].body["tests"][:2] == [
        {"input": "1\n", "output": "2\n"},
        {"input": "41\n", "output": "42"},
    ]


@pytest.mark.parametrize(
    ("results", "note"),
    [([1, 1, 1, 1, 1], "a test that must fail"), ([0, 0, 0, 0, 0], "does not run to its end")],
)
async def test_a_program_that_forges_or_ends_early_earns_nothing_there(
    start_peer: StartPeer, make: Make, results: list[int], note: str
) -> None:
    peer = await start_peer(by_open_instruct(lambda tests: results))
    score = await scored(make(peer.url, wire="open_instruct"), GOOD, json.dumps(ADD))
    assert score.value == 0.0
    assert note in told(score)["note"]


@pytest.mark.parametrize(
    "results", [[1], [1, 1, 1, 1, 0, 0], [1, 1, 2, 1, 0], [1, 1, None, 1, 0], [1, 1, [1], 1, 0], 3]
)
async def test_other_results_there_are_null(
    start_peer: StartPeer, make: Make, results: Any
) -> None:
    peer = await start_peer(in_turn(Reply(200, {"results": results, "runtimes": []})))
    score = await scored(make(peer.url, wire="open_instruct"), GOOD, json.dumps(ADD))
    assert "expected 5 results of 0 or 1" in why(score)


async def test_what_that_service_does_not_run_is_no_wrong_answer(
    start_peer: StartPeer, make: Make
) -> None:
    peer = await start_peer(by_open_instruct(lambda tests: [0] * len(tests)))
    scorer = make(peer.url, wire="open_instruct")
    score = await scored(scorer, block("import os\n"), json.dumps(ADD))
    assert score.error is not None
    assert score.error.code == "unsupported_input"


REFUSED: dict[str, dict[str, Any]] = {
    "wire is 'podman'": {"wire": "podman"},
    "language is 'klingon'": {"language": "klingon"},
    "runs only Python": {"wire": "open_instruct", "language": "cpp"},
    "tests is 'prompt'": {"tests": "prompt"},
    "leaves no time for an answer": {"timeout_s": 10},
    "there is no key 'api_key'": {"api_key": "sk-secret"},
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_wrong_config_is_one_line(message: str) -> None:
    config = {"url": "http://x", "wire": "sandbox_fusion", **REFUSED[message]}
    with pytest.raises(ConfigError) as caught:
        build_scorer("code", config)
    assert message in str(caught.value)
    assert "sk-secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
