"""The first process: keeps state that must exist only once, and serves it to the other processes.

It answers their requests, adds their counts to its own, and reloads their profiles when it has
reloaded its own.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
from prometheus_client.core import CounterMetricFamily
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from touchstone_rewards.reward_server.caller import begin
from touchstone_rewards.reward_server.errors import NotReady, RequestError
from touchstone_rewards.reward_server.http.gate import Gate
from touchstone_rewards.reward_server.processes.link import Link
from touchstone_rewards.reward_server.processes.wire import (
    AnsweredPage,
    AskedPage,
    AskedScore,
    Observed,
    ProcessReport,
    decode_results,
    decode_samples,
    encode_json,
    fingerprints,
    packed,
    unpacked,
)
from touchstone_rewards.reward_server.received import ReceivedRequest
from touchstone_rewards.reward_server.schemas import ScoreRequest, ScoreResponse
from touchstone_rewards.reward_server.scoring.engine import Engine, Observer
from touchstone_rewards.reward_server.scoring.reload import Reloader
from touchstone_rewards.reward_server.telemetry.metrics import Answered
from touchstone_rewards.reward_server.telemetry.others import MetricReading

# Pages that show counts: the other processes are first asked for theirs, up to this time.
NUMBERS = ("/metrics", "/dashboard/data")
PATIENCE_S = 2.0
LOOK_EVERY_S = 0.02

logger = logging.getLogger(__name__)
_decode_request = msgspec.json.Decoder(ReceivedRequest).decode


class FirstProcess:
    """The first process. Call `attach` before it serves. `tasks`: unanswered requests of others."""

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self.tasks: set[asyncio.Task[None]] = set()
        self._links: dict[Link, int] = {}
        self._answered: Counter[int] = Counter()
        self._complete = processes == 1
        self._joined = 0
        self._running: set[asyncio.Task[None]] = set()

    def attach(
        self, engine: Engine, reloader: Reloader, gate: Gate, own: Sequence[Observer]
    ) -> None:
        """Serve the other processes; `own`: the observers that every process has itself."""
        self.engine, self.gate = engine, gate
        self._watchers = [each for each in engine.observers if each not in own]
        self._counters = list(engine.metrics.request_observers)
        engine.metrics.request_observers.append(partial(self._note_answered, 0))
        engine.metrics.watch([self._reading()])
        reloader.on_reloaded = self._reload_others
        for (method, path), endpoint in gate.endpoints.items():
            if path in NUMBERS:
                gate.endpoints[method, path] = self._with_numbers(endpoint)
            elif path == "/ready":
                gate.endpoints[method, path] = self._when_complete(endpoint)

    def on_link(self, connected: socket.socket) -> None:
        """Set up the link to another process."""

        async def answer(what: str, body: bytes) -> bytes:
            return await self._answer(link, what, body)

        link = Link(answer, self.tasks)
        self._links[link] = 0
        task = asyncio.get_running_loop().create_task(self._run(link, connected))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, link: Link, connected: socket.socket) -> None:
        await link.open(connected)
        await link.run()
        self.engine.metrics.others.leave(self._links.pop(link))

    async def _answer(self, link: Link, what: str, body: bytes) -> bytes:
        if what == "score":
            return await self._score(unpacked(body, AskedScore))
        if what == "page":
            return await self._page(unpacked(body, AskedPage))
        if what == "report":
            self._count(link, unpacked(body, ProcessReport))
            return b""
        while self.engine.not_ready_reason and not self.engine.ready_since:
            await asyncio.sleep(LOOK_EVERY_S)
        self._joined += 1
        self._complete = self._complete or self._joined >= self.processes - 1
        return packed(fingerprints(self.engine))

    async def _score(self, asked: AskedScore) -> bytes:
        begin(self.gate.keys.named(asked.caller), asked.request_id)
        request = _decode_request(asked.request)
        how = {"observed": asked.observed, "gather": asked.gather}
        return encode_json(await self.engine.score(request, **how))

    async def _page(self, asked: AskedPage) -> bytes:
        begin(self.gate.keys.named(asked.caller), asked.request_id)
        came: list[Message] = [{"type": "http.request", "body": asked.body, "more_body": False}]
        answer = AnsweredPage(500, [], b"")

        async def receive() -> Message:
            if came:
                return came.pop()
            return await asyncio.get_running_loop().create_future()  # cancelled on a hang-up

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status, answer.headers = message["status"], list(message["headers"])
            else:
                answer.body += message.get("body", b"")

        scope: dict[str, Any] = {
            "type": "http",
            "method": asked.method,
            "path": asked.path,
            "query_string": asked.query,
            "headers": asked.headers,
        }
        await self.gate.endpoints[asked.method, asked.path](scope, receive, send)
        return packed(answer)

    def _reading(self) -> MetricReading:
        text = "Requests answered, by the process that answered them"

        def read() -> dict[str, float]:
            return {str(place): count for place, count in sorted(self._answered.items())}

        return MetricReading(CounterMetricFamily, "reward_process_requests", text, "process", read)

    def _note_answered(self, place: int, answered: Sequence[Answered]) -> None:
        self._answered[place] += len(answered)

    def _count(self, link: Link, report: ProcessReport) -> None:
        metrics = self.engine.metrics
        self._links[link] = report.place
        metrics.merge(report.place, report.taken)
        self._note_answered(report.place, report.answered)
        for count in self._counters:
            count(report.answered)
        for profile, found in report.verdicts:
            for observe in metrics.verdict_observers:
                observe(profile, found)
        for each in report.observed:
            self._show(each)

    def _show(self, seen: Observed) -> None:
        samples, results = decode_samples(seen.samples), decode_results(seen.results)
        request = ScoreRequest(list(samples), seen.profile)
        answer = ScoreResponse(results, seen.profile, seen.fingerprint, 0.0)
        for observe in self._watchers:
            try:
                observe(request, answer)
            except Exception:  # an observer's failure must not stop the report
                logger.exception("an observer failed on samples of another process")

    async def _ask_all(self, what: str, body: bytes) -> None:
        """Ask every other process; skip those that end meanwhile or take too long."""

        async def ask(link: Link) -> None:
            with suppress(RequestError, TimeoutError):
                async with asyncio.timeout(PATIENCE_S if what == "report" else None):
                    await link.ask(what, body)

        await asyncio.gather(*map(ask, list(self._links)))

    async def _reload_others(self) -> None:
        await self._ask_all("reload", packed(fingerprints(self.engine)))

    def _with_numbers(self, endpoint: ASGIApp) -> ASGIApp:
        async def ask_first(scope: Scope, receive: Receive, send: Send) -> None:
            await self._ask_all("report", b"")
            await endpoint(scope, receive, send)

        return ask_first

    def _when_complete(self, endpoint: ASGIApp) -> ASGIApp:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if not self._complete and self.engine.not_ready_reason is None:
                up = 1 + self._joined
                raise NotReady(f"starting: {up} of {self.processes} processes are up")
            await endpoint(scope, receive, send)

        return answer
