"""A process that is not the first: it scores, and leaves to the first what there may be once.

In: the app of this process. Out: the same app, with the pages and the profiles that the first
keeps asked of it, and what is counted and seen reported to it.
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

# Pages that say nothing of what is kept: every process answers them.
OWN_PAGES = OPEN_PATHS - {"/ready"}
# Of what a route is told in a request's head, all that any looks at.
PASSED_HEADERS = {b"content-type", b"accept"}
# Kept until the first process is there to be told; beyond it, the oldest is forgotten.
MOST_KEPT = 10_000

logger = logging.getLogger(__name__)
_decode_response = msgspec.json.Decoder(ScoreResponse).decode


class OtherProcess:
    """What a process that is not the first asks and tells the first. `attach` before it serves.

    `loaded` is set by whoever loads it, `linked` once its profiles are those of the first.
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
        """Ask the first for what it keeps, report to it; `own`: observers of every process."""
        self.engine, self.reloader = engine, reloader
        engine.observers[:] = [*own, self._observe]
        engine.metrics.request_observers[:] = [self._note_answered]
        engine.metrics.verdict_observers[:] = [self._note_verdicts]
        for (method, path), endpoint in gate.endpoints.items():
            if path not in OWN_PAGES and not hasattr(endpoint, "begin"):
                gate.endpoints[method, path] = self._page(method, path)

    def on_link(self, connected: socket.socket) -> None:
        """Take up the way to the first process, a new one in place of one that has ended."""
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
            return  # it has ended again; the supervisor sends the way to the next one
        finally:
            await reading

    async def _agree(self, theirs: dict[str, str]) -> None:
        """See that the profiles are those of the first process; end where they cannot be."""
        if theirs == fingerprints(self.engine):
            return
        with suppress(ConfigError):  # it is in the log
            await self.reloader.reload()
        if theirs != fingerprints(self.engine):
            logger.error(
                "the profile files are not those that this server began with: reload the profiles; "
                "this process of it ends, and another one tries again"
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
        """Keep what was scored for those who watch, unless so much came this second already."""
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
        """Tell the first what is left to tell."""
        self._report()

    def _report_soon(self) -> None:
        if not self._soon:
            self._soon = True
            asyncio.get_running_loop().call_soon(self._report)

    def _report(self) -> None:
        """Tell the first what was counted and seen since the last time."""
        self._soon = True  # what is counted now asks for no report of its own
        if self.link is not None and self.link.has_room:
            taken = self.engine.metrics.take()
            seen = self._answered, self._verdicts, self._observed
            report = ProcessReport(self.place, taken, *seen)
            self.link.tell("report", packed(report))
            self._answered, self._verdicts, self._observed = [], [], []
        for kept in (self._answered, self._verdicts, self._observed):
            del kept[:-MOST_KEPT]
        self._soon = False
