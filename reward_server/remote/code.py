"""Run programs from responses against tests in a sandbox service, never in this process.

The score is the share of tests passed, or null if the sandbox failed. Errors of the program are
scored: it does not compile, prints something else, takes too long or floods its output.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any, Literal

from msgspec import json

from touchstone_rewards.reward_server.errors import ConfigError, sample_error
from touchstone_rewards.reward_server.remote.calls_endpoints import CallsEndpoints
from touchstone_rewards.reward_server.remote.code_block import code_in
from touchstone_rewards.reward_server.remote.code_config import CodeConfig
from touchstone_rewards.reward_server.remote.code_python import (
    DIGEST,
    HARNESS,
    guarded,
    harness_input,
    reported,
)
from touchstone_rewards.reward_server.remote.code_runs import (
    STDERR_CHARS,
    SandboxRun,
    TestedProgram,
    TestOutcome,
    run_code,
)
from touchstone_rewards.reward_server.remote.code_tests import (
    PASSED,
    CodeTests,
    StdioTest,
    same_output,
    tests_of,
)
from touchstone_rewards.reward_server.remote.endpoint import transport_to
from touchstone_rewards.reward_server.remote.failed import UpstreamFailed
from touchstone_rewards.reward_server.remote.together import together
from touchstone_rewards.reward_server.schemas import Sample, is_list
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.scorers.returned import text_of
from touchstone_rewards.reward_server.scorers.rules.rule import Unscorable, configured, part_of

# open-instruct's service refuses programs with these words: it reports every test as failed.
# Source: allenai/open-instruct e6c3044, `open_instruct/code_utils/code_utils.py`, should_execute.
REFUSED_WORDS = (
    *("threading", "multiprocess", "import os", "from os", "shutil", "import torch"),
    *("from torch", "import sklearn", "from sklearn"),
)
SHOWN_OUTCOMES = 100
LONGEST_KEY = 4096


class CodeScorer(CallsEndpoints):
    """Score the program in a response by the share of tests that it passes in a remote sandbox."""

    runs_in: Literal["remote"] = "remote"
    range = (0.0, 1.0)
    reads: tuple[str, ...] = ("response", "ground_truth", "metadata")
    deterministic = True
    config_type = CodeConfig
    version = f"1-{DIGEST}"

    def __init__(self, **config: Any) -> None:
        try:
            self.config: CodeConfig = configured(CodeConfig, config)
            fusion = self.config.wire == "sandbox_fusion"
            self.transport = transport_to(self.config, "/run_code" if fusion else "/test_program")
            self._stdio = transport_to(self.config, "/test_program_stdio")
        except ValueError as error:  # do not show the config: it may hold a key
            raise ConfigError(f"scorer 'code': {error}") from None
        self.reads = ("response", self.config.field)
        self.max_in_flight = self.config.max_in_flight

    async def score(
        self, samples: Sequence[Sample], *, explain: bool = False, give_up_at_s: float | None = None
    ) -> list[Score]:
        """Score each sample; the scores have the order and length of `samples`."""
        return await together([self._score(each, explain, give_up_at_s) for each in samples])

    async def aclose(self) -> None:
        """Close the connections."""
        await self.transport.aclose()
        await self._stdio.aclose()

    async def _score(self, sample: Sample, explain: bool, give_up_at_s: float | None) -> Score:
        try:
            tests = tests_of(sample, self.config.tests, self.config.language)
            said = part_of(sample.response, self.config.part)
            code = code_in(said or "", self.config.language)
            if code is None or not code.strip():
                rule = f"the response has no closed block of {self.config.language}"
                return Score(0.0, None, {"rule": rule} if explain else None)
            found = await self._tested(text_of(code), self._first(tests), give_up_at_s)
        except Unscorable as why:
            return Score(error=sample_error(why.code, str(why)))
        except UpstreamFailed as why:
            error = sample_error("upstream_failed", str(why), retryable=why.retryable)
            return Score(error=error)
        passed = found.outcomes.count("passed")
        share = passed / len(found.outcomes)
        value = share if self.config.credit == "share" else float(share == 1)
        return Score(value, None, self._explanation(found, tests) if explain else None)

    def _first(self, tests: CodeTests) -> CodeTests:
        most = self.config.max_tests
        return CodeTests(tests.stdio[:most], tests.asserts[:most])

    async def _tested(
        self, code: str, tests: CodeTests, give_up_at_s: float | None
    ) -> TestedProgram:
        """Return the outcome of each test.

        Raises:
            UpstreamFailed: the sandbox failed.
            Unscorable: the sandbox does not run such a program.
        """
        if self.config.wire == "open_instruct":
            return await self._by_open_instruct(code, tests, give_up_at_s)
        if tests.stdio:
            return await self._each(code, tests.stdio, give_up_at_s)
        if self.config.language == "python":
            return await self._asserted(code, tests.asserts, give_up_at_s)
        return await self._each(code, tests.asserts, give_up_at_s)

    async def _asserted(
        self, code: str, tests: Sequence[str], give_up_at_s: float | None
    ) -> TestedProgram:
        """Run all asserts of a Python program in one run."""
        for _ in range(2):
            nonce = secrets.token_hex(16)
            run = await self._run(HARNESS, harness_input(code, tests, nonce), give_up_at_s)
            found = reported(run, len(tests), nonce)
            if found is not None:
                return found
        raise UpstreamFailed("the sandbox ran a program and lost its output", answered=True)

    async def _each(
        self, code: str, tests: Sequence[StdioTest | str], give_up_at_s: float | None
    ) -> TestedProgram:
        """Run each test separately; stop if the program does not compile."""
        outcomes: list[TestOutcome] = []
        stderr = ""
        rest = list(tests)
        while rest:
            # Run the first test alone: it reveals faults that affect all tests.
            most = self.config.tests_in_flight if outcomes else 1
            now, rest = rest[:most], rest[most:]
            asked = (self._one(code, test, give_up_at_s) for test in now)
            for outcome, run in await asyncio.gather(*asked):
                outcomes.append(outcome)
                stderr = stderr or run.stderr
            failed = any(outcome != "passed" for outcome in outcomes)
            if "compile_error" in outcomes or (failed and self.config.credit == "all"):
                compiles = "compile_error" not in outcomes
                outcomes += _all("not_run" if compiles else "compile_error", len(rest))
                break
        return TestedProgram(outcomes, stderr)

    async def _one(
        self, code: str, test: StdioTest | str, give_up_at_s: float | None
    ) -> tuple[TestOutcome, SandboxRun]:
        """Return the outcome and the run of one test. Repeat a run without output once, because
        SandboxFusion may stop reading too early.
        """
        nonce = secrets.token_hex(16)
        if isinstance(test, str):
            program, stdin = f"{code}\n{text_of(test).replace(PASSED, nonce)}\n", ""
        else:
            program, stdin = code, test.stdin
        run = await self._run(program, stdin, give_up_at_s)
        expects = isinstance(test, str) or bool(test.stdout.strip())
        if run.silent and expects:
            run = await self._run(program, stdin, give_up_at_s)
        if run.ended != "passed":
            return run.ended, run
        right = (
            nonce in run.stdout.split()
            if isinstance(test, str)
            else same_output(run.stdout, test.stdout)
        )
        return ("passed" if right else "wrong_answer"), run

    async def _run(self, program: str, stdin: str, give_up_at_s: float | None) -> SandboxRun:
        return await run_code(self.transport, self.config, program, stdin, give_up_at_s)

    async def _by_open_instruct(
        self, code: str, tests: CodeTests, give_up_at_s: float | None
    ) -> TestedProgram:
        """Send all tests in one request, with two control tests.

        One control test must fail for every program; the other must pass for every program that
        runs to its end.
        """
        nonce = secrets.token_hex(16)
        sent: list[Any]
        if tests.stdio:
            sent = [{"input": test.stdin, "output": test.stdout} for test in tests.stdio]
            sent.append({"input": tests.stdio[0].stdin, "output": nonce})
        else:
            sent = [*map(guarded, tests.asserts), "pass", f"raise AssertionError({nonce!r})"]
        count = len(tests.stdio or tests.asserts)
        transport = self._stdio if tests.stdio else self.transport
        limit_s = self.config.run_timeout_s
        body = json.encode({"program": code, "tests": sent, "max_execution_time": limit_s})
        answer = await transport.post(body, give_up_at_s)
        results = answer.get("results")
        if not is_list(results) or len(results) != len(sent) or not all(map(_is_result, results)):
            raise transport.misshapen(
                json.encode(answer), f"expected {len(sent)} results of 0 or 1"
            )
        if results[-1]:
            note = "the program passes a test that must fail"
            return TestedProgram(_all("wrong_answer", count), note=note)
        if not any(results) and any(word in code for word in REFUSED_WORDS):
            message = "the sandbox does not run programs that contain one of: "
            raise Unscorable("unsupported_input", message + ", ".join(REFUSED_WORDS))
        if tests.asserts and not results[count]:
            note = "the program does not run to its end in time"
            return TestedProgram(_all("runtime_error", count), note=note)
        outcomes: list[TestOutcome] = [
            "passed" if each else "wrong_answer" for each in results[:count]
        ]
        return TestedProgram(outcomes)

    def _end_of(self, stderr: str) -> str:
        """Return the end of the program's error output. Redact the key before cutting, so that no
        part of it remains.
        """
        return self.transport.told(stderr[-STDERR_CHARS - LONGEST_KEY :])[-STDERR_CHARS:]

    def _explanation(self, found: TestedProgram, tests: CodeTests) -> dict[str, Any]:
        run = len(found.outcomes)
        told: dict[str, Any] = {
            "tests": run,
            "passed": found.outcomes.count("passed"),
            "tests_left_out": len(tests.stdio or tests.asserts) - run,
            "outcomes": list(found.outcomes[:SHOWN_OUTCOMES]),
            "style": "stdio" if tests.stdio else "asserts",
            "language": self.config.language,
            "note": self.transport.told(found.note),
            "stderr": self._end_of(found.stderr),
        }
        return {
            name: value for name, value in told.items() if value not in ("", 0) or name == "passed"
        }


def _all(outcome: TestOutcome, count: int) -> list[TestOutcome]:
    return [outcome] * count


def _is_result(one: object) -> bool:
    return type(one) is int and one in (0, 1)
