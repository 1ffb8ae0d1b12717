"""Type a page as a reader would: its files saved, its commands run in order, its output compared.

A mark stands before each fenced block of a page and says what a reader does with it:

    <!-- checked: run -->            types it, in the terminal
    <!-- checked: server -->         types it in a terminal of its own, where it stays
    <!-- checked: file NAME -->      saves it as NAME
    <!-- checked: prints -->         sees it, among what was printed since the last such block
    <!-- checked: needs NAME -->     types it, where there is an environment of that NAME
    <!-- checked: by PLACE -->       types it; here that test, script or other page does
    <!-- checked: make -->           types it; `page_commands.py` says which test does
    <!-- checked: not here: WHY -->  types it where it can run, which is not here

In what is printed `…` stands for anything, and lines may lie between.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.waiting import PATIENCE_S
from touchstone_rewards.reward_server.live_server import free_port, without_settings

FENCE = re.compile(
    r"(?:<!-- checked: (?P<mark>.+?) -->\n+)?^```(?P<language>\S*)[^\n]*\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
URL = "http://127.0.0.1:8700"  # in pages; a free port takes its place
STEP = "== step"


class Block(NamedTuple):
    """A fenced block: what its mark says, the mark's argument, the text."""

    kind: str
    about: str
    code: str


class Typed(NamedTuple):
    """What a page's shell left behind: its exit status, and the output by step."""

    status: int
    output: str
    errors: str
    steps: dict[int, str]


def blocks_of(page: str) -> list[Block]:
    """Return the fenced blocks of a page in order; one without a mark has the kind ''."""
    found: list[Block] = []
    for match in FENCE.finditer(page):
        mark = match["mark"] or ""
        words = ("file ", "needs ", "by ", "not here")
        word = next((word.strip() for word in words if mark.startswith(word)), mark)
        found.append(Block(word, mark.removeprefix(word).strip(": "), match["code"]))
    return found


def newcomers_environment() -> dict[str, str]:
    """Return a shell's environment in which no virtual environment is active."""
    ours = Path(sys.executable).parent
    path = [place for place in os.environ["PATH"].split(os.pathsep) if Path(place) != ours]
    return {**os.environ, "PATH": os.pathsep.join(path)}


def readers_environment(port: int) -> dict[str, str]:
    """Return the environment of a reader who activated ours; a server takes `port`."""
    ours = str(Path(sys.executable).parent)
    return {
        **without_settings(),
        "PATH": os.pathsep.join([ours, os.environ["PATH"]]),
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "REWARD_PORT": str(port),
        "REWARD_WORKERS": "2",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TERM": "dumb",
        "COLUMNS": "100",
    }


def peers_environments() -> dict[str, str]:
    """Return the environments of other programs that were made on this machine, by name."""
    default = Path(tempfile.gettempdir()) / "touchstone_peers"
    folder = Path(os.environ.get("TOUCHSTONE_PEERS", default))
    return {path.parent.name: str(path.parent) for path in folder.glob("*/.made_with")}


def type_page(
    blocks: Sequence[Block],
    folder: Path,
    environments: Mapping[str, str] | None = None,
    places: Mapping[str, str] | None = None,
) -> Typed:
    """Save the files of a page in `folder`, run its commands there; return what came of it.

    `environments` has a folder of programs for each NAME of `needs`; a block whose NAME is not
    among them is left out. `places`: addresses that others take the place of, in the page and in
    the files of the folder; a server that runs already may so take the place of the page's. Links
    are left as they are. All that was started is killed at the end.
    """
    port = free_port()
    here = f"http://127.0.0.1:{port}"
    replaced = {URL: here, **(places or {})}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.write_text(_in_place(path.read_text(encoding="utf-8"), replaced), encoding="utf-8")
    script = "\n".join(_lines(blocks, environments or {}, here))
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", _in_place(script, replaced)],
        cwd=folder,
        env={**readers_environment(port), "REWARD_URL": replaced[URL]},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=3 * PATIENCE_S)
    finally:
        _end(process)
    parts = re.split(rf"^{STEP} (\d+)\n", output, flags=re.MULTILINE)
    steps = {int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)}
    return Typed(process.returncode, output, errors, steps)


def _in_place(text: str, replaced: Mapping[str, str]) -> str:
    for old, new in replaced.items():
        text = text.replace(old, new)
    return text


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _lines(blocks: Sequence[Block], environments: Mapping[str, str], url: str) -> list[str]:
    """Return the page as a shell script; servers write into logs, and are waited for."""
    lines: list[str] = []
    for step, block in enumerate(blocks):
        if block.kind == "file":
            lines += [f"mkdir -p \"$(dirname '{block.about}')\"", f"cat > '{block.about}' <<'PAGE'"]
            lines += [block.code + "PAGE"]
        elif block.kind == "run":
            lines += [f"printf '\\n{STEP} {step}\\n'", block.code]
        elif block.kind == "needs" and block.about in environments:
            path = f'PATH="{environments[block.about]}/bin:$PATH"'
            lines += [f"printf '\\n{STEP} {step}\\n'", f"( export {path}", block.code, ")"]
        elif block.kind == "server":
            log = f"server{step}.log"
            lines += [
                f"printf '\\n{STEP} {step}\\n'",
                f"{{ {block.code.strip()}\n}} > {log} 2>&1 &",
            ]
            alive = f"kill -0 $! 2>/dev/null || {{ cat {log} >&2; exit 1; }}"
            lines += [f"until curl -sf {url}/ready > /dev/null; do {alive}; sleep 0.2; done"]
    return lines


def is_printed(expected: str, output: str) -> bool:
    """Say whether each expected line is printed, in their order, `…` being anything.

    >>> is_printed("a … c", "x\\na b c\\n")
    True
    >>> is_printed("a\\nb", "b\\na\\n")
    False
    """
    lines = [line.strip() for line in expected.splitlines() if line.strip()]
    patterns = [".*?".join(map(re.escape, map(str.strip, line.split("…")))) for line in lines]
    return re.search("(?:.|\n)*?".join(patterns), output) is not None
