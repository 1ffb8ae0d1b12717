"""Run the benchmarks named on the command line; by default all but the long ones, one by one."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

# Run only if named: these need a GPU, the trainers' environments, an older checkout, or half an
# hour or more.
LONG = frozenset(
    {
        "soak",
        "demo",
        "judge_attacks",
        "gpu_minutes",
        "parity",
        "real_words",
        "real_pairs",
        "real_grpo",
        "story_learning",
        "why",
        "sizes",
    }
)


def main(names: list[str]) -> int:
    known = sorted(p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_"))
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; known are {', '.join(known)}", file=sys.stderr)
        return 2
    for name in names or [name for name in known if name not in LONG]:
        print(f"== {name}", flush=True)
        if code := import_module(f"benchmarks.{name}").main():
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
