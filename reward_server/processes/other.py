"""A process other than the first: it scores, and leaves state that exists once to the first.

It asks the first process for its pages and for profiles that only that one may score, and reports
its counts and samples to it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from touchstone_rewards.reward_server.caller import current
from touchstone_rewards.reward_server.errors import ConfigError, NotReady
from touchstone_rewards.reward_server.http.body import read_body, unless_gone
from touchstone_rewards.reward_server.http.gate import OPEN_PATHS, Gate
from touchstone_rewards.reward_server.processes.link import LOST, Link
from touchstone_rewards.reward_server.processes.wire import (
    AnsweredPage,
    AskedPage,
    AskedScore,
    Observed,
    ProcessReport,
    encode_json,
    fingerprints,
    packed,
    unpacked,
)
from touchstone_rewards.reward_server.schemas import ScoreRequest, ScoreResponse
from touchstone_rewards.reward_server.scoring.engine import Engine, Observer
from touchstone_rewards.reward_server.scoring.reload import Reloader
from touchstone_rewards.reward_server.telemetry.metrics import Answered
from touchstone_rewards.reward_server.telemetry.tallies import Verdicts
from touchstone_rewards.reward_server.watching.hacking import MOST_A_SECOND

# Pages without shared state: every process answers them itself.
OWN_PAGES = OPEN_PATHS - {"/ready"}
# The only request headers that routes read.
PASSED_HEADERS = {b"content-type", b"accept"}
# Reports kept while the first process is away; beyond this, the oldest are dropped.
MOST_KEPT = 10_000

logger = logging.getLogger(__name__)
_decode_response = msgspec.json.Decoder(ScoreResponse).decode


class OtherProcess:
    """The requests and reports of this process to the first. Call `attach` before it serves.

    The loader sets `loaded`; `linked` is set once the profiles match those of the first process.
    """

    def __init__(self, place: int) -> None:
        self.place = place
        self.link: Link | None = None
        self.loaded, self.linked = asyncio.Event(), asyncio.Event()
        self._answered: list[Answered] = []
        self._verdicts: list[tuple[str, Verdicts]] = []
        self._observed: list[Observed] = []
        self._second = 0
        self._taken: Counter[str] = Counter()
        self._soon = False
        self._running: set[asyncio.Task[None]] = set()

    async def score(self, request: ScoreRequest, *, observed: bool, gather: bool) -> ScoreResponse:
        """Have the first process score a request."""
        served = current()
        caller = served.caller.name if served.caller else ""
        asked = AskedScore(encode_json(request), observed, gather, caller, served.request_id)
        return _decode_response(await self._ask("score", packed(asked)))

    def attach(self, engine: Engine, reloader: Reloader, gate: Gate, own: list[Observer]) -> None:
        """Route shared pages and reports to the first process; `own`: this process's observers."""
        self.engine, self.reloader = engine, reloader
        engine.observers[:] = [*own, self._observe]
        engine.metrics.request_observers[:] = [self._note_answered]
        engine.metrics.verdict_observers[:] = [self._note_verdicts]
        for (method, path), endpoint in gate.endpoints.items():
            if path not in OWN_PAGES and not hasattr(endpoint, "begin"):
                gate.endpoints[method, path] = self._page(method, path)

    def on_link(self, connected: socket.socket) -> None:
        """Set up the link to the first process, in place of one that has ended."""
        link = self.link = Link(self._answer)
        task = asyncio.get_running_loop().create_task(self._run(link, connected))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, link: Link, connected: socket.socket) -> None:
        await link.open(connected)
        reading = asyncio.create_task(link.run())
        try:
            await self.loaded.wait()
            theirs = await link.ask("hello", b"")
            await self._agree(unpacked(theirs, dict[str, str]))
            self.linked.set()
        except NotReady:
            return  # it has ended again; the supervisor sends a link to the next one
        finally:
            await reading

    async def _agree(self, theirs: dict[str, str]) -> None:
        """Check that the profiles match those of the first process; end this process if not."""
        if theirs == fingerprints(self.engine):
            return
        with suppress(ConfigError):  # it is logged
            await self.reloader.reload()
        if theirs != fingerprints(self.engine):
            logger.error(
                "the profile files are not those that this server started with: reload the "
                "profiles; this process ends, and another one tries again"
            )
            os.kill(os.getpid(), signal.SIGTERM)
            raise NotReady("the profiles of this process are not those of the first")

    async def _answer(self, what: str, body: bytes) -> bytes:
        if what == "reload":
            await self._agree(unpacked(body, dict[str, str]))
        else:
            self._report()
        return b""

    async def _ask(self, what: str, body: bytes) -> bytes:
        if self.link is None:
            raise NotReady(LOST)
        return await self.link.ask(what, body)

    def _page(self, method: str, path: str) -> ASGIApp:
        async def ask(scope: Scope, receive: Receive, send: Send) -> None:
            served = current()
            asked = AskedPage(
                method,
                path,
                scope["query_string"],
                [pair for pair in scope["headers"] if pair[0] in PASSED_HEADERS],
                bytes(await read_body(receive)),
                served.caller.name if served.caller else "",
                served.request_id,
            )
            answer = await unless_gone(receive, self._ask("page", packed(asked)))
            said: AnsweredPage = unpacked(answer, AnsweredPage)
            about = {"status": said.status, "headers": said.headers}
            await send({"type": "http.response.start", **about})
            await send({"type": "http.response.body", "body": said.body})

        return ask

    def _observe(self, request: ScoreRequest, answer: ScoreResponse) -> None:
        """Keep scored samples for the observers, up to a limit per second."""
        second = int(time.monotonic())
        if second != self._second:
            self._second = second
            self._taken.clear()
        profile = self.engine.profiles.get(answer.profile)
        shadowed = profile is not None and profile.config.shadow is not None
        if self._taken[answer.profile] >= MOST_A_SECOND and not shadowed:
            return
        self._taken[answer.profile] += len(request.samples)
        samples, results = encode_json(request.samples), encode_json(answer.results)
        self._observed.append(Observed(answer.profile, answer.fingerprint, samples, results))

    def _note_answered(self, answered: Sequence[Answered]) -> None:
        self._answered += answered
        self._report_soon()

    def _note_verdicts(self, profile: str, verdicts: Verdicts) -> None:
        cascades = dict(verdicts.cascades)
        self._verdicts.append((profile, verdicts._replace(cascades=cascades)))
        self._report_soon()

    def close(self) -> None:
        """Send the remaining reports to the first process."""
        self._report()

    def _report_soon(self) -> None:
        if not self._soon:
            self._soon = True
            asyncio.get_running_loop().call_soon(self._report)

    def _report(self) -> None:
        """Send the first process the counts and samples since the last report."""
        self._soon = True  # counting during the report must not schedule another one
        if self.link is not None and self.link.has_room:
            taken = self.engine.metrics.take()
            seen = self._answered, self._verdicts, self._observed
            report = ProcessReport(self.place, taken, *seen)
            self.link.tell("report", packed(report))
            self._answered, self._verdicts, self._observed = [], [], []
        for kept in (self._answered, self._verdicts, self._observed):
            del kept[:-MOST_KEPT]
        self._soon = False
