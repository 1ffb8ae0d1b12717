"""Callers of a server of several processes, each with its own connection."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path
from typing import Any

from tests.waiting import PATIENCE_S
from touchstone_rewards.reward_server.live_server import LiveServer


class Caller:
    """One connection, kept open as long as the server allows; with TLS if `ca_file`, the server's
    certificate, is given.
    """

    def __init__(self, server: LiveServer, key: str = "admin", ca_file: Path | None = None) -> None:
        about: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "timeout": PATIENCE_S}
        if ca_file is None:
            self.connection = http.client.HTTPConnection(**about)
        else:
            context = ssl.create_default_context(cafile=ca_file)
            self.connection = http.client.HTTPSConnection(**about, context=context)
        self.headers = {"x-api-key": key, "content-type": "application/json"}

    def ask(self, method: str, path: str, content: object = None) -> tuple[int, Any]:
        body = None if content is None else json.dumps(content)
        self.connection.request(method, path, body, self.headers)
        answer = self.connection.getresponse()
        said = answer.read()
        is_json = answer.headers["content-type"].startswith("application/json")
        return answer.status, json.loads(said) if is_json else said.decode()

    def score(self, profile: str, *samples: dict[str, Any]) -> tuple[int, Any]:
        return self.ask("POST", "/score", {"profile": profile, "samples": samples})
