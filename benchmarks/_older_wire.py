"""A trainer of today before a server of version 0.1.0, whose wire knows no `run` and no `step`."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

YOUNGER = ("run", "step")


class _Forwarding(BaseHTTPRequestHandler):
    """Passes requests on without the fields of `YOUNGER`, and answers as they are."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._pass_on(None)

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for name in YOUNGER:
            sent.pop(name, None)
        self._pass_on(json.dumps(sent).encode())

    def _pass_on(self, body: bytes | None) -> None:
        server = self.server
        assert isinstance(server, _Forwarder)
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{server.behind}{self.path}", body, headers)
        try:
            answer = server.opener.open(request)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            said = answer.read()
        self.send_response(answer.status or 500)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002


class _Forwarder(ThreadingHTTPServer):
    behind: str
    opener: urllib.request.OpenerDirector


@contextmanager
def older_wire(url: str) -> Iterator[str]:
    """Yield the URL under which an older server understands what a trainer of today sends."""
    with _Forwarder(("127.0.0.1", 0), _Forwarding) as server:
        server.behind = url
        server.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
