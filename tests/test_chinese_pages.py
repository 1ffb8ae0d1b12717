"""The pages in docs/zh/ have the commands and figures of their English pages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkout import ROOT
from tests.typed_pages import blocks_of

DOCS = ROOT / "docs"
PAGES = sorted((DOCS / "zh").rglob("*.md"))
TUTORIALS = sorted((DOCS / "zh" / "tutorials").glob("*.md"))
COMMENT = re.compile(r"\s*# .*")
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"``+ .+? ``+|`[^`]+`")
FIGURE = re.compile(r"(?<![A-Za-z_\d.])[-−+±]?\.?\d[\d.,]*(?<![.,])|\b(?:yes|no)\b")
SIDES = re.compile(r"\| (是|否) (?=\|)")


def name_of(page: Path) -> str:
    return page.relative_to(DOCS / "zh").as_posix()


def english(page: Path) -> str:
    """Return the English page of a Chinese one."""
    return (DOCS / name_of(page)).read_text(encoding="utf-8")


def bare_blocks(markdown: str) -> list[tuple[str, str, str]]:
    """Return kind, file name and code of each block, without the comments of either language."""
    return [
        (kind, about if kind == "file" else "", COMMENT.sub("", code))
        for kind, about, code in blocks_of(markdown)
    ]


def rows(markdown: str) -> Iterator[tuple[str, Counter[str]]]:
    """Yield, for each row of the tables, the parts that no language changes: code, figures, yes or
    no.
    """
    words = {"是": "yes", "否": "no"}
    for row in re.findall(r"^\|.*\|$", FENCED.sub("", markdown), re.MULTILINE):
        told = SIDES.sub(lambda match: f"| {words[match[1]]} ", row)
        told = re.sub(r"(\d+) 万", lambda match: f"{int(match[1]) / 100:g} million", told)
        code = CODE.findall(told)
        yield row, Counter([*code, *FIGURE.findall(CODE.sub("", told))])


def strange_rows(markdown: str, of: str) -> list[str]:
    """Return the rows whose code and figures no single row of the other page contains."""
    known = [told for _, told in rows(of)]
    return [row for row, told in rows(markdown) if not any(told <= each for each in known)]


@pytest.mark.parametrize("page", TUTORIALS, ids=name_of)
def test_a_tutorial_is_typed_as_the_english_one_is(page: Path) -> None:
    assert bare_blocks(page.read_text(encoding="utf-8")) == bare_blocks(english(page))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_stands_on_an_english_page(page: Path) -> None:
    pages = [each for each in DOCS.rglob("*.md") if each not in PAGES]
    known = {code for each in pages for *_, code in bare_blocks(each.read_text(encoding="utf-8"))}
    blocks = bare_blocks(page.read_text(encoding="utf-8"))
    assert [code for *_, code in blocks if code not in known] == []


@pytest.mark.parametrize("page", [each for each in PAGES if each.name != "index.md"], ids=name_of)
def test_every_row_of_a_table_has_the_code_and_figures_of_an_english_one(page: Path) -> None:
    assert strange_rows(page.read_text(encoding="utf-8"), english(page)) == []


def test_the_tables_of_the_readmes_agree() -> None:
    ours, theirs = (
        (ROOT / name).read_text(encoding="utf-8") for name in ("README.zh.md", "README.md")
    )
    assert strange_rows(ours, theirs) == []


def test_a_row_that_differs_is_found() -> None:
    page = "| `a` | 1.5 of 30 | yes |\n| `b` | 2 | no |\n"
    assert strange_rows("| `a` | 30 里的 1.5 | 是 |\n", page) == []
    for wrong in ("| `a` | 1.6 | 是 |", "| `b` | 1.5 | 否 |", "| `b` | 2 | 是 |"):
        assert strange_rows(wrong + "\n", page) == [wrong]
