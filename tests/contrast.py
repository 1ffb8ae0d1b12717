"""Compute the contrast of what a page shows in a browser, by WCAG 2.2 AA."""

from __future__ import annotations

from pathlib import Path

from tests.browser import Page

SCRIPT = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


def too_faint(page: Page) -> list[str]:
    """Return a line for each text below 4.5:1 (3:1 if large), and each field or mark below 3:1.

    Colours are the computed ones, over all backgrounds behind them.
    """
    return page.run(SCRIPT)
