"""Receive this process's connections from the supervisor over a socket.

The socket carries single bytes, some with a descriptor: of a client connection, or of the link to
another process. When the supervisor is gone, this process ends as on SIGTERM.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

from touchstone_rewards.reward_server.http.passes import Crowd
from touchstone_rewards.reward_server.processes.supervisor import (
    CLOSED,
    CONNECTION,
    KEEP,
    LET_GO,
    LINK,
    LOADED,
    READY,
)


class Intake:
    """`protocol` creates the handler of a connection, `on_link` gets the link to a process."""

    def __init__(
        self,
        control: socket.socket,
        crowd: Crowd,
        protocol: Callable[[], asyncio.Protocol],
        on_link: Callable[[socket.socket], None],
        *,
        tls: ssl.SSLContext | None,
        handshake_timeout_s: float,
    ) -> None:
        self._control, self._crowd = control, crowd
        self._protocol, self._on_link = protocol, on_link
        self._tls, self._handshake_timeout_s = tls, handshake_timeout_s if tls else None
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        crowd.on_closed = self._tell_closed
        control.setblocking(False)
        self._loop.add_reader(control.fileno(), self._read)

    def ready(self) -> None:
        """Ask for connections."""
        self._say(READY)

    def loaded(self) -> None:
        """Report that everything is loaded."""
        self._say(LOADED)

    def close(self) -> None:
        """Stop receiving connections."""
        self._loop.remove_reader(self._control.fileno())

    def _tell_closed(self) -> None:
        self._say(CLOSED)

    def _say(self, what: bytes) -> None:
        with suppress(OSError):
            self._control.send(what)

    def _read(self) -> None:
        try:
            said, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
        except BlockingIOError:
            return
        except OSError:
            said, descriptors = b"", []
        if not said:
            self.close()
            os.kill(os.getpid(), signal.SIGTERM)
        elif said == LET_GO:
            self._crowd.too_many += 1
        elif said == KEEP:
            self._crowd.too_many = 0
        elif descriptors:
            self._take(said, socket.socket(fileno=descriptors[0]))

    def _take(self, said: bytes, connected: socket.socket) -> None:
        connected.setblocking(False)
        if said == LINK:
            self._on_link(connected)
        elif said == CONNECTION:
            task = self._loop.create_task(self._open(connected))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, connected: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._protocol,
                connected,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_timeout_s,
            )
        except (OSError, asyncio.CancelledError):  # for example a failed handshake
            connected.close()
            self._tell_closed()
