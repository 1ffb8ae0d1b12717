"""`reward-server serve`: run the app on uvicorn, listening while it loads, drained at the end."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import resource
import signal
import socket
import ssl
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, cast

import uvicorn

from touchstone_rewards.reward_server.app import GatedApp, create_app
from touchstone_rewards.reward_server.commands.certificate import expiry_warning
from touchstone_rewards.reward_server.commands.settings_arguments import (
    add_settings_arguments,
    settings_from,
)
from touchstone_rewards.reward_server.container import (
    container_limit_bytes,
    fit_memory,
    own_workers,
)
from touchstone_rewards.reward_server.errors import ConfigError, TouchstoneError
from touchstone_rewards.reward_server.http.connections import (
    Connection,
    ConnectionLimits,
    sweep_connections,
)
from touchstone_rewards.reward_server.http.passes import Crowd
from touchstone_rewards.reward_server.models.memory import keep_freed_memory
from touchstone_rewards.reward_server.processes.first import FirstProcess
from touchstone_rewards.reward_server.processes.intake import Intake
from touchstone_rewards.reward_server.processes.other import OtherProcess
from touchstone_rewards.reward_server.processes.supervisor import ProcessMember, Supervisor
from touchstone_rewards.reward_server.ray.session import prepare
from touchstone_rewards.reward_server.scoring.claim import belong_to
from touchstone_rewards.reward_server.settings import Settings
from touchstone_rewards.reward_server.telemetry.logs import configure

add_arguments = partial(add_settings_arguments, listens=True)
logger = logging.getLogger("touchstone_rewards.reward_server")

# Clients keep connections between training steps; closing one as a request comes costs a retry.
KEEP_ALIVE_S = 75
BACKLOG = 8192
# Open files besides the connections: workers, logs, modules being imported.
OTHER_FILES = 256
# Thresholds of the garbage collector: new objects since the last run (Python's default of 700 is
# reached again and again while calls wait for an endpoint), runs of the youngest generation per
# middle one, and of the middle one per full one (Python's default is 10).
COLLECTED = 10_000, 1, 1000
# Some large requests' worth: mapping this memory anew took a fifth of a sample's time.
KEEP_BYTES = 2**25
# For this long after the stop signal, incoming requests are still answered, with a 503.
LINGER_S = 0.3


def run(arguments: argparse.Namespace) -> int:
    settings = settings_from(arguments)
    configure(settings.log_level, settings.log_format)
    keep_freed_memory(KEEP_BYTES)
    if settings.cluster:
        return serve_on_ray(settings)
    own = own_workers(settings.profile_dirs)
    settings = fit_memory(settings, container_limit_bytes(), own)
    try:
        listening = listen(settings.host, settings.port)
    except OSError as error:
        where = f"{settings.host} port {settings.port}"
        # socket.create_server repeats the address behind its reason.
        reason = (error.strerror or str(error)).partition(" (while ")[0]
        advice = "stop what listens there, or choose another --port"
        print(f"reward-server: cannot listen on {where}: {reason}; {advice}", file=sys.stderr)
        return 1
    url = url_of(listening, encrypted=settings.tls_cert is not None)
    if settings.processes == 1:
        return _serve(settings, url, [listening])
    _say_where(listening)
    logger.info("%d processes serve it", settings.processes)
    return Supervisor(
        listening,
        settings.processes,
        [key.name for key in settings.keys],
        lambda member: _serve_as(member, settings, url),
        settings.drain_s,
    ).run()


def _serve(
    settings: Settings, url: str, sockets: list[socket.socket], member: ProcessMember | None = None
) -> int:
    """Serve until a signal ends it; return the exit status."""
    app = create_app(settings, load_in_background=True, member=member)
    for listening in sockets:
        _say_where(listening)
    server = DrainingServer(app, settings, member)
    # Uvicorn raises the signal again when it is done; after a clean drain that is no failure.
    signal.signal(signal.SIGTERM, _leave)
    server.app_state.url = url
    server.run(sockets=sockets)
    return server.exit_status()


def _serve_as(member: ProcessMember, settings: Settings, url: str) -> int:
    """Serve as one of several processes, with its share of workers and limits."""
    belong_to(member.server_id)
    return _serve(part_of(settings, member.place), url, [], member)


def part_of(settings: Settings, place: int) -> Settings:
    """Return the settings of the process at `place` of several: its share of the workers,
    connections and bytes. Only the first one looks for changed profiles."""
    among = settings.processes
    most_bytes = max(settings.max_pending_bytes // among, settings.max_body_bytes)
    changes = {
        "workers": max(1, settings.workers // among + (place < settings.workers % among)),
        "max_connections": max(1, settings.max_connections // among),
        "max_pending_bytes": most_bytes,
        "cache_bytes": settings.cache_bytes // among,
        "reload_s": 0.0 if place else settings.reload_s,
    }
    return settings.model_copy(update=changes)


def serve_on_ray(settings: Settings) -> int:
    """Serve on the cluster.

    Raises:
        ConfigError: Ray is not installed.
    """
    prepare("--cluster")
    from touchstone_rewards.reward_server.ray.cluster import run as run_cluster

    return run_cluster(settings)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there, on IPv6 if the host is an IPv6 address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def _say_where(listening: socket.socket) -> None:
    host, port = listening.getsockname()[:2]
    logger.info("listening on %s port %d", f"[{host}]" if ":" in host else host, port)


def connection_limits(settings: Settings) -> ConnectionLimits:
    """Return the limits that `settings` set, within the number of files this process may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_connections + OTHER_FILES
    if soft < wanted and hard != soft:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    most = settings.max_connections
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = max(1, soft - OTHER_FILES)
        logger.warning("open files (ulimit -n) limited to %d: at most %d connections", soft, most)
    timeouts_s = settings.receive_timeout_s, settings.send_timeout_s, KEEP_ALIVE_S
    return ConnectionLimits(most, *timeouts_s)


def url_of(listening: socket.socket, *, encrypted: bool) -> str:
    """Return the URL of the socket."""
    host, port = listening.getsockname()[:2]
    return f"{'https' if encrypted else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


class DrainingServer(uvicorn.Server):
    """Uvicorn that refuses new requests after the first signal while it finishes the running ones.

    It ends if loading the app fails.
    """

    def __init__(
        self, app: GatedApp, settings: Settings, member: ProcessMember | None = None
    ) -> None:
        engine = app.state.engine
        full = lambda: engine.limits.nearly_full(engine.pending_samples)  # noqa: E731
        self.crowd, self.member = Crowd(full=full), member
        self.intake: Intake | None = None
        super().__init__(
            uvicorn.Config(
                app,
                http=cast(
                    Any,
                    partial(
                        Connection,
                        limits=connection_limits(settings),
                        gate=app.gate,
                        crowd=self.crowd,
                    ),
                ),
                host=settings.host,
                port=settings.port,
                log_config=None,
                log_level=settings.log_level,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # the caller's address is not used
                ws="none",
                backlog=BACKLOG,
                timeout_graceful_shutdown=max(1, round(settings.drain_s)),
                ssl_certfile=settings.tls_cert,
                ssl_keyfile=settings.tls_key,
            )
        )
        self.app_state = app.state
        self.receive_timeout_s = settings.receive_timeout_s
        self.failure: BaseException | None = None
        self.began_s = time.monotonic()
        _check_tls(self.config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        if self.config.ssl:
            # The sweep sees connections only after their handshake, and uvicorn has no timeout.
            loop.create_server = partial(  # pyright: ignore[reportAttributeAccessIssue]
                loop.create_server, ssl_handshake_timeout=self.receive_timeout_s
            )
        await super().startup(sockets)
        if self.member is not None:
            self._take_in(self.member)
        self.app_state.loading.add_done_callback(self._on_loaded)
        reloader = self.app_state.reloader
        loop.add_signal_handler(signal.SIGHUP, reloader.ask)
        connections = self.server_state.connections
        self._sweeper = asyncio.create_task(sweep_connections(connections))

    def _take_in(self, member: ProcessMember) -> None:
        """Ask the supervisor for connections: at once in the first process, once loaded in the
        others."""
        family = self.app_state.family
        self.intake = Intake(
            member.control,
            self.crowd,
            self._protocol,
            family.on_link,
            tls=self.config.ssl,
            handshake_timeout_s=self.receive_timeout_s,
        )
        if isinstance(family, FirstProcess):
            family.tasks = self.server_state.tasks
            self.intake.ready()

    def _protocol(self) -> asyncio.Protocol:
        made: Any = self.config.http_protocol_class
        return made(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    async def _join(self, intake: Intake) -> None:
        family = self.app_state.family
        if isinstance(family, OtherProcess):
            family.loaded.set()
            await family.linked.wait()
            intake.ready()
        intake.loaded()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.failure is None:
            await asyncio.sleep(LINGER_S)
        if self.intake is not None:
            self.intake.close()
        await super().shutdown(sockets)
        self._sweeper.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.app_state.engine.draining = True
        super().handle_exit(sig, frame)

    def exit_status(self) -> int:
        """Return 0 after a clean end; otherwise print the reason on one line."""
        if self.failure is None:
            return 0 if self.started else 1
        said = str(self.failure).strip() or type(self.failure).__name__
        if not isinstance(self.failure, TouchstoneError):
            said = f"cannot load: {type(self.failure).__name__}: {said}"
        print(f"reward-server: {' '.join(said.split())}", file=sys.stderr)
        return 2 if isinstance(self.failure, TouchstoneError) else 1

    def _on_loaded(self, loading: asyncio.Task[None]) -> None:
        # Loaded objects stay alive; collecting them again and again took a third of a request's
        # time.
        gc.freeze()
        # A collection over thousands of pending requests takes 80 ms without answering anyone, over
        # 200 pending judge calls 5 to 13 ms.
        gc.set_threshold(*COLLECTED)
        if loading.cancelled():
            return
        if (error := loading.exception()) is not None:
            self.failure, self.should_exit = error, True
            return
        if self.intake is not None:
            self._joining = asyncio.create_task(self._join(self.intake))
        seconds = time.monotonic() - self.began_s
        about = self.app_state.url, seconds, ", ".join(self.app_state.engine.profiles)
        logger.info("ready on %s after %.1f s; profiles: %s", *about)


def _check_tls(config: uvicorn.Config) -> None:
    """Load the certificate and key before anything starts; warn if the certificate has expired.

    Raises:
        ConfigError: they cannot be used.
    """
    if not config.ssl_certfile:
        return
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"tls_cert {config.ssl_certfile} and tls_key {config.ssl_keyfile} cannot be used: "
            f"{error}; both are PEM files, the key without a passphrase"
        ) from error
    if warning := expiry_warning(Path(config.ssl_certfile), datetime.now(UTC)):
        logger.warning(warning)


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)
