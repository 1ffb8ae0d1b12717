"""The HTTP service: routes over an engine. `create_app(settings)` is its only entry point.

It takes the settings and returns an ASGI app that serves the types of `schemas`. Scoring is left to
the engine.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from fastapi import FastAPI
from msgspec import UNSET
from msgspec.structs import replace
from starlette.datastructures import State
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from touchstone_rewards import __version__
from touchstone_rewards.reward_server.alarms import AlarmList
from touchstone_rewards.reward_server.caller import current
from touchstone_rewards.reward_server.compat.routes import compat_routes
from touchstone_rewards.reward_server.dashboard.data import Sources
from touchstone_rewards.reward_server.dashboard.routes import dashboard_routes
from touchstone_rewards.reward_server.dashboard.wire_page import wire_routes
from touchstone_rewards.reward_server.errors import (
    ConfigError,
    InvalidRequest,
    RequestError,
)
from touchstone_rewards.reward_server.http.auth import KeyRing, require_admin
from touchstone_rewards.reward_server.http.body import (
    Body,
    decode,
    encode,
    encoded,
    json_response,
    read_body,
    send_json,
    unless_gone,
)
from touchstone_rewards.reward_server.http.gate import SMALL_BYTES, Gate, error_body
from touchstone_rewards.reward_server.http.model_routes import model_routes
from touchstone_rewards.reward_server.pool.pools import worker_pools
from touchstone_rewards.reward_server.processes.first import FirstProcess
from touchstone_rewards.reward_server.processes.other import OtherProcess
from touchstone_rewards.reward_server.processes.supervisor import ProcessMember
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.received import (
    ReceivedEnvelope,
    ReceivedRequest,
    check_received,
    open_envelope,
)
from touchstone_rewards.reward_server.schemas import HealthStatus, ProfileList, ScorerList
from touchstone_rewards.reward_server.scorers.catalogue import Used, scorer_infos
from touchstone_rewards.reward_server.scoring.engine import (
    Engine,
    PoolMaker,
    create_engine,
)
from touchstone_rewards.reward_server.scoring.model_host import BatcherMaker, batcher
from touchstone_rewards.reward_server.scoring.normalization import Normalizers
from touchstone_rewards.reward_server.settings import Settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics
from touchstone_rewards.reward_server.telemetry.tracer import Tracer
from touchstone_rewards.reward_server.watching.background import Background, attach, running
from touchstone_rewards.reward_server.watching.run_watch import RunWatch

MAX_COMPARED_CHARACTERS = 100  # of a path that may be misspelt: the comparison is not linear
_decode_envelope = msgspec.json.Decoder(ReceivedEnvelope).decode
_decode_request = msgspec.json.Decoder(ReceivedRequest).decode
# FastAPI's own telemetry would trace every request a second time, with the text of exceptions.
_NO_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False}
# The query parameters by which `GET /alarms` can be filtered.
ALARM_FILTERS = frozenset({"run", "profile", "signal"})
EXPECTED = '{"samples": [{"id": "…", "response": "…", …}], "profile": "…"}'


class GatedApp(FastAPI):
    """FastAPI with the gate in front of the middleware that FastAPI puts around every app.

    That middleware costs a request of one sample a tenth of its time, and the gate already handles
    every error. `gate`: takes complete requests without ASGI; None if each request is traced.
    """

    entrance: ASGIApp
    gate: Gate | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.entrance(scope, receive, send)

    async def behind_the_gate(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve requests that match no route of ours (404, 405) and the lifespan."""
        await super().__call__(scope, receive, send)


def create_app(
    settings: Settings,
    *,
    load_in_background: bool = False,
    make_pool: PoolMaker = worker_pools,
    make_batcher: BatcherMaker = batcher,
    member: ProcessMember | None = None,
) -> GatedApp:
    """Return the app that `settings` describe. Its workers start with its lifespan.

    With `load_in_background` it answers while it loads: `/health` with 200, `/ready` and `/score`
    with 503; the task `app.state.loading` then holds the outcome. `member`: the place of this
    process if several serve one port; `app.state.family` then links it to the others.

    Example:
        >>> app = create_app(Settings(workers=2))  # doctest: +SKIP

    Raises:
        ConfigError: a profile cannot be loaded.
    """
    metrics = Metrics()
    profiles = load_profiles(settings.profile_dirs, plugins=settings.plugins)
    other = OtherProcess(member.place) if member and member.place else None
    elsewhere = other and other.score
    engine = create_engine(profiles, settings, metrics, make_pool, make_batcher, elsewhere)
    background = attach(engine, settings, metrics)
    engine.normalizers = Normalizers(settings.state_dir)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        loading = app.state.loading = asyncio.create_task(engine.start())
        if not load_in_background:
            await loading
        async with running(background, settings.reload_s):
            yield
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        await engine.stop()

    title = "Touchstone reward server"
    app = GatedApp(
        title=title,
        version=__version__,
        lifespan=lifespan,
        telemetry=_NO_TELEMETRY,
        openapi_url=None,  # also turns off FastAPI's pages, which load from other hosts
        redirect_slashes=False,  # a redirect would repeat the caller's Host
    )
    app.state.url = None  # set by the listener
    app.state.engine, app.state.watch = engine, background.watch
    app.state.shadows, app.state.reloader = background.shadows, background.reloader
    keys = _keys(settings, engine, member)
    seen = _sources(engine, background, settings)
    routes = [
        *_routes(app.state, metrics, background, settings.max_body_elements),
        *model_routes(engine, settings),
        *compat_routes(engine, settings),
        *dashboard_routes(seen, wants_key=bool(keys)),
        *wire_routes(title),
    ]
    app.router.routes.extend(routes)
    app.add_exception_handler(HTTPException, _as_ours)
    gate = Gate(app.behind_the_gate, keys=keys, settings=settings, metrics=metrics, routes=routes)
    app.entrance = app.gate = gate
    if member is not None:
        app.state.family = other or FirstProcess(member.processes)
        own = [background.log.take] if background.log else []
        app.state.family.attach(engine, background.reloader, gate, own)
    if settings.traces:
        app.gate = None
        engine.columns.tracer = _tracer(app, [route.path for route in routes])
    return app


def _keys(settings: Settings, engine: Engine, member: ProcessMember | None) -> KeyRing:
    """Return the keys; with several processes, their limits and sample counts are shared."""
    if member is None:
        return KeyRing(settings.keys)
    board, place = member.board, member.place
    engine.counted = board.counted("", place)
    return KeyRing(settings.keys, lambda name: board.counted(name, place))


def _sources(engine: Engine, background: Background, settings: Settings) -> Sources:
    watch, runs, shadows = background.watch, background.runs, background.shadows
    return Sources(engine, watch, runs, shadows, settings.recent_samples)


def _tracer(app: GatedApp, routes: list[str]) -> Tracer:
    try:
        from touchstone_rewards.reward_server.telemetry.tracing import traced

        app.entrance, tracer = traced(app.entrance, routes)
        return tracer
    except ImportError as error:
        raise ConfigError(
            "traces need OpenTelemetry: pip install '.[server,otel]' in the checkout"
        ) from error


def _routes(
    state: State, metrics: Metrics, background: Background, max_elements: int
) -> list[Route]:
    engine: Engine = state.engine

    async def health(_: Request) -> Response:
        return json_response(HealthStatus("ok"))

    async def ready(_: Request) -> Response:
        engine.upstreams.look()
        reason, down = engine.not_ready_reason, engine.upstreams.down() or UNSET
        if reason is None:
            about = {"url": state.url or UNSET, "ready_since": engine.ready_since}
            return json_response(HealthStatus("ok", upstreams=down, **about))
        return json_response(
            HealthStatus("not_ready", reason, upstreams=down),
            status=503,
            headers={"retry-after": "1"},
        )

    async def profiles(_: Request) -> Response:
        infos = [
            replace(profile.info, shadow=background.shadows.infos.get(name))
            for name, profile in engine.profiles.items()
        ]
        return json_response(ProfileList(infos))

    async def scorers(_: Request) -> Response:
        used = [
            Used(name, profile.specs[key], scorer)
            for name, profile in engine.profiles.items()
            for key, scorer in profile.scorers.items()
        ]
        # This imports the built-in scorers that no profile uses, once.
        return json_response(ScorerList(await asyncio.to_thread(scorer_infos, used)))

    async def reload(_: Request) -> Response:
        require_admin("reload profiles from outside")
        try:
            return json_response(await background.reloader.reload())
        except ConfigError as error:
            raise InvalidRequest(str(error)) from error

    async def show_metrics(_: Request) -> Response:
        engine.upstreams.look()
        text, content_type = metrics.render()
        return Response(text, headers={"content-type": content_type})

    return [
        Route("/score", ScoreEndpoint(engine, max_elements), methods=["POST"]),
        Route("/health", health),
        Route("/ready", ready),
        Route("/profiles", profiles),
        Route("/scorers", scorers),
        Route("/alarms", alarms_endpoint(background.runs)),
        Route("/profiles/reload", reload, methods=["POST"]),
        Route("/metrics", show_metrics),
    ]


def alarms_endpoint(runs: RunWatch) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of `GET /alarms`: the last alarms, filtered by run, profile or signal."""

    async def alarms(request: Request) -> Response:
        wanted = request.query_params
        names = ALARM_FILTERS & wanted.keys()
        found = [
            each
            for each in runs.alarms
            if all(getattr(each, name) == wanted[name] for name in names)
        ]
        # Alarms contain samples, so no cache on the way may store them.
        return json_response(AlarmList(found), headers={"cache-control": "no-store"})

    return alarms


class ScoreEndpoint:
    """`POST /score` as a bare ASGI app: bytes in, typed decode, bytes out."""

    def __init__(self, engine: Engine, max_elements: int) -> None:
        self.engine = engine
        self.max_elements = max_elements

    def begin(self, query: bytes, body: Body) -> bytes | Coroutine[Any, Any, bytes]:
        """Answer a small body; return bytes at once if no scorer has to be waited for."""
        request = decode(body, _decode_request, EXPECTED)
        check_received(request.samples, self.max_elements)
        answer = self.engine.at_once(request)
        return self._later(request) if answer is None else encode(answer)

    async def _later(self, request: ReceivedRequest) -> bytes:
        answer = await self.engine.score(request)
        # Without explanations the answer is about as large as the request.
        return b"".join(await encoded(answer)) if request.explain else encode(answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, *await self._answer(receive))

    async def _answer(self, receive: Receive) -> list[bytes]:
        """Return the answer as bytes. A separate function, so that no sample stays in memory while
        the client reads the answer."""
        body = await read_body(receive)
        if len(body) <= SMALL_BYTES:
            answer = self.begin(b"", body)
            del body
            return [answer if isinstance(answer, bytes) else await unless_gone(receive, answer)]
        envelope = decode(body, _decode_envelope, EXPECTED)
        self.engine.check_admitted(envelope.profile, len(envelope.samples))
        request = await open_envelope(envelope)
        del envelope
        check_received(request.samples, self.max_elements, count=False)
        del body
        scoring = self.engine.score(request)
        if self.engine.waits(request.profile):
            scoring = unless_gone(receive, scoring)
        return await encoded(await scoring)


async def _as_ours(request: Request, error: Exception) -> Response:
    """Return a 404 or 405 of the router with the same error body as all other errors."""
    assert isinstance(error, HTTPException)
    paths = [route.path for route in request.app.routes if isinstance(route, Route)]
    path = request.url.path[:MAX_COMPARED_CHARACTERS]
    near = difflib.get_close_matches(path, paths, 1) if error.status_code == 404 else []
    meant = f"; did you mean {near[0]}?" if near else ""
    ours = RequestError(f"{error.detail}: the routes are described at /docs{meant}")
    ours.code = error.detail.lower().replace(" ", "_")
    body = error_body(ours, current().request_id)
    return Response(body, error.status_code, error.headers, media_type="application/json")
