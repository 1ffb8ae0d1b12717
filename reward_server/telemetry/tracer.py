"""The engine's interface for spans: OpenTelemetry through `tracing.py`, or no spans.

The engine knows only this interface, so a server without traces does not import OpenTelemetry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

Attribute = str | int


class Tracer(Protocol):
    """Receives the spans of a request: one per scorer, and inside it the wait for its answer."""

    def span(
        self, kind: str, name: str, attributes: Callable[[], Mapping[str, Attribute]]
    ) -> AbstractContextManager[object]:
        """Return a context that is a span. A `NoTracer` does not call `attributes`."""
        ...

    def annotate(self, name: str, value: Callable[[], Attribute]) -> None:
        """Set an attribute of the innermost open span. A `NoTracer` does not call `value`."""
        ...


class NoTracer:
    """A tracer that keeps no spans."""

    def span(
        self, kind: str, name: str, attributes: Callable[[], Mapping[str, Attribute]]
    ) -> AbstractContextManager[object]:
        return _NO_SPAN

    def annotate(self, name: str, value: Callable[[], Attribute]) -> None:
        return


_NO_SPAN: AbstractContextManager[object] = nullcontext()
NO_TRACER = NoTracer()
