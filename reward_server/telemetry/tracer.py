"""Where the engine reports spans: to OpenTelemetry through `tracing.py`, or nowhere.

The engine knows only this seam, so a server without traces imports nothing of OpenTelemetry.
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
        """Open a span that lasts as long as the block. Without a tracer nothing is called."""
        ...

    def annotate(self, name: str, value: Callable[[], Attribute]) -> None:
        """Set an attribute of the innermost open span. Without a tracer `value` is not called."""
        ...


class NoTracer:
    """Keep no spans."""

    def span(
        self, kind: str, name: str, attributes: Callable[[], Mapping[str, Attribute]]
    ) -> AbstractContextManager[object]:
        return _NO_SPAN

    def annotate(self, name: str, value: Callable[[], Attribute]) -> None:
        return


_NO_SPAN: AbstractContextManager[object] = nullcontext()
NO_TRACER = NoTracer()
