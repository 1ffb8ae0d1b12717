"""All curves of a study in one picture: a panel per comparison, and the final result of each
setting.

A line is the mean over seeds; its band reaches from the lowest seed to the highest. The result is
PNG bytes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from touchstone_rewards.trainer.running.plots import COLUMNS, LIGHT, Theme, dress


def draw_study(found: Mapping[str, Any], theme: Theme = LIGHT) -> bytes:
    """Draw the picture."""
    pairs = {each["question"]: (each["this"], each["other"]) for each in found["comparisons"]}
    rows = -(-(len(pairs) + 1) // COLUMNS)
    figure = Figure(figsize=(13, 3.5 * rows), facecolor=theme.background, layout="constrained")
    FigureCanvasAgg(figure)
    first: Axes | None = None
    for place, (question, names) in enumerate(pairs.items(), 1):
        axes = figure.add_subplot(rows, COLUMNS, place, sharey=first)
        first = first or axes
        for name, colour in zip(names, theme.lines, strict=False):
            _draw_curve(axes, name, found["settings"][name]["curves"], colour)
        _dress(axes, question, theme)
        axes.set_xlabel("rollouts", color=theme.ink, fontsize=8)
        axes.set_ylabel("held-out accuracy", color=theme.ink, fontsize=8)
        legend = axes.legend(fontsize=9, labelcolor=theme.ink, facecolor=theme.background)
        legend.get_frame().set(alpha=0.85, linewidth=0)
    axes = figure.add_subplot(rows, COLUMNS, len(pairs) + 1)
    _draw_ends(axes, found["settings"], theme)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _draw_curve(axes: Axes, name: str, curves: Mapping[str, Any], colour: str) -> None:
    runs = list(curves.values())
    at = runs[0]["rollouts"]
    points = list(zip(*(run["accuracy"] for run in runs), strict=True))
    axes.fill_between(at, list(map(min, points)), list(map(max, points)), color=colour, alpha=0.15)
    axes.plot(at, list(map(fmean, points)), color=colour, linewidth=2, label=name)


def _draw_ends(axes: Axes, settings: Mapping[str, Any], theme: Theme) -> None:
    """Draw every setting's final result: seeds as dots, the mean as a bar, the interval as a
    line."""
    for place, setting in enumerate(settings.values()):
        final = setting["final"]
        if final["interval"]:
            low, high = (min(1.0, max(0.0, end)) for end in final["interval"])
            axes.plot([low, high], [place, place], color=theme.grid, linewidth=5, zorder=1)
        seeds = final["by_seed"]
        axes.scatter(seeds, [place] * len(seeds), s=16, color=theme.lines[0], zorder=3)
        axes.plot(final["mean"], place, marker="|", markersize=15, color=theme.ink, zorder=2)
    axes.set_yticks(range(len(settings)), list(settings))
    axes.invert_yaxis()
    _dress(axes, "at the end: seeds, mean, 95% interval", theme)
    axes.set_xlabel("held-out accuracy", color=theme.ink, fontsize=8)


def _dress(axes: Axes, title: str, theme: Theme) -> None:
    axes.set_title(title, color=theme.ink, fontsize=10, loc="left")
    dress(axes, theme)
