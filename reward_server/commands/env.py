"""`reward-server env`: serve one profile and one file of rows as an environment.

The environment follows the Open Reward Standard or OpenEnv, which TRL, SkyRL, verifiers and others
call over HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import socket
import sys
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import uvicorn

from touchstone_rewards.reward_server.commands.settings_arguments import (
    add_settings_arguments,
    settings_from,
)
from touchstone_rewards.reward_server.environments.tasks import Tasks, scored_by
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.http.auth import KeyRing
from touchstone_rewards.reward_server.scoring.engine import create_engine
from touchstone_rewards.reward_server.settings import Settings
from touchstone_rewards.reward_server.stored.prompt_rows import read_prompt_rows
from touchstone_rewards.reward_server.stored.stream import known_profile
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

WIRES = {"ors": "openreward", "openenv": "openenv"}  # protocol -> the package that it needs
_NOT_IN_A_NAME = re.compile(r"[^a-z0-9_-]+")
Asgi = Callable[[Any, Any, Any], Awaitable[None]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="FILE",
        help="rows to train on: JSONL, JSON or Parquet",
    )
    parser.add_argument("--profile", default="math", help="profile that scores responses [math]")
    parser.add_argument("--wire", choices=WIRES, default="ors", help="protocol to speak [ors]")
    parser.add_argument("--name", help="name of the environment [the name of the file]")
    add_settings_arguments(parser, listens=True)


def run(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    if find_spec(package := WIRES[arguments.wire]) is None:
        raise ConfigError(
            f"--wire {arguments.wire} needs {package}: pip install '.[{arguments.wire}]' in the "
            "checkout"
        )
    name = _NOT_IN_A_NAME.sub("_", (arguments.name or arguments.data.stem).lower()).strip("_")
    asyncio.run(_serve(settings, arguments, name or "rows"))
    return 0


async def _serve(settings: Settings, arguments: argparse.Namespace, name: str) -> None:
    profiles, profile = known_profile(settings, arguments.profile)
    rows = list(read_prompt_rows(arguments.data)[1])
    engine = create_engine(profiles, settings, Metrics())
    await engine.start()
    try:
        tasks = Tasks(rows, scored_by(engine, profile.name))
        application = with_key(_application(arguments.wire, tasks, name), settings)
        with _listening(settings) as listener:
            host, port = listener.getsockname()[:2]
            print(
                f"{arguments.wire} environment {name!r}, {len(rows)} tasks, profile "
                f"{profile.name} {profile.fingerprint}: http://{host}:{port}",
                file=sys.stderr,
                flush=True,
            )
            config = uvicorn.Config(application, log_level="warning")
            await uvicorn.Server(config).serve(sockets=[listener])
    finally:
        await engine.stop()


def _listening(settings: Settings) -> socket.socket:
    try:
        return socket.create_server((settings.host, settings.port))
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; choose "
            "another --port"
        ) from error


def _application(wire: str, tasks: Tasks, name: str) -> Asgi:
    if wire == "ors":
        # openreward logs every request; warnings are enough.
        os.environ.setdefault("OPENREWARD_LOG_LEVEL", "WARNING")
        from touchstone_rewards.reward_server.environments.ors import ors_application

        return ors_application(tasks, name)
    from touchstone_rewards.reward_server.environments.openenv import openenv_application

    return openenv_application(tasks, name)


def with_key(application: Asgi, settings: Settings) -> Asgi:
    """Return the application behind the settings' keys; unchanged if there are none."""
    keys = KeyRing(settings.keys)
    if not keys:
        return application

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan" or keys.owner(scope["headers"]) is not None:
            await application(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            body = b'{"detail": "the key is missing or wrong; send Authorization: Bearer KEY"}'
            await send({"type": "http.response.body", "body": body})

    return guarded
