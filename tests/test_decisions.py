"""Decisions are numbered without gaps, each is in its theme, and the index names them all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from tests.checkout import ROOT

FOLDER = ROOT / "docs" / "decisions"
HEADING = re.compile(
    r"^## (D\d{3}) (.+)\n\n\*\d{4}-\d\d-\d\d; (in force|replaced by .+)\*$",
    re.MULTILINE,
)
LISTED = re.compile(r"^- \[(D\d{3})\]\((\w+)\.md#\S+\) (.+?)( \(replaced\))?$", re.MULTILINE)


def decided() -> Iterator[tuple[str, str, str, bool]]:
    """Yield number, theme and heading of each decision, and whether it is replaced."""
    for page in sorted(FOLDER.glob("*.md")):
        for number, heading, status in HEADING.findall(page.read_text(encoding="utf-8")):
            yield number, page.stem, heading, status != "in force"


def test_numbers_have_no_gap_and_every_heading_has_number_date_and_status() -> None:
    numbers = sorted(number for number, *_ in decided())
    assert numbers == [f"D{at:03}" for at in range(1, len(numbers) + 1)]
    pages = (
        page.read_text(encoding="utf-8") for page in FOLDER.glob("*.md") if page.stem != "index"
    )
    headings = chain.from_iterable(re.findall(r"^## .*$", page, re.MULTILINE) for page in pages)
    assert len(list(headings)) == len(numbers)


def test_the_index_names_every_decision_where_it_stands() -> None:
    index = (FOLDER / "index.md").read_text(encoding="utf-8")
    listed = [
        (number, theme, heading, bool(mark))
        for number, theme, heading, mark in LISTED.findall(index)
    ]
    assert sorted(listed) == sorted(decided())
    assert len(listed) == len(re.findall(r"^- ", index, re.MULTILINE))
