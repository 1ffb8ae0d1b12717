"""Curves over the steps of a run, drawn from its log history.

In: the log history of `trainer_state.json`. Out: PNG bytes, light or dark. It reads no files.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

History = Sequence[Mapping[str, Any]]


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
)
LIGHT = Theme("#ffffff", "#24292f", "#d8dee4", ("#0969da", "#bc4c00", "#1a7f37", "#8250df"))
DARK = Theme("#161b22", "#c9d1d9", "#30363d", ("#58a6ff", "#f0883e", "#3fb950", "#bc8cff"))
COLUMNS = 3
DASHES = ("-", "--", ":")  # for more lines in a panel than there are colours


def series(history: History, key: str) -> list[tuple[int, float]]:
    """The (step, value) pairs of one key; steps where it is missing or null are left out.

    A key that ends in a slash stands for all that begin with it: those of every profile.
    """
    return [
        (int(row["step"]), float(value))
        for row in history
        for name, value in row.items()
        if value is not None and row.get("step") is not None and is_meant(key, name)
    ]


def is_meant(key: str, name: str) -> bool:
    """Tell whether `key`, which may be the beginning of several names, means this name."""
    return name == key or (key.endswith("/") and name.startswith(key))


def draw_curves(history: History, theme: Theme = LIGHT) -> bytes:
    """A PNG with one panel for everything that the history knows of."""
    drawn = [(panel, keys) for panel in PANELS if (keys := _keys(history, panel))]
    rows = max(1, -(-len(drawn) // COLUMNS))
    figure = Figure(figsize=(12, 2.9 * rows), facecolor=theme.background, layout="constrained")
    FigureCanvasAgg(figure)
    for place, (panel, keys) in enumerate(drawn, 1):
        axes = figure.add_subplot(rows, COLUMNS, place)
        _draw_panel(axes, panel, keys, history, theme)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _keys(history: History, panel: Panel) -> list[str]:
    known = {key for row in history for key, value in row.items() if value is not None}
    return [key for name in panel.keys for key in sorted(known) if is_meant(name, key)]


def _draw_panel(
    axes: Axes, panel: Panel, keys: Sequence[str], history: History, theme: Theme
) -> None:
    for number, key in enumerate(keys):
        points = series(history, key)
        axes.plot(
            [step for step, _ in points],
            [value for _, value in points],
            color=theme.lines[number % len(theme.lines)],
            linestyle=DASHES[number // len(theme.lines) % len(DASHES)],
            linewidth=1.8,
            marker="o" if len(points) < 3 else None,
            label=key.rpartition("/")[2] if panel.keys[0].endswith("/") else key,
        )
    if panel.is_share and all(0 <= v <= 1 for key in keys for _, v in series(history, key)):
        axes.set_ylim(-0.03, 1.03)
    axes.set_title(panel.title, color=theme.ink, fontsize=10, loc="left")
    axes.set_xlabel("step", color=theme.ink, fontsize=8)
    axes.set_facecolor(theme.background)
    axes.tick_params(colors=theme.ink, labelsize=8)
    axes.grid(color=theme.grid, linewidth=0.6)
    for side in axes.spines.values():
        side.set_color(theme.grid)
    if len(keys) > 1:
        axes.legend(fontsize=8, frameon=False, labelcolor=theme.ink)
