"""Where a request of one sample spends its time: interpreter instructions by layer.

Instructions are counted, not timed, so that every machine gives the same result. They are counted
from the bytes of a request to the bytes of its answer, for our server and for the bare ASGI handler
of `serving` under uvicorn. A stand-in replaces the socket, so kernel and uvloop are left out for
both. Watchers of samples (dashboard, hacking watch) look at a few samples a second only and are
left out.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import CodeType, FrameType
from typing import Any

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from benchmarks import record
from benchmarks._serving_peers import bare
from benchmarks.serving import request_bytes
from touchstone_rewards.reward_server.app import create_app
from touchstone_rewards.reward_server.http.connections import Connection, ConnectionLimits
from touchstone_rewards.reward_server.settings import Settings

WARM_UP, REQUESTS = 200, 200
# A function's layer is the first one with a part that its file's name contains.
LAYERS = {
    "counting and logs": ("/telemetry/", "/watching/", "/dashboard/"),
    "gate: id, key, limits": ("/http/gate", "/http/browser", "/http/auth", "/limits", "/caller"),
    "HTTP: from bytes and to bytes": (
        "/http/whole",
        "/http/heads",
        "/http/passes",
        "/http/connections",
        "/uvicorn/",
    ),
    "the rule and its checks": ("/scorers/", "/scoring/inline", "/scoring/refused"),
    "endpoint: decode, check, encode": ("/app.py", "/http/body", "/received", "_serving_peers"),
    "engine": ("/scoring/", "/profiles", "/schedules", "/normalization"),
}


class Wire(asyncio.Transport):
    """A transport that accepts all writes and is never full."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = 0

    def write(self, data: Any) -> None:
        self.answers += bytes(data).startswith(b"HTTP/1.1 200")

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name.endswith("name") else default

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


@contextmanager
def counting(steps: Counter[CodeType]) -> Iterator[None]:
    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            steps[frame.f_code] += 1
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)


async def steps_of(app: Any, protocol: Any) -> dict[str, float]:
    """Return instructions per request, by layer."""
    config = uvicorn.Config(app, log_config=None, access_log=False, ws="none", lifespan="off")
    config.load()
    wire = Wire()
    connection = protocol(config=config, server_state=ServerState(), app_state={})
    connection.connection_made(wire)
    request, steps = request_bytes(1), Counter[CodeType]()

    async def ask(times: int) -> None:
        for _ in range(times):
            answers = wire.answers
            connection.data_received(request)
            while wire.answers == answers:
                await asyncio.sleep(0)

    await ask(WARM_UP)
    with counting(steps):
        await ask(REQUESTS)
    found: Counter[str] = Counter()
    for code, count in steps.items():
        if not code.co_filename.endswith("request_steps.py"):
            found[layer(code.co_filename)] += count
    return {name: round(count / REQUESTS, 1) for name, count in found.most_common()}


def layer(file: str) -> str:
    return next(
        (name for name, parts in LAYERS.items() if any(part in file for part in parts)),
        "asyncio and others",
    )


async def measured() -> list[dict[str, Any]]:
    app = create_app(Settings(workers=1))
    async with app.router.lifespan_context(app):
        app.state.engine.observers.clear()
        limits = ConnectionLimits()
        ours = await steps_of(app, partial(Connection, limits=limits, gate=app.gate))
        by_asgi = await steps_of(app, partial(Connection, limits=limits))
    peer = await steps_of(bare(), HttpToolsProtocol)
    return [row("ours", ours, peer), row("ours, by ASGI and a task", by_asgi, peer)]


def row(name: str, ours: dict[str, float], peer: dict[str, float]) -> dict[str, Any]:
    total, floor = sum(ours.values()), sum(peer.values())
    about: dict[str, Any] = {"what": f"{name}: instructions a request", "ours": round(total)}
    about |= {"peer": round(floor), "peer_name": "bare", "ratio": round(floor / total, 2)}
    return about | {"ours_by_layer": ours, "peer_by_layer": peer}


def main() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rows: Sequence[dict[str, Any]] = runner.run(measured())
    for each in rows:
        print(each["what"], each["ours"], "bare:", each["peer"])
        for name, count in each["ours_by_layer"].items():
            print(f"    {count:8} {name}  (bare {each['peer_by_layer'].get(name, 0)})")
    record("request_steps", rows)


if __name__ == "__main__":
    main()
