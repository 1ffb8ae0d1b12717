"""The fork server: a small process that has built the scorers and forks workers on request.

A new worker is a copy of it: up in milliseconds with everything imported, and free of the server's
threads, event loop and sockets. The fork server is started by exec, which is safe at any time.

No worker outlives the server, even if it is stuck in C code: the kernel kills the fork server when
the server dies, and the workers when the fork server dies. Ctrl-C and SIGTERM to the process group
stop neither, because a draining server still needs them. Linux only. (For the kernel, "the server"
is the thread that started the process.)

Processes that a scorer started end with its worker, even in a session of their own: the fork server
is the subreaper of processes that workers leave behind, and kills them.

A scorer is built once, in the fork server, and must survive a fork: no threads, no open
connections. Lazy imports are repeated in every worker, and delay a sample.

`ForkServer` runs in the server; `main` is the process. Each packet between them is one request.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from msgspec import MsgspecError, Struct, msgpack

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.pool.family import Family, descendants, has_ended, kill
from touchstone_rewards.reward_server.pool.process import open_board, sample_decoders, work
from touchstone_rewards.reward_server.scorers import build_callable
from touchstone_rewards.reward_server.scorers.base import CallableScorer, ScorerSpec

LARGEST_PACKET_BYTES = 1 << 20
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


class Built(Struct):
    """The answer to a build request: the fields that each scorer reads besides the id, the scorers
    that take whole batches, or why one cannot be built."""

    reads: dict[str, tuple[str, ...]] = {}
    batches: set[str] = set()
    refused: str = ""


class ForkServer:
    """Starts the process, restarts it when it has died, and sends it requests.

    `reads`: the fields of a sample that each scorer reads. `batches`: the scorers that get all
    samples of a message in one call. `generation` counts the sets of scorers: a worker has the
    scorers of the generation in which it was forked. `on_exit` is called when the process dies.
    """

    def __init__(
        self,
        scorers: Mapping[str, ScorerSpec],
        memory_limit_bytes: int,
        on_exit: Callable[[], None],
    ) -> None:
        self.reads: dict[str, tuple[str, ...]] = {}
        self.batches: set[str] = set()
        self.generation = 0
        self._scorers = dict(scorers)
        self._memory_limit_bytes = memory_limit_bytes
        self._on_exit = on_exit
        self._turn = asyncio.Lock()
        self._answers: deque[asyncio.Future[bytes]] = deque()
        self._process: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None

    @property
    def alive(self) -> bool:
        """Whether the process lives. Its workers die when it ends; the link may outlive it, in the
        hands of a worker that was just forked."""
        return self._process is not None and not has_ended(self._process.pid)

    @property
    def up(self) -> bool:
        """Whether the process lives and has built its scorers."""
        return self._link is not None and not self._turn.locked()

    async def ensure(self) -> bool:
        """Start the process unless it is up; return whether it had to be started.

        Raises:
            ConfigError: a scorer cannot be built, or building it killed the process.
            OSError: the process cannot be started.
        """
        async with self._turn:
            if self._link is not None:
                return False
            self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = _start_process(theirs.fileno(), self._memory_limit_bytes)
            self._link.setblocking(False)
            asyncio.get_running_loop().add_reader(self._link, self._read, self._link)
            try:
                built = await self._build(self._link, self._scorers)
                self.reads, self.batches = built.reads, built.batches
            except BaseException:
                self.kill()
                raise
            return True

    async def add(self, scorers: Mapping[str, ScorerSpec], gone: Iterable[str] = ()) -> None:
        """Build more scorers, or replace some by name, as a new generation. Those `gone` stay in
        this process for running calls, and are not built again after a restart.

        Raises:
            ConfigError: one of them cannot be built; then nothing has changed.
        """
        async with self._turn:
            if self._link is None:
                raise ConfigError("the worker pool is not running; try again when it is")
            if scorers:
                built = await self._build(self._link, scorers)
                self.reads |= built.reads
                self.batches = self.batches - built.reads.keys() | built.batches
                self.generation += 1
            kept = {key: spec for key, spec in self._scorers.items() if key not in set(gone)}
            self._scorers = {**kept, **scorers}

    def fork(self, link_fd: int, board_fd: int) -> None:
        """Ask for a worker at the other end of `link_fd`; it sends a message when it is up.

        Raises:
            OSError: the process has died.
        """
        if self._link is None:
            raise ConnectionResetError("the fork server is gone")
        socket.send_fds(self._link, [b"fork"], [link_fd, board_fd])

    def kill(self) -> None:
        """Kill the process and every worker that it forked."""
        if self._link is not None:
            asyncio.get_running_loop().remove_reader(self._link)
            self._link.close()
            self._link = None
        if self._process is not None:
            family = descendants(self._process.pid)
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            for pid in family:
                kill(pid)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=1.0)
            self._process = None
        while self._answers:
            if not (answer := self._answers.popleft()).done():
                answer.set_exception(ConnectionResetError("the fork server died"))

    async def _build(self, link: socket.socket, scorers: Mapping[str, ScorerSpec]) -> Built:
        answer = asyncio.get_running_loop().create_future()
        try:
            link.send(msgpack.encode({key: spec[:2] for key, spec in scorers.items()}))
            self._answers.append(answer)
            built = msgpack.decode(await answer, type=Built)
        except (OSError, TypeError, MsgspecError) as error:
            raise ConfigError(f"scorers {sorted(scorers)} cannot be built: {error}") from error
        if built.refused:
            raise ConfigError(built.refused)
        return built

    def _read(self, link: socket.socket) -> None:
        try:
            packet = link.recv(LARGEST_PACKET_BYTES)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            self.kill()
            self._on_exit()
        elif self._answers and not (answer := self._answers.popleft()).done():
            answer.set_result(packet)


def _start_process(link_fd: int, memory_limit_bytes: int) -> subprocess.Popen[bytes]:
    # Not by PYTHONPATH: a user's file there could shadow a module of the standard library.
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import main; main()"
    return subprocess.Popen(
        [sys.executable, "-u", "-c", code, str(link_fd), str(memory_limit_bytes)],
        pass_fds=[link_fd],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        # One sample is work for one thread: BLAS threads in every worker would compete for cores.
        env={"OMP_NUM_THREADS": "1", **os.environ},
    )


def main() -> None:
    """Run the fork server: build and fork until the server is gone."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    family = Family()
    signal.signal(signal.SIGCHLD, family.reap)
    _die_with_parent()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    os.dup2(2, 1)
    link, memory_limit_bytes = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    scorers: dict[str, CallableScorer] = {}
    while True:
        packet, fds, _, _ = socket.recv_fds(link, LARGEST_PACKET_BYTES, 2)
        if fds:
            _fork_worker(link, fds, scorers, memory_limit_bytes, family)
        elif packet:
            with family.growing():
                built = _build(packet, scorers)
            link.send(msgpack.encode(built))
        else:
            return


def _build(packet: bytes, scorers: dict[str, CallableScorer]) -> Built:
    try:
        specs = msgpack.decode(packet, type=dict[str, tuple[str, dict[str, Any]]])
        built = {key: build_callable(name, config) for key, (name, config) in specs.items()}
        reads = {key: _reads(scorer) for key, scorer in built.items()}
    except ConfigError as error:
        return Built(refused=str(error))
    # A constructor may raise anything; the server must report which scorer did.
    except Exception as error:  # noqa: BLE001
        traceback.print_exc()
        return Built(refused=f"a scorer cannot be built: {type(error).__name__}: {error}")
    scorers.update(built)
    # Frozen objects are not touched by the collector, so workers keep sharing their pages.
    gc.collect()
    gc.freeze()
    return Built(reads, {key for key, one in built.items() if one.batch})


def _reads(scorer: CallableScorer) -> tuple[str, ...]:
    sample_decoders(tuple(scorer.reads))  # made once here, not in every worker
    return tuple({*scorer.reads} - {"id"})


def _fork_worker(
    link: socket.socket,
    fds: list[int],
    scorers: Mapping[str, CallableScorer],
    memory_limit_bytes: int,
    family: Family,
) -> None:
    parent = os.getpid()
    # A worker that dies at once must be registered by then: unknown children are killed.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    pid = os.fork()
    if pid:
        family.workers.add(pid)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    if pid:
        for fd in fds:
            os.close(fd)
        return
    try:
        link.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _die_with_parent()
        # A process group of its own, so that everything the scorer starts is killed with it.
        os.setpgid(0, 0)
        if os.getppid() == parent:
            work(socket.socket(fileno=fds[0]), open_board(fds[1]), scorers, memory_limit_bytes)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the pool is gone, so the worker ends
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        os._exit(0)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
