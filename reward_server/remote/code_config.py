"""Configuration of a sandbox service and of the tests it runs."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from touchstone_rewards.reward_server.remote.endpoint import EndpointConfig
from touchstone_rewards.reward_server.scorers.rules.rule import METADATA, ResponsePart

SandboxWire = Literal["sandbox_fusion", "open_instruct"]
SandboxLanguage = Literal[
    "python",
    "cpp",
    "nodejs",
    "typescript",
    "go",
    "java",
    "csharp",
    "rust",
    "bash",
    "php",
    "lua",
    "R",
    "perl",
    "ruby",
    "scala",
    "julia",
    "swift",
    "racket",
    "kotlin_script",
]


class CodeConfig(EndpointConfig):
    """Config of the `code` scorer."""

    wire: SandboxWire = Field(description="protocol of the sandbox service")
    language: SandboxLanguage = Field(
        default="python", description="language of the program, by SandboxFusion's name"
    )
    tests: str = Field(
        default="ground_truth",
        pattern=r"^(ground_truth|metadata\..+)$",
        description="field with the tests",
    )
    credit: Literal["share", "all"] = Field(
        default="share", description="score the share of tests passed, or 1 only if all pass"
    )
    part: ResponsePart = "said"
    run_timeout_s: float = Field(
        default=10.0, gt=0, description="limit for one run: one input, or all asserts together"
    )
    compile_timeout_s: float = Field(default=10.0, gt=0, description="limit for compiling")
    memory_mb: int = Field(
        default=1024, ge=1, description="memory limit of a run; SandboxFusion only"
    )
    max_tests: int = Field(default=100, ge=1, description="run at most this many tests")
    tests_in_flight: int = Field(default=4, ge=1, description="concurrent runs per sample")

    @model_validator(mode="after")
    def _check_language(self) -> Self:
        if self.wire == "open_instruct" and self.language != "python":
            raise ValueError(f"wire open_instruct runs only Python, not {self.language}")
        if self.timeout_s <= self.run_timeout_s + self.compile_timeout_s:
            raise ValueError(
                f"timeout_s {self.timeout_s:g} leaves no time for an answer after run_timeout_s "
                f"{self.run_timeout_s:g} and compile_timeout_s {self.compile_timeout_s:g}"
            )
        return self

    @property
    def field(self) -> str:
        """Return the name of the sample field that holds the tests."""
        return "metadata" if self.tests.startswith(METADATA) else self.tests
