"""Read the task of a script and write its report. Uses the standard library alone, because a script
runs in its trainer's environment.

The file PARITY_TASK has the server's `url`, the folder of the `policy`, the trainer's `checkout`,
and `parts`, each with `name`, `profile`, `samples` and `null`: whether some samples have no reward.
The report in the file PARITY_FOUND has the trainer's `version`, and for each part the rewards that
it held by sample id, or the error that it raised.
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
    """Return the commit or release of the trainer's checkout, as written by `checkouts.sh`."""
    noted = Path(str(CHECKOUT), ".commit")
    return noted.read_text().strip() if noted.is_file() else "unknown"


class Lookup:
    """The scripted policy: it returns the samples' responses to a prompt in turn."""

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
        """Return the number of the question in a text."""
        [number] = re.findall(r"Question (\d+):", prompt)
        return number

    def next(self, prompt: str) -> str:
        """Return the next response to this prompt; after the last, the first again."""
        name = self.number(prompt)
        if not self.left[name]:
            self.left[name] = list(self.all[name])
        return self.left[name].pop(0)

    def id_of(self, prompt: str, response: str) -> str:
        """Return the id of the sample with this prompt and response."""
        return self.ids[self.number(prompt), response]


def told(kind: str, rewards: Mapping[str, float], **more: Any) -> dict[str, Any]:
    """Return the report on a part: rewards by sample id; `kind` is float16, float32 or float64."""
    return {
        "kind": kind,
        "rewards": {name: number(value) for name, value in rewards.items()},
    } | more


def number(value: Any) -> Any:
    """Return a float unchanged, or the name of a NaN or an infinity."""
    value = float(value)
    return value if value == value and abs(value) != float("inf") else str(value)


def run(version: str, hold: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Run `hold`, which takes a part through the trainer, for each part, and write the report."""
    found: dict[str, Any] = {}
    for part in TASK["parts"]:
        try:
            found[part["name"]] = hold(part)
        except Exception as error:  # noqa: BLE001  any error of a trainer goes into the report
            if not part["null"]:
                traceback.print_exc()
            found[part["name"]] = {"raised": said(error)}
        print(part["name"], str(found[part["name"]])[:300], file=sys.stderr, flush=True)
    content = json.dumps({"version": version, "parts": found})
    Path(os.environ["PARITY_FOUND"]).write_text(content, encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)  # without waiting for the trainer's threads and actors


def said(error: BaseException) -> str:
    """Return an error's name and first line; for an error from another process, its last line."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()] or [""]
    line = lines[-1] if "Traceback" in str(error) or "ray::" in str(error) else lines[0]
    return f"{type(error).__name__}: {line}"[:400]
