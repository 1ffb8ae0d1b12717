"""OpenTelemetry traces: one span per request, child spans per scorer, grandchild spans per wait.

Spans go to the exporter that the `OTEL_*` variables name, or to the process's existing tracer
provider. They carry names, counts and times, never prompts or responses. This module is imported
only if `traces` is set.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import entry_points
from typing import Any

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
from touchstone_rewards.reward_server.errors import CLIENT_GONE, ConfigError
from touchstone_rewards.reward_server.telemetry.logs import QUIET_ROUTES
from touchstone_rewards.reward_server.telemetry.tracer import Attribute

SERVICE = "touchstone-reward-server"


def traced(app: ASGIApp, routes: Iterable[str]) -> tuple[ASGIApp, OpenTelemetryTracer]:
    """Return `app` with a span around every request to `routes`, and the tracer for inner spans.

    Raises:
        ImportError: the exporter is not installed.
        ConfigError: `OTEL_TRACES_EXPORTER` names an unknown one.
    """
    tracer = _provider().get_tracer("reward_server", __version__)
    served = TracedRequests(app, tracer=tracer, routes=frozenset(routes) - QUIET_ROUTES)
    return served, OpenTelemetryTracer(tracer)


class OpenTelemetryTracer:
    """The engine's spans as OpenTelemetry spans, inside the span of their request.

    Outside a request it opens none: each sample of a shadow would be a trace of its own.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def span(
        self, kind: str, name: str, attributes: Callable[[], Mapping[str, Attribute]]
    ) -> AbstractContextManager[object]:
        if not trace.get_current_span().get_span_context().is_valid:
            return nullcontext()
        return _span(self._tracer, f"{kind} {name}".rstrip(), attributes())

    def annotate(self, name: str, value: Callable[[], Attribute]) -> None:
        trace.get_current_span().set_attribute(name, value())


def _provider() -> Any:
    """Return the process's own provider if an agent or embedding program has set one."""
    known = trace.get_tracer_provider()
    return known if isinstance(known, TracerProvider) else new_provider()


def new_provider() -> TracerProvider:
    """Return a provider that the standard variables describe.

    Raises:
        ImportError, ConfigError: as `traced`.
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
def _span(
    tracer: Tracer, name: str, about: Mapping[str, Attribute], **options: Any
) -> Generator[Span]:
    """Open a span and make it current. Of an exception it records only the type: the text may
    contain a sample."""
    with tracer.start_as_current_span(
        name, attributes=about, record_exception=False, set_status_on_exception=False, **options
    ) as span:
        try:
            yield span
        except BaseException as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
