"""Render one self-contained HTML page from named parts; all reports of the trainer use it.

Parts (tiles, tables, drawings, samples, settings) are plain values; missing parts are left out. The
page needs no network.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment
from markupsafe import Markup

from touchstone_rewards.trainer.running.plots import DARK, LIGHT, Drawing, draw_panel, recoloured

TEMPLATE = Path(__file__).parents[1] / "templates" / "report.html"
TURNS_SHOWN = 3


class Table(NamedTuple):
    """A table of texts; on a narrow screen each row becomes a block of labelled cells."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


class GroupExample(NamedTuple):
    """Responses to one prompt, with a label."""

    label: str
    samples: Sequence[Mapping[str, Any]]


def render_page(**parts: object) -> str:
    """Return the page made of these parts; their names are those in `templates/report.html`."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(**parts, verdict=verdict, asked=asked, readable=readable)


def panels_of(drawings: Sequence[Drawing], *, legend: bool = True) -> list[dict[str, str]]:
    """Draw every panel in both themes."""
    return [panel(each.title, draw_panel(each, legend=legend)) for each in drawings]


def panel(title: str, light: bytes) -> dict[str, str]:
    """Return an SVG drawn in the light theme as data URLs in both themes."""
    held = {"light": light, "dark": recoloured(light, LIGHT, DARK)}
    return {"title": title} | {
        name: f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
        for name, svg in held.items()
    }


def verdict(sample: Mapping[str, Any]) -> Markup:
    """Return reward and scores of a sample as labels, or the error code if it has no reward."""
    if sample["reward"] is None:
        code = (sample.get("error") or {}).get("code", "no reward")
        return Markup('<span class="tag bad">not scored: {}</span>').format(code)
    kind = "good" if sample["reward"] >= 1 else "bad"
    labels = [(kind, f"reward {sample['reward']:g}")]
    labels += [("soft", f"{k} {v:g}") for k, v in sample["scores"].items() if v is not None]
    return Markup("").join(
        Markup('<span class="tag {}">{}</span>').format(css, text) for css, text in labels
    )


def asked(sample: Mapping[str, Any]) -> str:
    """Return the prompt of a sample for display: the last turns of a chat, or the user's turn of a
    story without its format instructions."""
    prompt, metadata = sample["prompt"], sample.get("metadata") or {}
    if not isinstance(prompt, list):
        return str(prompt)
    history, turn = (metadata.get(name) for name in ("conversation_history", "user_input"))
    if isinstance(history, list) and isinstance(turn, str):
        prompt = [*history, {"role": "user", "content": turn}]
    left_out = len(prompt) - TURNS_SHOWN
    lines = [f"[{left_out} earlier turns]"] if left_out > 0 else []
    return "\n".join(lines + [_turn(each) for each in prompt[-TURNS_SHOWN:]])


def readable(value: object) -> str:
    """Format a value for display: text unchanged, messages turn by turn, other structures as
    JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        return "\n".join(_turn(each) for each in value)
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def _turn(turn: Mapping[str, object]) -> str:
    return f"[{turn.get('role')}] {turn.get('content')}"
