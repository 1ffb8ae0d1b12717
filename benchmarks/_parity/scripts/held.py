"""What every script of this folder is given, and what it hands back. The standard library alone:
a script runs in its trainer's environment.

In: the file that PARITY_TASK names. It has the server's `url`, the folder of the `policy`, the
trainer's `checkout` if it has one, and `parts`, each with `name`, `profile`, `samples` and `null`,
which says that not all of these have a reward. Out, in the file that PARITY_FOUND names: `version`,
and of each part what the trainer held, by sample id, or what it raised.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

END = "<|im_end|>"
TASK: dict[str, Any] = json.loads(Path(os.environ["PARITY_TASK"]).read_text(encoding="utf-8"))
URL: str = TASK["url"]
POLICY: str = TASK["policy"]
CHECKOUT: str | None = TASK["checkout"]


def commit() -> str:
    """Return the commit of the trainer's checkout, which `checkouts.sh` notes."""
    noted = Path(str(CHECKOUT), ".commit")
    return noted.read_text().strip() if noted.is_file() else "unknown"


class Lookup:
    """The scripted policy: the responses of a prompt, one after the other."""

    def __init__(self, samples: Sequence[Mapping[str, Any]]) -> None:
        self.left: dict[str, list[str]] = {}
        self.ids: dict[tuple[str, str], str] = {}
        self.rows: dict[str, Mapping[str, Any]] = {}
        for row in samples:
            name = self.number(row["prompt"])
            self.left.setdefault(name, []).append(row["response"])
            self.ids[name, row["response"]] = row["id"]
            self.rows.setdefault(name, row)
        self.all = {name: list(said) for name, said in self.left.items()}

    @staticmethod
    def number(prompt: str) -> str:
        """The number of the question that this text asks."""
        [number] = re.findall(r"Question (\d+):", prompt)
        return number

    def next(self, prompt: str) -> str:
        """Return the next response to this prompt; after the last comes the first again."""
        name = self.number(prompt)
        if not self.left[name]:
            self.left[name] = list(self.all[name])
        return self.left[name].pop(0)

    def id_of(self, prompt: str, response: str) -> str:
        """Return the id of the sample with this prompt and response."""
        return self.ids[self.number(prompt), response]


def told(kind: str, rewards: Mapping[str, float], **more: Any) -> dict[str, Any]:
    """Say what a trainer held: `kind` is float16, float32 or float64, the rewards by sample id."""
    return {
        "kind": kind,
        "rewards": {name: number(value) for name, value in rewards.items()},
    } | more


def number(value: Any) -> Any:
    """A float as JSON has it, bit by bit; NaN, which is no reward, as its name."""
    value = float(value)
    return value if value == value and abs(value) != float("inf") else str(value)


def run(version: str, hold: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Have `hold` take every part through the trainer, and write what came of it."""
    found: dict[str, Any] = {}
    for part in TASK["parts"]:
        try:
            found[part["name"]] = hold(part)
        except Exception as error:  # noqa: BLE001  whatever stops a trainer is what is asked for
            if not part["null"]:
                traceback.print_exc()
            found[part["name"]] = {"raised": said(error)}
        print(part["name"], str(found[part["name"]])[:300], file=sys.stderr, flush=True)
    content = json.dumps({"version": version, "parts": found})
    Path(os.environ["PARITY_FOUND"]).write_text(content, encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)  # threads and actors of a trainer have nothing left to do


def said(error: BaseException) -> str:
    """Name an error and its first line; of one that came from another process, its last."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()] or [""]
    line = lines[-1] if "Traceback" in str(error) or "ray::" in str(error) else lines[0]
    return f"{type(error).__name__}: {line}"[:400]
