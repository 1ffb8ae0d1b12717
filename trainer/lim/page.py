"""One page for a selection: trajectories of kept and dropped prompts against the mean, and scores.

In: the matrix that was scored, the scores, the rows kept. Out: `report.html`, self-contained.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from jinja2 import Environment
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from touchstone_rewards.trainer.running.plots import DARK, LIGHT, Theme

TEMPLATE = Path(__file__).parents[1] / "templates" / "lim.html"
LINES_DRAWN = 60


def write_page(
    folder: Path,
    matrix: Float[np.ndarray, "prompts epochs"],
    scores: Float[np.ndarray, " prompts"],
    kept: Int[np.ndarray, " kept"],
    *,
    threshold: float | None,
    facts: dict[str, Any],
) -> Path:
    """Write `report.html` into `folder`; `facts` are shown as a table."""
    pictures = {
        theme: base64.b64encode(draw(matrix, scores, kept, threshold, theme)).decode()
        for theme in (LIGHT, DARK)
    }
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        light=pictures[LIGHT], dark=pictures[DARK], facts=facts
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def draw(
    matrix: Float[np.ndarray, "prompts epochs"],
    scores: Float[np.ndarray, " prompts"],
    kept: Int[np.ndarray, " kept"],
    threshold: float | None,
    theme: Theme = LIGHT,
) -> bytes:
    """A PNG: kept and dropped trajectories with the mean of all prompts, and the scores."""
    dropped = np.setdiff1d(np.flatnonzero(~np.isnan(scores)), kept)
    figure = Figure(figsize=(13, 3.6), facecolor=theme.background, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    if matrix.shape[1]:
        _draw_lines(axes[0], matrix, kept, f"{len(kept)} kept", theme.lines[2], theme)
        _draw_lines(axes[1], matrix, dropped, f"{len(dropped)} dropped", theme.lines[1], theme)
    _draw_scores(axes[2], scores, threshold, theme)
    for panel in axes:
        panel.set_facecolor(theme.background)
        panel.tick_params(colors=theme.ink, labelsize=8)
        panel.grid(color=theme.grid, linewidth=0.6)
        panel.set_axisbelow(True)
        for side in panel.spines.values():
            side.set_color(theme.grid)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _draw_lines(
    axes: Axes, matrix: np.ndarray, rows: np.ndarray, title: str, colour: str, theme: Theme
) -> None:
    """Some of the prompts, evenly taken, and in bold the mean of all prompts."""
    epochs = np.arange(1, matrix.shape[1] + 1)
    step = max(1, -(-len(rows) // LINES_DRAWN))
    for row in rows[::step]:
        axes.plot(epochs, matrix[row], color=colour, linewidth=0.7, alpha=0.35, marker=".", ms=2)
    with np.errstate(invalid="ignore"):
        total, count = np.nansum(matrix, axis=0), (~np.isnan(matrix)).sum(axis=0)
        axes.plot(epochs, total / count, color=theme.ink, linewidth=2.4, label="mean of all")
    axes.set_title(title, color=theme.ink, fontsize=10, loc="left")
    axes.set_xlabel("epoch", color=theme.ink, fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8, frameon=False, labelcolor=theme.ink)


def _draw_scores(axes: Axes, scores: np.ndarray, threshold: float | None, theme: Theme) -> None:
    known = scores[~np.isnan(scores)]
    if len(known):
        low = max(float(known.min()), float(np.quantile(known, 0.02)))
        axes.hist(np.clip(known, low, None), bins=40, color=theme.lines[0])
    if threshold is not None:
        axes.axvline(threshold, color=theme.ink, linewidth=1.6, label=f"threshold {threshold:g}")
        axes.legend(fontsize=8, frameon=False, labelcolor=theme.ink)
    axes.set_title("scores", color=theme.ink, fontsize=10, loc="left")
