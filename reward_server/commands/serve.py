"""`reward-server serve`: the app on uvicorn, drained at the end."""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import sys
from types import FrameType

import uvicorn
from fastapi import FastAPI

from reward_server.app import create_app
from reward_server.commands.settings_arguments import add_settings_arguments, settings_from
from reward_server.settings import Settings

add_arguments = add_settings_arguments
logger = logging.getLogger("reward_server")

# Clients keep connections between training steps; one closed just as a request comes costs a retry
KEEP_ALIVE_S = 75
BACKLOG = 8192


def run(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    server = Server(create_app(settings), settings)
    # Uvicorn raises the signal once more when it is done; after a clean drain that is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        listening = listen(settings.host, settings.port)
    except OSError as error:
        where = f"{settings.host} port {settings.port}"
        print(f"reward-server: cannot listen on {where}: {error.strerror}", file=sys.stderr)
        return 1
    server.run(sockets=[listening])
    return 0 if server.started else 1


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there, by IPv6 where the host is an IPv6 address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    shown = f"[{host}]" if ":" in host else host
    logger.info("listening on http://%s:%d", shown, listening.getsockname()[1])
    return listening


class Server(uvicorn.Server):
    """Uvicorn that turns new requests away from the first signal on, while it finishes the old."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                log_level=settings.log_level,
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, round(settings.drain_s)),
            )
        )
        self.engine = app.state.engine

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.engine.draining = True
        super().handle_exit(sig, frame)
