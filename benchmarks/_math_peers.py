"""Print one peer's verdicts, for `benchmarks.math`; run by the peer's own Python.

    python _math_peers.py PEER CASES FIRST [CHECKOUT]

CASES is JSONL with kind, prediction and truth. From case number FIRST on, prints one JSON line per
case: the verdict (null after an error), the processor seconds and the wall-clock seconds. PEER is
math_verify, qwen or prm800k.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
from collections.abc import Callable

Judge = Callable[[str, str, str], bool]


def last_box(text: str) -> str:
    """Return the content of the last box, else the whole text; for peers without extraction."""
    at = text.rfind("\\boxed{")
    if at < 0:
        return text
    depth = 0
    for end in range(at, len(text)):
        depth += (text[end] == "{") - (text[end] == "}")
        if text[end] == "}" and depth == 0:
            return text[at + len("\\boxed{") : end]
    return text


def math_verify(checkout: str) -> Judge:
    from math_verify import parse, verify  # pyright: ignore[reportMissingImports]

    def judge(kind: str, prediction: str, truth: str) -> bool:
        given = prediction if kind == "extract" else f"\\boxed{{{prediction}}}"
        return bool(verify(parse(f"\\boxed{{{truth}}}"), parse(given)))

    return judge


def qwen(checkout: str) -> Judge:
    os.chdir(checkout)
    sys.path[:0] = [checkout, f"{checkout}/latex2sympy"]
    from grader import math_equal  # pyright: ignore[reportMissingImports]
    from parser import extract_answer, strip_string  # pyright: ignore

    def judge(kind: str, prediction: str, truth: str) -> bool:
        given = (
            extract_answer(prediction, "math") if kind == "extract" else strip_string(prediction)
        )
        return bool(math_equal(given, strip_string(truth), timeout=False))

    return judge


def prm800k(checkout: str) -> Judge:
    sys.path.insert(0, checkout)
    from grading.grader import grade_answer  # pyright: ignore[reportMissingImports]

    def judge(kind: str, prediction: str, truth: str) -> bool:
        return bool(grade_answer(last_box(prediction) if kind == "extract" else prediction, truth))

    return judge


PEERS: dict[str, Callable[[str], Judge]] = {
    "math_verify": math_verify,
    "qwen": qwen,
    "prm800k": prm800k,
}


def main(peer: str, cases: str, first: str, checkout: str = "") -> None:
    out = sys.stdout
    with contextlib.redirect_stdout(io.StringIO()):
        judge = PEERS[peer](checkout)
        judge("answer", "1", "2")  # warm up
    with open(cases, encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    for row in rows[int(first) :]:
        began_s, clock_s = time.process_time(), time.perf_counter()
        verdict: bool | None = None
        # A peer may print, raise or exit: that fails one case, not the run.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(BaseException):
            verdict = judge(row["kind"], row["prediction"], row["truth"])
        took_s = [time.process_time() - began_s, time.perf_counter() - clock_s]
        print(json.dumps([verdict, *took_s]), file=out, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
