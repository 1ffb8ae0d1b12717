"""Graders of other projects as functions that a profile can name, for `benchmarks.audit`."""

from __future__ import annotations

import ast
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional


def math_verify(response: str, ground_truth: str) -> float:
    """Return 1 if Math-Verify, called as in its README, accepts the response."""
    from math_verify import parse, verify  # pyright: ignore[reportMissingImports]

    return float(verify(parse(f"${ground_truth}$"), parse(response)))


def open_r1_accuracy(completions: list[list[dict[str, str]]], solution: list[str]) -> Any:
    """Return the result of open-r1's `accuracy_reward`."""
    return _open_r1()(completions, solution)


@functools.cache
def _open_r1() -> Callable[..., Any]:
    """Load that function from a checkout's file, without the file's other imports (an older TRL,
    sandboxes)."""
    import latex2sympy2_extended  # pyright: ignore[reportMissingImports]
    import math_verify  # pyright: ignore[reportMissingImports]

    checkouts = Path(os.environ["TOUCHSTONE_CONTRACT"])
    file = checkouts / "open-r1" / "src" / "open_r1" / "rewards.py"
    names: dict[str, Any] = {"Optional": Optional}
    for module in (latex2sympy2_extended, math_verify):
        names |= vars(module)
    [found] = [
        node
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if getattr(node, "name", None) == "accuracy_reward"
    ]
    exec(compile(ast.Module([found], []), str(file), "exec"), names)
    return names["accuracy_reward"]
