"""Coverage-guided fuzzing of the math engine: no crash, no hang, no memory growth.

    pip install atheris
    python tests/fuzz/fuzz_math.py -max_total_time=600 -max_len=400 CORPUS_FOLDER

Each input is split into a response and a ground truth; both ways round are judged. What it may
raise is an unreadable ground truth, and nothing else. libFuzzer's `-timeout` finds hangs (here a
second and a half of one pair is a crash as well) and `-rss_limit_mb` growth. A finding becomes a
case in `tests/reward_server/scorers/math/test_findings.py`.
"""

from __future__ import annotations

import sys
import time

import atheris  # pyright: ignore[reportMissingImports]

with atheris.instrument_imports(include=["touchstone_rewards.reward_server.scorers.math"]):  # pyright: ignore
    from touchstone_rewards.reward_server.scorers.math import (
        UnreadableGroundTruth,
        math_check,
        math_equal,
    )

MAX_PAIR_S = 1.5
# Pieces of answers: bytes below 128 are text, those above pick one of these.
PIECES = (
    "\\frac{", "\\sqrt{", "}", "\\left(", "\\right)", "\\boxed{", "\\text{ or }", "\\pi", "\\infty",
    "\\cup", "\\begin{pmatrix}", "\\end{pmatrix}", " & ", "\\\\", "\\{", "\\}", "\\pm ",
    "\\le ", "^{",
    "_{", "\\sum_{k=1}^{n}", "\\sin ", "\\log_{2}", "|", "x", "n", "i", "10^{100}", "!", "\\%",
    "\\text{ cm}", "\\mid ", "\\in ", "\\mathbb{R}", "(1, 2]", "\\binom{5}{2}", "\\lfloor ",
    "\\rfloor ", "0.\\overline{3}", "_{7}", "^\\circ", "<answer>", "</answer>", "####", "</think>",
    "\\begin{cases}", "\\end{cases}", "\\ne ", "\\setminus ", "1e999999", "\\ldots ", "\\det ",
    " and ", ", ", "=", "f(x)", "\\prod_{k=1}^{9}", "\\operatorname{lcm}(", "\\ln ", "\\mod ",
    "：", "²",
)  # fmt: skip


def spelled(data: bytes) -> str:
    return "".join(chr(b) if b < 128 else PIECES[(b - 128) % len(PIECES)] for b in data)


def judge(response: str, truth: str) -> None:
    for verdict in (math_equal, lambda given, wanted: math_check(given, wanted).equal):
        try:
            if verdict(response, truth) not in (True, False):
                raise AssertionError("a verdict that is neither yes nor no")
        except UnreadableGroundTruth:
            continue


def one_input(data: bytes) -> None:
    left, _, right = data.partition(b"\x00")
    started_s = time.process_time()
    judge(spelled(left), spelled(right))
    judge(spelled(right), spelled(left))
    judge(spelled(left) + " ", spelled(left))
    if time.process_time() - started_s > MAX_PAIR_S:
        raise TimeoutError(f"{time.process_time() - started_s:.1f} s")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
