"""OpenTelemetry traces: a span a request, in it one a scorer, in that its wait for an answer.

In: an app and its engine, neither started. Out: spans, to where the `OTEL_*` variables say, or to
the tracer provider that this process has already. They carry names, counts and times, never what a
prompt or a response says. Imported where `traces` is set, and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

from fastapi import FastAPI
from opentelemetry import propagate, trace  # pyright: ignore[reportMissingImports]
from opentelemetry.sdk.resources import (  # pyright: ignore[reportMissingImports]
    OTELResourceDetector,
    Resource,
)
from opentelemetry.sdk.trace import TracerProvider  # pyright: ignore[reportMissingImports]
from opentelemetry.sdk.trace.export import (  # pyright: ignore[reportMissingImports]
    BatchSpanProcessor,
)
from opentelemetry.trace import (  # pyright: ignore[reportMissingImports]
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from touchstone_rewards import __version__
from touchstone_rewards.reward_server.caller import current
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.http.gate import CLIENT_GONE
from touchstone_rewards.reward_server.pool.pool import WorkerPool
from touchstone_rewards.reward_server.profiles import Profile
from touchstone_rewards.reward_server.schemas import Sample, ScoreRequest
from touchstone_rewards.reward_server.scorers.base import Score
from touchstone_rewards.reward_server.scoring.engine import Engine
from touchstone_rewards.reward_server.scoring.model_host import ModelHost, ModelScorer
from touchstone_rewards.reward_server.scoring.verdict_cache import Run, VerdictCache
from touchstone_rewards.reward_server.telemetry.logs import QUIET_ROUTES

SERVICE = "touchstone-reward-server"


def trace_app(app: FastAPI, engine: Engine, routes: Iterable[str]) -> None:
    """Have every request of the app be a span, with spans in it for what the engine does.

    Raises:
        ImportError: the exporter is not installed.
        ConfigError: `OTEL_TRACES_EXPORTER` names one that is not known.
    """
    tracer = _provider().get_tracer("reward_server", __version__)
    engine.column = _traced_column(engine, tracer)
    engine.cache.score = _counted_hits(engine.cache)
    engine.pool.score = _traced_pool(engine.pool, tracer)
    engine.models.score = _traced_models(engine.models, tracer)
    app.add_middleware(TracedRequests, tracer=tracer, routes=frozenset(routes) - QUIET_ROUTES)


def _provider() -> Any:
    """The process's own, where an agent or an embedding program has set one."""
    known = trace.get_tracer_provider()
    return known if isinstance(known, TracerProvider) else new_provider()


def new_provider() -> TracerProvider:
    """One that the standard variables describe.

    Raises:
        ImportError, ConfigError: as `trace_app`.
    """
    named = Resource.create({"service.name": SERVICE})
    provider = TracerProvider(resource=named.merge(OTELResourceDetector().detect()))
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "otlp")
    if exporter != "none":
        provider.add_span_processor(BatchSpanProcessor(_exporter(exporter)))
    return provider


def _exporter(name: str) -> Any:
    if name in ("otlp", "otlp_proto_http"):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # pyright: ignore[reportMissingImports]
            OTLPSpanExporter,
        )

        return OTLPSpanExporter()
    for entry in entry_points(group="opentelemetry_traces_exporter", name=name):
        return entry.load()()
    raise ConfigError(f"OTEL_TRACES_EXPORTER is {name!r}; installed are otlp, console and none")


class TracedRequests:
    """ASGI middleware around all others; the caller's `traceparent` is the parent."""

    def __init__(self, app: ASGIApp, *, tracer: Tracer, routes: frozenset[str]) -> None:
        self.app = app
        self.tracer = tracer
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in self.routes:
            await self.app(scope, receive, send)
            return
        method, route = scope["method"], scope["path"]
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        status = CLIENT_GONE

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        about = {"http.request.method": method, "http.route": route}
        parent = propagate.extract(headers)
        name = f"{method} {route}"
        with _span(self.tracer, name, about, context=parent, kind=SpanKind.SERVER) as span:
            await self.app(scope, receive, watched)
            _tell(span, status)


def _tell(span: Span, status: int) -> None:
    served = current()
    span.set_attributes(
        {
            "http.response.status_code": status,
            "touchstone.request_id": served.request_id,
            "touchstone.key": served.caller.name if served.caller else "",
            "touchstone.profile": served.profile,
            "touchstone.samples": served.samples,
            "touchstone.failures": served.failures.total(),
        }
    )
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))


@contextmanager
def _span(tracer: Tracer, name: str, about: dict[str, Any], **options: Any) -> Iterator[Span]:
    """A span, the current one inside. Of an exception it keeps the kind: its text may be a
    sample's."""
    with tracer.start_as_current_span(
        name, attributes=about, record_exception=False, set_status_on_exception=False, **options
    ) as span:
        try:
            yield span
        except BaseException as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def _in_request() -> bool:
    """Not so in the background, where a shadow's samples would be traces of their own."""
    return trace.get_current_span().get_span_context().is_valid


def _traced_column(engine: Engine, tracer: Tracer) -> Any:
    column = engine.column

    async def traced(
        profile: Profile, key: str, request: ScoreRequest, give_up_at: float | None
    ) -> list[Score]:
        if not _in_request():
            return await column(profile, key, request, give_up_at)
        about = {
            "touchstone.scorer": profile.specs[key].name,
            "touchstone.runs_in": profile.scorers[key].runs_in,
            "touchstone.samples": len(request.samples),
        }
        with _span(tracer, f"scorer {key}", about) as span:
            scores = await column(profile, key, request, give_up_at)
            span.set_attribute(
                "touchstone.failures", sum(score.error is not None for score in scores)
            )
        return scores

    return traced


def _counted_hits(cache: VerdictCache) -> Any:
    look = cache.score

    async def counted(
        scorer: str, reads: Sequence[str], samples: Sequence[Sample], run: Run, **options: Any
    ) -> list[Score]:
        scored = 0

        def counting(samples: Sequence[Sample], **more: Any) -> Awaitable[list[Score]]:
            nonlocal scored
            scored += len(samples)
            return run(samples, **more)

        scores = await look(scorer, reads, samples, counting, **options)
        trace.get_current_span().set_attribute("touchstone.cache_hits", len(samples) - scored)
        return scores

    return counted


def _traced_pool(pool: WorkerPool, tracer: Tracer) -> Any:
    score = pool.score

    async def traced(scorer: str, samples: Sequence[Sample], **options: Any) -> list[Score]:
        return await _traced(tracer, "workers", samples, lambda: score(scorer, samples, **options))

    return traced


def _traced_models(models: ModelHost, tracer: Tracer) -> Any:
    score = models.score

    async def traced(scorer: ModelScorer, samples: Sequence[Sample], **options: Any) -> list[Score]:
        name = f"model {scorer.model.label}"
        return await _traced(tracer, name, samples, lambda: score(scorer, samples, **options))

    return traced


async def _traced(
    tracer: Tracer,
    name: str,
    samples: Sequence[Sample],
    score: Callable[[], Awaitable[list[Score]]],
) -> list[Score]:
    if not _in_request():
        return await score()
    with _span(tracer, name, {"touchstone.samples": len(samples)}):
        return await score()
