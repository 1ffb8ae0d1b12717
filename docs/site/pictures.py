"""Draw the two pictures of docs/architecture.md: the path of a request, and of a training
sample."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import NamedTuple

IMAGES = Path(__file__).parents[1] / "images"
WIDTH, HIGH, GAP, TOP = 190, 74, 44, 40
LINE, TEXT, FILL, ACCENT = "#37474f", "#102027", "#eceff1", "#00897b"


class Box(NamedTuple):
    """A step: its column and row, its name, and its action in one or two lines."""

    column: float
    row: float
    name: str
    about: tuple[str, ...]


REQUEST = [
    Box(0, 0, "trainer", ("a batch of samples",)),
    Box(1, 0, "client", ("cuts, retries, one deadline",)),
    Box(2, 0, "http", ("key, limits, decode",)),
    Box(3, 0, "scoring", ("route, fan out, cascade",)),
    Box(4, -1.5, "inline rule", ("in the event loop",)),
    Box(4, -0.5, "worker", ("killed at the deadline",)),
    Box(4, 0.5, "model thread", ("batches of all callers",)),
    Box(4, 1.5, "endpoint", ("judge, sandbox, vLLM",)),
    Box(5, 0, "combine", ("weights, gates, clip;", "null stays null")),
    Box(5, 2.5, "answer", ("results in order,", "fingerprint")),
    Box(1, 2.5, "client", ("checks ids and profile",)),
    Box(0, 2.5, "trainer", ("a reward or None each",)),
]
REQUEST_ARROWS = [
    *((n, n + 1) for n in range(3)),
    *((3, n) for n in range(4, 8)),
    *((n, 8) for n in range(4, 8)),
    *((n, n + 1) for n in range(8, 11)),
]
SAMPLE = [
    Box(0, 0, "row", ("prompt, ground truth",)),
    Box(1, 0, "chat template", ("the policy's own",)),
    Box(2, 0, "rollout", ("n responses a prompt",)),
    Box(3, 0, "signals", ("log-probs, if asked for",)),
    Box(4, 0, "rewards", ("the server's, or None",)),
    Box(4, 1.4, "advantages", ("within the group;", "None is left out")),
    Box(3, 1.4, "loss", ("clipped ratio, KL",)),
    Box(2, 1.4, "optimizer", ("one update",)),
    Box(5, 0, "samples", ("samples_step_N.jsonl",)),
    Box(5, 1.4, "score again", ("replay, lim, pairs",)),
]
SAMPLE_ARROWS = [*((n, n + 1) for n in range(7)), (4, 8), (8, 9)]


def main() -> None:
    about = "A request from the trainer through client and server to a scorer, and back"
    (IMAGES / "request.svg").write_text(svg(REQUEST, REQUEST_ARROWS, about), encoding="utf-8")
    about = "A training sample from its row to the update, and into a file"
    (IMAGES / "training_sample.svg").write_text(svg(SAMPLE, SAMPLE_ARROWS, about), encoding="utf-8")


def svg(boxes: list[Box], arrows: list[tuple[int, int]], about: str) -> str:
    """Return a drawing of the boxes, with an arrow for each pair in `arrows`."""
    above = min(box.row for box in boxes)
    below = max(box.row for box in boxes)
    width = int((max(box.column for box in boxes) + 1) * (WIDTH + GAP))
    height = int((below - above) * (HIGH + GAP) + HIGH + 2 * TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'font-family="system-ui, sans-serif"><title>{escape(about)}</title>',
        '<defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        f'markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" fill="{LINE}"/></marker></defs>',
        f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
        *(arrow(boxes[start], boxes[end], above) for start, end in arrows),
        *(drawn(box, above) for box in boxes),
    ]
    return "\n".join(parts) + "\n</svg>\n"


def corner(box: Box, above: float) -> tuple[float, float]:
    return box.column * (WIDTH + GAP) + GAP / 2, (box.row - above) * (HIGH + GAP) + TOP


def drawn(box: Box, above: float) -> str:
    x, y = corner(box, above)
    lines = "".join(
        f'<text x="{x + WIDTH / 2:g}" y="{y + 44 + 16 * n:g}" font-size="13" '
        f'text-anchor="middle" fill="{TEXT}">{escape(line)}</text>'
        for n, line in enumerate(box.about)
    )
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HIGH}" rx="8" fill="{FILL}" '
        f'stroke="{ACCENT}" stroke-width="1.5"/>'
        f'<text x="{x + WIDTH / 2:g}" y="{y + 24:g}" font-size="16" font-weight="600" '
        f'text-anchor="middle" fill="{TEXT}">{escape(box.name)}</text>{lines}'
    )


def arrow(start: Box, end: Box, above: float) -> str:
    """Return an arrow between the facing sides of two boxes."""
    x1, y1 = corner(start, above)
    x2, y2 = corner(end, above)
    if start.column == end.column:
        points = (x1 + WIDTH / 2, y1 + HIGH, x2 + WIDTH / 2, y2)
    elif start.column < end.column:
        points = (x1 + WIDTH, y1 + HIGH / 2, x2, y2 + HIGH / 2)
    else:
        points = (x1, y1 + HIGH / 2, x2 + WIDTH, y2 + HIGH / 2)
    x1, y1, x2, y2 = points
    return (
        f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{LINE}" '
        'stroke-width="1.5" marker-end="url(#end)"/>'
    )


if __name__ == "__main__":
    main()
