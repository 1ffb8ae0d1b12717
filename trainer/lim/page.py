"""`report.html` of a selection: trajectories of kept and dropped prompts and their mean, and
scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from touchstone_rewards.trainer.running.page import panel, readable, render_page
from touchstone_rewards.trainer.running.plots import LIGHT, Theme, as_svg, dress, panel_figure

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
    dropped = np.setdiff1d(np.flatnonzero(~np.isnan(scores)), kept)
    panels = [panel("scores", draw_scores(scores, threshold))]
    if matrix.shape[1]:
        panels = [
            panel("kept", draw_lines(matrix, kept, f"{len(kept)} kept", 2)),
            panel("dropped", draw_lines(matrix, dropped, f"{len(dropped)} dropped", 1)),
            *panels,
        ]
    page = render_page(
        title="Which prompts were kept, and why",
        panels_title="Trajectories and scores",
        panels_note="Thin lines: single prompts, at most sixty. Bold: the mean of all prompts.",
        panels=panels,
        facts=[(name, readable(value)) for name, value in facts.items()],
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def draw_lines(
    matrix: Float[np.ndarray, "prompts epochs"],
    rows: Int[np.ndarray, " rows"],
    title: str,
    colour: int,
    theme: Theme = LIGHT,
) -> bytes:
    """Draw the trajectories of some prompts and the mean of all, as SVG."""
    figure = panel_figure(theme)
    axes = figure.add_subplot()
    _draw_lines(axes, matrix, rows, title, theme.lines[colour], theme)
    dress(axes, theme)
    return as_svg(figure)


def draw_scores(
    scores: Float[np.ndarray, " prompts"], threshold: float | None, theme: Theme = LIGHT
) -> bytes:
    """Draw a histogram of the scores, as SVG."""
    figure = panel_figure(theme)
    axes = figure.add_subplot()
    _draw_scores(axes, scores, threshold, theme)
    dress(axes, theme)
    return as_svg(figure)


def _draw_lines(
    axes: Axes, matrix: np.ndarray, rows: np.ndarray, title: str, colour: str, theme: Theme
) -> None:
    """Draw evenly chosen prompts, and the mean of all prompts in bold."""
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
