"""What a GPU can show in some minutes: tests, speeds at real sizes, GRPO; the best first.

    python -m benchmarks.gpu_minutes --minutes 12
    python -m benchmarks.gpu_minutes --dry_run       # all of it on a CPU, at tiny sizes

Each part runs in a process of its own, is begun only where enough time is left for it, and is
killed at the end of the time; what it had found by then is kept. The results are written after each
part, so that a machine that goes away takes only the part under way.
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
    """`function` of `_gpu_parts` with `arguments`. `least_s`: with less left it is not begun."""

    name: str
    function: str
    arguments: tuple[Any, ...]
    least_s: float
    modules: tuple[str, ...]


class Outcome(NamedTuple):
    """How a part ended: done, failed, stopped (by the time) or skipped; and what it found."""

    status: str
    reason: str | None
    seconds: float
    rows: list[dict[str, Any]]


# By worth: the first that a short lease should bring home, then what else fits.
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
    """Run in turn what is installed and fits into what is left; save after each."""
    outcomes: dict[str, Outcome] = {}
    for part in parts:
        missing = [module for module in part.modules if find_spec(module) is None]
        left = left_s()
        if missing:
            outcome = Outcome("skipped", f"not installed: {', '.join(missing)}", 0.0, [])
        elif left < part.least_s:
            reason = f"{max(0.0, left):.0f} s left, it takes {part.least_s:.0f} at least"
            outcome = Outcome("skipped", reason, 0.0, [])
        else:
            outcome = run(part, left)
        outcomes[part.name] = outcome
        save(outcomes)
    return outcomes


def wait_for(child: subprocess.Popen[bytes], left_s: float) -> int | None:
    """The child's exit code, None where the time was up first."""
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
    """Run one part in a process of its own, killed with all that it started when time is up."""
    with tempfile.TemporaryDirectory() as folder:
        found, log = Path(folder) / "rows.jsonl", Path(folder) / "log"
        words = [f"--part={part.name}", f"--rows={found}", *(["--dry_run"] if dry else [])]
        began = time.monotonic()
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
        took = time.monotonic() - began
        if code is None:
            return Outcome("stopped", f"the time was up after {took:.0f} s", took, rows)
        end = " | ".join(log.read_text(errors="replace").strip().splitlines()[-3:])[-500:]
        return Outcome("failed" if code else "done", end if code else None, took, rows)


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and what it started; nothing where all has ended."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def save_outcomes(path: Path, about: Mapping[str, Any], outcomes: Mapping[str, Outcome]) -> None:
    """Write the rows of every part so far, how each ended, and say it of the last."""
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
    """What the GPU is called; None without one. Asked in a child: this process takes no memory."""
    code = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done.stdout.strip() or None


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_minutes", description=__doc__)
    add = parser.add_argument
    add("--minutes", type=float, default=12.0, help="the time for all of it")
    add("--dry_run", action="store_true", help="tiny sizes, on a CPU")
    add("--output", type=Path, help="default: results/gpu_minutes.json; dry: runs/gpu_minutes.json")
    add("--only", nargs="+", metavar="PART", help="some parts, in their order")
    add("--part", help=argparse.SUPPRESS)
    add("--rows", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def measure_here(part: Part, rows: Path, dry: bool) -> None:
    """Run one part in this process; each row is on disk before the next is measured."""
    from benchmarks import _gpu_parts

    with rows.open("a", encoding="utf-8") as file:
        for found in getattr(_gpu_parts, part.function)(*part.arguments, dry):
            file.write(json.dumps(found) + "\n")
            file.flush()


def main(argv: Sequence[str] = ()) -> int:
    """Run the parts; 0 where none failed, 1 where one did, 2 for what cannot be run."""
    began = time.monotonic()
    options = parse(argv)
    named = {part.name: part for part in PARTS}
    if unknown := set(options.only or ()) - set(named):
        known = ", ".join(named)
        print(f"no part {', '.join(sorted(unknown))}; there are {known}", file=sys.stderr)
        return 2
    if options.part:
        measure_here(named[options.part], options.rows, options.dry_run)
        return 0
    device = device_name()
    if device is None and not options.dry_run:
        print("no CUDA device: --dry_run runs all of it at tiny sizes on the CPU", file=sys.stderr)
        return 2
    folder = ROOT / "runs" if options.dry_run else RESULTS
    path = options.output or folder / "gpu_minutes.json"
    outcomes = run_parts(
        [part for part in PARTS if not options.only or part.name in options.only],
        lambda: began + 60 * options.minutes - time.monotonic(),
        partial(run_part, dry=options.dry_run),
        partial(save_outcomes, path, {"device": device or "cpu", "dry_run": options.dry_run}),
    )
    print(f"{path}: {sum(len(each.rows) for each in outcomes.values())} rows")
    return int(any(each.status == "failed" for each in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
