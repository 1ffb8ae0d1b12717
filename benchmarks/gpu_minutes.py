"""Measure as much as possible in a few GPU minutes: tests, speed at real sizes, GRPO.

    python -m benchmarks.gpu_minutes --minutes 12
    python -m benchmarks.gpu_minutes --dry_run       # everything on a CPU, at tiny sizes

The most valuable parts run first. Each part runs in a separate process, starts only if enough time
is left, and is killed at the end of the time; its results so far are kept. Results are written
after each part, so that losing the machine costs only the current part.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import RESULTS, ROOT, record
from benchmarks._neural import rows_line

COMMAND = (sys.executable, "-m", "benchmarks.gpu_minutes")
NEURAL = ("torch", "transformers", "msgspec", "pydantic", "httpx2")
TRAINING = (
    *(*NEURAL, "trl", "peft", "datasets", "accelerate"),
    *("fastapi", "uvicorn", "httptools", "pydantic_settings", "flint"),
)


class Part(NamedTuple):
    """Function `function` of `_gpu_parts` with `arguments`; not started with less than `least_s`
    left."""

    name: str
    function: str
    arguments: tuple[Any, ...]
    least_s: float
    modules: tuple[str, ...]


class Outcome(NamedTuple):
    """How a part ended (done, failed, stopped by the time limit, or skipped), and its rows."""

    status: str
    reason: str | None
    seconds: float
    rows: list[dict[str, Any]]


# Most valuable first.
PARTS = (
    Part("tests", "gpu_tests", (), 30, (*NEURAL, "pytest", "xdist", "pytest_asyncio")),
    Part("reward model 0.5B", "reward_model", ("0.5B",), 20, NEURAL),
    Part("grpo transformers", "grpo", (False,), 60, TRAINING),
    Part("reward model 7B", "reward_model", ("7B",), 40, NEURAL),
    Part("embeddings 0.5B", "embeddings", ("0.5B",), 20, NEURAL),
    Part("grpo vllm", "grpo", (True,), 120, (*TRAINING, "vllm")),
    Part("reward model 1.5B", "reward_model", ("1.5B",), 20, NEURAL),
    Part("embeddings 7B", "embeddings", ("7B",), 40, NEURAL),
    Part("embeddings 1.5B", "embeddings", ("1.5B",), 20, NEURAL),
)


def run_parts(
    parts: Sequence[Part],
    left_s: Callable[[], float],
    run: Callable[[Part, float], Outcome],
    save: Callable[[Mapping[str, Outcome]], None],
) -> dict[str, Outcome]:
    """Run the parts that are installed and fit into the remaining time, in order; save after
    each."""
    outcomes: dict[str, Outcome] = {}
    for part in parts:
        missing = [module for module in part.modules if find_spec(module) is None]
        left = left_s()
        if missing:
            outcome = Outcome("skipped", f"not installed: {', '.join(missing)}", 0.0, [])
        elif left < part.least_s:
            reason = f"{max(0.0, left):.0f} s left, but it needs at least {part.least_s:.0f} s"
            outcome = Outcome("skipped", reason, 0.0, [])
        else:
            outcome = run(part, left)
        outcomes[part.name] = outcome
        save(outcomes)
    return outcomes


def wait_for(child: subprocess.Popen[bytes], left_s: float) -> int | None:
    """Return the child's exit code; None if the time ran out first."""
    try:
        return child.wait(timeout=left_s)
    except subprocess.TimeoutExpired:
        return None


def run_part(
    part: Part,
    left_s: float,
    *,
    dry: bool,
    command: Sequence[str] = COMMAND,
    wait: Callable[[subprocess.Popen[bytes], float], int | None] = wait_for,
) -> Outcome:
    """Run one part in a separate process; kill it and its children when the time runs out."""
    with tempfile.TemporaryDirectory() as folder:
        found, log = Path(folder) / "rows.jsonl", Path(folder) / "log"
        words = [f"--part={part.name}", f"--rows={found}", *(["--dry_run"] if dry else [])]
        began_s = time.monotonic()
        with log.open("wb") as output:
            child = subprocess.Popen(
                [*command, *words],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = wait(child, left_s)
            finally:
                _kill_group(child)
        rows = (
            [json.loads(line) for line in found.read_text().splitlines()] if found.is_file() else []
        )
        took_s = time.monotonic() - began_s
        if code is None:
            return Outcome("stopped", f"the time ran out after {took_s:.0f} s", took_s, rows)
        end = " | ".join(log.read_text(errors="replace").strip().splitlines()[-3:])[-500:]
        return Outcome("failed" if code else "done", end if code else None, took_s, rows)


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and its process group, if still running."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def save_outcomes(path: Path, about: Mapping[str, Any], outcomes: Mapping[str, Outcome]) -> None:
    """Write the rows and outcomes of all parts so far, and print those of the last."""
    name, last = list(outcomes.items())[-1]
    print(
        f"== {name}: {last.status}, {last.seconds:.0f} s {last.reason or ''}".rstrip(), flush=True
    )
    rows_line(last.rows)
    rows = [{"part": part, **row} for part, each in outcomes.items() for row in each.rows]
    parts = {
        part: {"status": each.status, "reason": each.reason, "seconds": round(each.seconds, 1)}
        for part, each in outcomes.items()
    }
    record("gpu_minutes", rows, path=path, parts=parts, **about)


def device_name() -> str | None:
    """Return the name of the GPU, None without one; asked in a child process, which keeps memory
    free."""
    code = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done.stdout.strip() or None


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_minutes", description=__doc__)
    add = parser.add_argument
    add("--minutes", type=float, default=12.0, help="total time")
    add("--dry_run", action="store_true", help="run at tiny sizes, on a CPU")
    add("--output", type=Path, help="default: results/gpu_minutes.json; dry: runs/gpu_minutes.json")
    add(
        "--only",
        nargs="+",
        metavar="PART",
        help="run only these parts, in the order listed in PARTS",
    )
    add("--part", help=argparse.SUPPRESS)
    add("--rows", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def measure_here(part: Part, rows: Path, dry: bool) -> None:
    """Run one part in this process; each row is on disk before the next measurement."""
    from benchmarks import _gpu_parts

    with rows.open("a", encoding="utf-8") as file:
        for found in getattr(_gpu_parts, part.function)(*part.arguments, dry):
            file.write(json.dumps(found) + "\n")
            file.flush()


def main(argv: Sequence[str] = ()) -> int:
    """Run the parts; return 0 if none failed, 1 if one did, 2 for wrong arguments or no device."""
    began_s = time.monotonic()
    options = parse(argv)
    named = {part.name: part for part in PARTS}
    if unknown := set(options.only or ()) - set(named):
        known = ", ".join(named)
        print(f"no part {', '.join(sorted(unknown))}; known are {known}", file=sys.stderr)
        return 2
    if options.part:
        measure_here(named[options.part], options.rows, options.dry_run)
        return 0
    device = device_name()
    if device is None and not options.dry_run:
        print(
            "no CUDA device: use --dry_run to run everything at tiny sizes on the CPU",
            file=sys.stderr,
        )
        return 2
    folder = ROOT / "runs" if options.dry_run else RESULTS
    path = options.output or folder / "gpu_minutes.json"
    outcomes = run_parts(
        [part for part in PARTS if not options.only or part.name in options.only],
        lambda: began_s + 60 * options.minutes - time.monotonic(),
        partial(run_part, dry=options.dry_run),
        partial(save_outcomes, path, {"device": device or "cpu", "dry_run": options.dry_run}),
    )
    print(f"{path}: {sum(len(each.rows) for each in outcomes.values())} rows")
    return int(any(each.status == "failed" for each in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
