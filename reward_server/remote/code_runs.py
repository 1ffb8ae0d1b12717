"""Run one program in SandboxFusion by `/run_code` and return how it ended and its output.

A failure of the sandbox raises `UpstreamFailed`, also where it is reported with HTTP 200.

Source: bytedance/SandboxFusion 469de08, `sandbox/server/sandbox_api.py` and
`sandbox/runners/types.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from msgspec import json

from touchstone_rewards.reward_server.remote.code_config import CodeConfig
from touchstone_rewards.reward_server.remote.failed import AnswerTooLarge, UpstreamFailed
from touchstone_rewards.reward_server.remote.transport import SHOWN_CHARS, UpstreamTransport
from touchstone_rewards.reward_server.schemas import is_object

# Outcome of a test. Every outcome but the first is the program's fault.
TestOutcome = Literal[
    "passed",
    "wrong_answer",
    "compile_error",
    "runtime_error",
    "time_limit",
    "output_limit",
    "not_run",  # an earlier test had already failed
]
STDERR_CHARS = 300
_SYNTAX = ("SyntaxError", "IndentationError", "TabError")


class SandboxRun(NamedTuple):
    """How a run ended and its output.

    `passed`: the program ended without an error; its output is not yet checked. `silent`: it passed
    without output, or the sandbox lost the output.
    """

    ended: TestOutcome
    stdout: str = ""
    stderr: str = ""

    @property
    def silent(self) -> bool:
        return self.ended == "passed" and not self.stdout.strip()


async def run_code(
    transport: UpstreamTransport,
    config: CodeConfig,
    code: str,
    stdin: str,
    give_up_at_s: float | None,
) -> SandboxRun:
    """Run one program with one input.

    Raises:
        UpstreamFailed: the sandbox did not run the program.
    """
    body: dict[str, str | float] = {
        "code": code,
        "stdin": stdin,
        "language": config.language,
        "run_timeout": config.run_timeout_s,
        "compile_timeout": config.compile_timeout_s,
        "memory_limit_MB": config.memory_mb,
    }
    try:
        answer = await transport.post(json.encode(body), give_up_at_s)
    except AnswerTooLarge:
        return SandboxRun("output_limit")
    return _read(transport, answer)


def _read(transport: UpstreamTransport, answer: dict[str, Any]) -> SandboxRun:
    status, message = answer.get("status"), answer.get("message")
    if status == "SandboxError":
        said = repr(transport.told(str(message))[:SHOWN_CHARS])
        raise UpstreamFailed(f"the sandbox failed: {said}", answered=True)
    compiled, ran = answer.get("compile_result"), answer.get("run_result")
    if compiled is not None:
        ended = _ended(compiled)
        if ended is None:
            raise transport.misshapen(json.encode(answer), "no result of compiling")
        if ended != "passed":
            return SandboxRun("compile_error", stderr=_text(compiled, "stderr"))
    ended = _ended(ran)
    if ended is None or status != ("Success" if ended == "passed" else "Failed"):
        raise transport.misshapen(json.encode(answer), "no result of a run")
    stderr = _text(ran, "stderr")
    last = stderr.rstrip().rpartition("\n")[2]
    if ended == "runtime_error" and last.startswith(_SYNTAX):
        ended = "compile_error"
    return SandboxRun(ended, _text(ran, "stdout"), stderr)


def _ended(result: object) -> TestOutcome | None:
    """Return how a command ended; None if the answer does not say."""
    if not is_object(result):
        return None
    if result.get("status") == "TimeLimitExceeded":
        return "time_limit"
    code = result.get("return_code")
    if result.get("status") != "Finished" or type(code) is not int:
        return None
    return "passed" if code == 0 else "runtime_error"


def _text(result: object, name: str) -> str:
    found = result.get(name) if is_object(result) else None
    return found if isinstance(found, str) else ""


class TestedProgram(NamedTuple):
    """Outcome of each test of a program, and the end of its error output."""

    outcomes: Sequence[TestOutcome]
    stderr: str = ""
    note: str = ""
