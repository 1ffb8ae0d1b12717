"""A chat engine in a process of its own, and a server that uses it as a judge."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

from touchstone_rewards.reward_server.live_server import LiveServer

ENGINE = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Engine(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        choice = {"message": {"content": "Verdict: yes"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 100, "completion_tokens": 20}
        body = json.dumps({"model": "m", "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

ThreadingHTTPServer.allow_reuse_address = True
server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Engine)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


class EngineProcess:
    """A chat engine in a process of its own, on one port, that can be killed and started again."""

    def __init__(self) -> None:
        self.port = 0
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-c", ENGINE, str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def judged_by(
    start_server: Callable[..., LiveServer],
    folder: Path,
    port: int,
    *options: str,
    deadline_s: float = 2,
) -> LiveServer:
    """Start a server with a profile `judged`, and one `both` in which `math` comes first."""
    config = {
        "url": f"http://127.0.0.1:{port}/v1",
        "model": "m",
        "prices": {"m": {"input": 1.0, "output": 5.0}},
    }
    judge = {"deadline_s": deadline_s, "config": config}
    cascade = {**judge, "when": {"math": "undecided"}, "replaces": "math"}
    (folder / "judged.yaml").write_text(yaml.safe_dump({"scorers": {"judge": judge}}))
    (folder / "both.yaml").write_text(yaml.safe_dump({"scorers": {"math": {}, "judge": cascade}}))
    return start_server("--profiles_dir", str(folder), *options)
