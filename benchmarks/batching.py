"""32 callers with one sample each, against LitServe, Ray Serve and one forward pass per request.

Measures CPU milliseconds a request of the server's whole process tree, servers in turn, medians
over rounds, so that other load on the machine matters little. All use the same model (MiniLM's
size, with a value head), texts and cores, and one torch thread. `TOUCHSTONE_PEERS=/path/to/venv`
names an environment with litserve, ray[serve], fastapi, torch and transformers; without it only our
side is measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks import record
from benchmarks._load import answered, post
from benchmarks._neural import rows_line, texts_of, value_head_model
from touchstone_rewards.reward_server.live_server import free_port
from touchstone_rewards.reward_server.models.hardware import pick_dtype

CALLERS, ROUNDS = 32, 3
PEERS = ("litserve", "ray", "fastapi", "serve_rm")
REQUESTS = {"noop": 2048, "short": 256, "mixed": 96}
# (peer, texts): the goal for our score over the peer's
FLOORS = {
    ("litserve", "short"): 1.3,
    ("litserve", "mixed"): 2.4,
    ("ray", "short"): 4.5,
    ("ray", "mixed"): 3.5,
    **{(peer, texts): 2.0 for peer in ("fastapi", "serve_rm") for texts in ("short", "mixed")},
}
START_TIMEOUT_S = 240
Body = Callable[[str, str], tuple[str, dict[str, Any]]]


class Server:
    """One server process and its child processes."""

    def __init__(self, name: str, command: Sequence[str], port: int, body: Body) -> None:
        self.name, self.port, self.body = name, port, body
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.log = Path(tempfile.gettempdir()) / f"bench-{name}-{port}.log"
        with self.log.open("wb") as log:
            self.process = psutil.Popen(command, stdout=log, stderr=log, env=environment)

    def wait_until_it_answers(self, kinds: Sequence[str]) -> None:
        give_up_at_s = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                for kind in kinds:
                    path, body = self.body(kind, "one word")
                    request = urllib.request.Request(
                        f"http://127.0.0.1:{self.port}{path}",
                        json.dumps(body).encode(),
                        {"content-type": "application/json"},
                    )
                    urllib.request.urlopen(request, timeout=30).read()
                return
            except (urllib.error.URLError, OSError):
                if time.monotonic() > give_up_at_s or self.process.poll() is not None:
                    raise RuntimeError(f"{self.name} did not start: {self.log}") from None
                time.sleep(0.5)

    def cpu_seconds(self) -> float:
        total = 0.0
        for process in [self.process, *self.process.children(recursive=True)]:
            try:
                times = process.cpu_times()
                total += times.user + times.system
            except psutil.NoSuchProcess:
                continue
        return total

    def stop(self) -> None:
        if not self.process.is_running():
            return
        family = [*self.process.children(recursive=True), self.process]
        for process in family:
            try:
                process.terminate()
            except psutil.NoSuchProcess:
                continue
        for process in psutil.wait_procs(family, timeout=15)[1]:
            process.kill()


async def drive(server: Server, kind: str, texts: Sequence[str]) -> None:
    """Send every text as a separate request, `CALLERS` at a time, each on one connection."""
    waiting = iter(texts)

    async def caller() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for text in waiting:
            writer.write(post(*server.body(kind, text)))
            answer = await answered(reader)
            assert _is_scored(answer), answer[:200]
        writer.close()

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


def _is_scored(answer: bytes) -> bool:
    found = json.loads(answer)
    results = found.get("results")
    return isinstance(results[0]["reward"] if results else found["score"], float)


def our_body(kind: str, text: str) -> tuple[str, dict[str, Any]]:
    profile = "noop" if kind == "noop" else "judge"
    return "/score", {"profile": profile, "samples": [{"id": "a", "response": text}]}


def peer_body(kind: str, text: str) -> tuple[str, dict[str, Any]]:
    return "/predict", {"text": text}


@contextmanager
def running(
    name: str, command: Sequence[str], port: int, body: Body, kinds: Sequence[str]
) -> Iterator[Server]:
    server = Server(name, command, port, body)
    try:
        server.wait_until_it_answers(kinds)
        yield server
    finally:
        server.stop()


def our_server(folder: Path, model: Path, dtype: str) -> tuple[str, list[str], int, Body]:
    profiles = folder / "profiles"
    profiles.mkdir()
    config = {"model": str(model), "template": "plain", "dtype": dtype}
    judge = {"scorers": {"reward_model": {"config": config}}}
    (profiles / "judge.yaml").write_text(json.dumps(judge))
    noop = {"scorers": {"noop": {"scorer": "benchmarks._noop_model:NoopScorer"}}}
    (profiles / "noop.yaml").write_text(json.dumps(noop))
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "touchstone_rewards.reward_server",
        "serve",
        "--port",
        str(port),
    ]
    command += ["--workers", "1", "--profiles_dir", str(profiles), "--log_level", "warning"]
    command += ["--scorer_modules", "benchmarks._noop_model"]
    return "ours", command, port, our_body


def peer_python() -> str | None:
    path = os.environ.get("TOUCHSTONE_PEERS")
    if path is None:
        print("TOUCHSTONE_PEERS is not set: the peers are left out")
        return None
    python = Path(path) / "bin" / "python"
    if not python.is_file():
        print(f"TOUCHSTONE_PEERS={path} has no bin/python: the peers are left out")
        return None
    return str(python)


def peer_server(
    folder: Path, python: str, kind: str, model: str, dtype: str
) -> tuple[str, list[str], int, Body]:
    # In a separate folder: next to it, a benchmark named math would shadow Python's math.
    script = folder / "peers" / "serve.py"
    script.parent.mkdir(exist_ok=True)
    shutil.copy(Path(__file__).with_name("_batching_peers.py"), script)
    port = free_port()
    return kind, [python, str(script), kind, model, dtype, str(port)], port, peer_body


def cpu_ms(servers: Sequence[Server], kind: str, texts: Sequence[str]) -> dict[str, float]:
    """Return the median CPU milliseconds a request of each server, measured in turn."""
    found: dict[str, list[float]] = {server.name: [] for server in servers}
    for server in servers:
        asyncio.run(drive(server, kind, texts[: 2 * CALLERS]))
    for _ in range(ROUNDS):
        for server in servers:
            before = server.cpu_seconds()
            asyncio.run(drive(server, kind, texts))
            spent_ms = (server.cpu_seconds() - before) * 1e3
            found[server.name].append(spent_ms / len(texts))
    return {name: statistics.median(each) for name, each in found.items()}


def measured(folder: Path, dtype: str) -> dict[str, dict[str, float]]:
    """Return CPU milliseconds per request: kind of texts -> server -> number."""
    model = value_head_model(folder / "model", layers=6, hidden=384, inner=1024)
    draw = random.Random(0)
    texts = {
        "short": texts_of([16] * REQUESTS["short"]),
        "mixed": texts_of([draw.randint(16, 256) for _ in range(REQUESTS["mixed"])]),
    }
    python = peer_python()
    found: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        ours = stack.enter_context(running(*our_server(folder, model, dtype), ["noop", "short"]))
        found["noop"] = cpu_ms([ours], "noop", ["a text"] * REQUESTS["noop"])
        servers = [ours]
        for kind in PEERS if python else ():
            command = peer_server(folder, str(python), kind, str(model), dtype)
            servers.append(stack.enter_context(running(*command, ["short"])))
        for kind, each in texts.items():
            found[kind] = cpu_ms(servers, kind, each)
            print(kind, {name: round(ms, 2) for name, ms in found[kind].items()}, flush=True)
    return found


def rows_of(found: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    noop = found["noop"]["ours"]
    rows: list[dict[str, Any]] = [
        {
            "what": "CPU ms a request without a model: HTTP, queue, thread",
            "ours": noop,
            "peer": None,
            "ratio": noop / 0.15,
            "floor": "at most 0.15 ms",
        }
    ]
    for kind in ("short", "mixed"):
        for peer in PEERS:
            if peer in found[kind]:
                ours, theirs = found[kind]["ours"], found[kind][peer]
                rows.append(
                    {
                        "what": f"CPU ms a request, {kind} texts, against {peer}",
                        "ours": ours,
                        "peer": theirs,
                        "ratio": theirs / ours,
                        "floor": FLOORS[peer, kind],
                    }
                )
    return rows


def main() -> None:
    dtype = str(pick_dtype("auto", torch.device("cpu"))).removeprefix("torch.")
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), dtype)
    rows = rows_of(found)
    rows_line(rows)
    record(
        "batching",
        rows,
        dtype=dtype,
        callers=CALLERS,
        rounds=ROUNDS,
        load_average=[load_before, os.getloadavg()[0]],
    )


if __name__ == "__main__":
    main()
