"""Curves over the steps of one run, or of several runs, drawn from their log histories.

Input are the log histories of `trainer_state.json`; output is one SVG per panel, or one PNG of all
panels, light or dark. No files are read.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

History = Sequence[Mapping[str, Any]]
Points = list[tuple[int, float]]


class Panel(NamedTuple):
    """One small plot: a line for each key of the history that starts with one of `keys`."""

    title: str
    keys: tuple[str, ...]
    is_share: bool = False


class Theme(NamedTuple):
    background: str
    ink: str
    grid: str
    lines: tuple[str, ...]


class Line(NamedTuple):
    """One curve: its label in the legend, and its points."""

    label: str
    points: Points


class Drawing(NamedTuple):
    """One panel with its curves."""

    title: str
    lines: list[Line]
    is_share: bool


PANELS = (
    Panel("Reward", ("reward",), is_share=True),
    Panel("Scores", ("scores/",), is_share=True),
    Panel("Signals of the history", ("signals/",)),
    Panel("Held-out rows", ("eval_held_out/",), is_share=True),
    Panel("Failed rewards, share", ("rewards_failed_frac/",), is_share=True),
    Panel("Wait for rewards a step, s", ("rewards_wait_s/",)),
    Panel("Groups of equal rewards, share", ("frac_reward_zero_std",), is_share=True),
    Panel("Tokens clipped, share", ("clip_ratio/region_mean",)),
    Panel("Sampler to trainer, log-probability", ("sampling/sampling_logp_difference/",)),
    Panel("Sampler to trainer, ratio", ("sampling/importance_sampling_ratio/",)),
    Panel("Response length, tokens", ("completions/mean_length",)),
    Panel("Responses cut off, share", ("completions/clipped_ratio",), is_share=True),
    Panel("Loss", ("loss", "eval_loss")),
    Panel("Pairs ranked right", ("accuracy", "eval_accuracy"), is_share=True),
    Panel("Margin of the scores", ("margin", "eval_margin")),
    Panel(
        "Chosen preferred by the policy",
        ("logps/accuracies", "eval_logps/accuracies"),
        is_share=True,
    ),
    Panel(
        "Chosen gained over the reference",
        ("rewards/accuracies", "eval_rewards/accuracies"),
        is_share=True,
    ),
    Panel("KL to the reference", ("kl",)),
    Panel("Critic: explained variance", ("value/explained_variance",)),
    Panel("Critic: loss", ("value/loss",)),
    Panel("Entropy", ("entropy",)),
    Panel("Token accuracy", ("mean_token_accuracy",), is_share=True),
    Panel("Gradient norm", ("grad_norm",)),
    Panel("Learning rate", ("learning_rate",)),
)
LIGHT_LINES = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#cf222e", "#0e7c86", "#9a6700")
DARK_LINES = ("#58a6ff", "#f0883e", "#3fb950", "#bc8cff", "#ff7b72", "#39c5cf", "#d29922")
LIGHT = Theme("#ffffff", "#24292f", "#d8dee4", LIGHT_LINES)
DARK = Theme("#161b22", "#c9d1d9", "#30363d", DARK_LINES)
COLUMNS = 3
DASHES = ("-", "--", ":")  # for lines beyond the number of colours
# Fewer points are not smoothed. Otherwise the smoothed line averages over about a tenth.
SMOOTHED_FROM = 10
# More points would not be visible in a panel a few hundred pixels wide.
MOST_POINTS = 600
PANEL_INCHES = (4.4, 2.7)


def series(history: History, key: str) -> Points:
    """Return the (step, value) pairs of a key, without steps where it is missing, null or NaN.

    A key that ends in a slash matches all keys that begin with it, such as those of every profile.
    """
    return [
        (int(row["step"]), float(value))
        for row in history
        for name, value in row.items()
        if is_meant(key, name)
        and isinstance(value, int | float)
        and math.isfinite(value)
        and row.get("step") is not None
    ]


def is_meant(key: str, name: str) -> bool:
    """Return whether `key` matches `name`; a key that ends in a slash is a prefix."""
    return name == key or (key.endswith("/") and name.startswith(key))


def drawings_of(history: History) -> tuple[list[Drawing], list[str]]:
    """Return the panels of one run, and the titles of those that were 0 at every step.

    Panels without data are in neither.
    """
    drawings, zero = [], []
    for panel in PANELS:
        keys = _keys([history], panel)
        many = panel.keys[0].endswith("/")
        lines = [Line(_tail(key) if many else key, series(history, key)) for key in keys]
        _sort_in(Drawing(panel.title, lines, panel.is_share), drawings, zero)
    return drawings, zero


def compared_drawings(histories: Mapping[str, History]) -> tuple[list[Drawing], list[str]]:
    """Return the panels of several runs, one for each measure, with one line per run."""
    drawings, zero = [], []
    for panel in PANELS:
        keys = _keys(list(histories.values()), panel)
        for key in keys:
            lines = [Line(name, series(history, key)) for name, history in histories.items()]
            title = panel.title if len(keys) == 1 else f"{panel.title}: {_tail(key)}"
            _sort_in(Drawing(title, lines, panel.is_share), drawings, zero)
    return drawings, zero


def _sort_in(drawing: Drawing, drawings: list[Drawing], zero: list[str]) -> None:
    values = [value for line in drawing.lines for _, value in line.points]
    if any(values):
        drawings.append(drawing)
    elif values:
        zero.append(drawing.title)


def _keys(histories: Sequence[History], panel: Panel) -> list[str]:
    known = {
        key
        for history in histories
        for row in history
        for key, value in row.items()
        if value is not None
    }
    return [key for name in panel.keys for key in sorted(known) if is_meant(name, key)]


def _tail(key: str) -> str:
    return key.rpartition("/")[2]


def smoothed(values: Sequence[float]) -> list[float]:
    """Return the exponential running mean of the values, over about a tenth of them.

    It is bias-corrected: the mean of one value is that value.

    >>> smoothed([1.0, 1.0, 1.0])
    [1.0, 1.0, 1.0]
    """
    keep = 1 - 2 / (max(3.0, len(values) / 10) + 1)
    total = weight = 0.0
    found = []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        found.append(total / weight)
    return found


def draw_panel(drawing: Drawing, theme: Theme = LIGHT, *, legend: bool = True) -> bytes:
    """Draw one panel as SVG."""
    figure = panel_figure(theme)
    _draw(figure.add_subplot(), drawing, theme, legend)
    return as_svg(figure)


def panel_figure(theme: Theme) -> Figure:
    """Return an empty figure, sized so that its text is readable on a narrow screen."""
    figure = Figure(figsize=PANEL_INCHES, facecolor=theme.background)
    figure.subplots_adjust(left=0.14, right=0.97, bottom=0.17, top=0.85)
    return figure


def as_svg(figure: Figure) -> bytes:
    """Return the figure as SVG with real text; equal figures give equal bytes."""
    buffer = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "panel"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def recoloured(svg: bytes, old: Theme, new: Theme) -> bytes:
    """Replace the colours of one theme by those of another, without drawing again."""
    colours = dict(zip(_colours(old), _colours(new), strict=True))
    return re.sub(b"|".join(colours), lambda found: colours[found[0]], svg)


def _colours(theme: Theme) -> list[bytes]:
    return [each.encode() for each in (theme.background, theme.ink, theme.grid, *theme.lines)]


def draw_curves(history: History, theme: Theme = LIGHT) -> bytes:
    """Draw a PNG with one panel for everything in the history."""
    drawings, _ = drawings_of(history)
    rows = max(1, -(-len(drawings) // COLUMNS))
    height = 2.9 * rows
    figure = Figure(figsize=(12, height), facecolor=theme.background)
    FigureCanvasAgg(figure)
    figure.subplots_adjust(
        left=0.05, right=0.985, bottom=0.5 / height, top=1 - 0.45 / height, wspace=0.2, hspace=0.4
    )
    for place, drawing in enumerate(drawings, 1):
        _draw(figure.add_subplot(rows, COLUMNS, place), drawing, theme, legend=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def style_of(number: int, theme: Theme) -> tuple[str, str]:
    """Return colour and dash style of a panel's n-th line."""
    colours = theme.lines
    return colours[number % len(colours)], DASHES[number // len(colours) % len(DASHES)]


def _draw(axes: Axes, drawing: Drawing, theme: Theme, legend: bool) -> None:
    for number, line in enumerate(drawing.lines):
        _draw_line(axes, line, *style_of(number, theme))
    values = [value for line in drawing.lines for _, value in line.points]
    if drawing.is_share and all(0 <= value <= 1 for value in values):
        axes.set_ylim(-0.03, 1.03)
    axes.set_title(drawing.title, color=theme.ink, fontsize=10, loc="left")
    axes.set_xlabel("step", color=theme.ink, fontsize=8)
    dress(axes, theme)
    if legend and len(drawing.lines) > 1:
        axes.legend(fontsize=8, frameon=False, labelcolor=theme.ink)


def dress(axes: Axes, theme: Theme) -> None:
    """Apply the theme's colours and grid to axes."""
    axes.set_facecolor(theme.background)
    axes.tick_params(colors=theme.ink, labelsize=8)
    axes.yaxis.get_offset_text().set(color=theme.ink, fontsize=8)
    axes.grid(color=theme.grid, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_color(theme.grid)


def _draw_line(axes: Axes, line: Line, colour: str, dashes: str) -> None:
    """Draw the smoothed curve, and the raw values behind it."""
    steps, values = [step for step, _ in line.points], [value for _, value in line.points]
    smooth = len(values) >= SMOOTHED_FROM
    bold = smoothed(values) if smooth else values
    thin = max(1, -(-len(values) // MOST_POINTS))
    if smooth:
        axes.plot(steps[::thin], values[::thin], color=colour, linewidth=0.8, alpha=0.35)
    axes.plot(
        steps[::thin],
        bold[::thin],
        color=colour,
        linestyle=dashes,
        linewidth=1.8,
        marker="o" if len(values) < SMOOTHED_FROM else None,
        markersize=3.5,
        label=line.label,
    )
