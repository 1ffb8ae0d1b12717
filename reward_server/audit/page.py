"""Render the report as one HTML page without scripts or external resources."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, StrictUndefined

from touchstone_rewards.reward_server.audit.report import AuditReport, AuditShare

TEMPLATE = Path(__file__).with_name("page.html.jinja")


def page(report: AuditReport) -> str:
    """Return the report as HTML, with all its texts escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(report=report, number=_number, percent=_percent, interval=_interval)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


def _percent(value: AuditShare) -> str:
    return f"{value.share:.1%}" if value.of else "–"


def _interval(value: AuditShare) -> str:
    return (
        f"{value.count} of {value.of} [{value.low:.1%}, {value.high:.1%}]" if value.of else "none"
    )
