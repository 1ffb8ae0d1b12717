"""The pages of docs/ make a site: each is in the navigation, and every link leads somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.browser import Browser
from tests.checkout import ROOT
from tests.waiting import PATIENCE_S

DOCS = ROOT / "docs"
CONFIG = yaml.load((ROOT / "mkdocs.yml").read_text(), yaml.BaseLoader)
FOLDERS = (DOCS, ROOT / "examples")
PAGES = sorted([*ROOT.glob("*.md"), *(page for each in FOLDERS for page in each.rglob("*.md"))])
MKDOCS = ROOT / ".venv-docs" / "bin" / "mkdocs"
FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1`*\s*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)(?: \"[^\"]*\")?\)")


def in_nav(entries: list[Any]) -> Iterator[str]:
    """Yield the page of every entry, at whatever depth."""
    for entry in entries:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        if isinstance(value, str):
            yield value
        else:
            yield from in_nav(value)


def anchors(markdown: str) -> list[str]:
    """Return the anchors of a page's headings as GitHub makes them, and as the site is configured
    to.
    """
    headings = re.findall(r"^#+ (.+?)\s*$", FENCE.sub("", markdown), re.MULTILINE)
    titles = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


def faults(page: Path) -> Iterator[str]:
    """Yield the faults of a page's relative links, one line each."""
    text = re.sub(r"(`+)[^`].*?\1", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.is_relative_to(ROOT) and not target.is_relative_to(page.parent):
            yield f"{page.name}: {link} leaves the repository"
        elif target.is_dir() and page.is_relative_to(DOCS):
            yield f"{page.name}: {link} is a folder, which the site cannot show; link its files"
        elif not target.exists():
            yield f"{page.name}: {link} is not there"
        elif (
            anchor
            and target.suffix == ".md"
            and (anchors(target.read_text(encoding="utf-8")).count(anchor) != 1)
        ):
            yield f"{page.name}: {link} names no heading, or one that is there twice"


def test_every_page_is_in_the_navigation_once() -> None:
    listed = list(in_nav(CONFIG["nav"]))
    there = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    assert sorted(listed) == sorted(there), "add the page to nav in mkdocs.yml"


def test_every_relative_link_and_anchor_leads_somewhere() -> None:
    assert len(PAGES) > 30
    assert [fault for page in PAGES for fault in faults(page)] == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# One thing\n## `two`, three\n## Same\n## Same\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n[a](other.md#one-thing) [b](other.md#two-three) [c](#here) [d](https://e.fg)\n"
        "```\n[in code](nowhere.md)\n```\nand `[so](nowhere.md)`\n"
    )
    assert list(faults(page)) == []
    page.write_text("[a](nowhere.md) [b](other.md#two) [c](other.md#same) [d](#here)\n")
    assert [fault.split()[1] for fault in faults(page)] == [
        "nowhere.md",
        "other.md#two",
        "other.md#same",
        "#here",
    ]


def requirements() -> set[str]:
    """Return what the site needs, as `name==version`; without jieba, Chinese cannot be searched."""
    text = (DOCS / "site" / "requirements.txt").read_text(encoding="utf-8")
    return set(re.findall(r"^[\w-]+==[\w.]+", text.lower(), re.MULTILINE))


def installed(python: Path) -> set[str]:
    """Return the packages of an interpreter's environment, as `name==version`."""
    code = "import importlib.metadata as m; [print(d.name, d.version) for d in m.distributions()]"
    done = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return {"==".join(line.lower().split()) for line in done.stdout.splitlines()}


def test_packages_are_known_by_name_and_version() -> None:
    here = installed(Path(sys.executable))
    assert any(each.startswith("pytest==") for each in here)
    assert {"jieba", "mkdocs"} <= {each.partition("==")[0] for each in requirements()}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as `make docs` does, and return its folder."""
    if not MKDOCS.exists():
        pytest.skip("no .venv-docs: `make docs` installs it")
    lacking = requirements() - installed(MKDOCS.with_name("python"))
    assert not lacking, f".venv-docs lacks {', '.join(sorted(lacking))}: run `make docs`"
    folder = tmp_path_factory.mktemp("site")
    command = [MKDOCS, "build", "--strict", "--quiet", "--site-dir", folder]
    subprocess.run(command, cwd=ROOT, check=True, timeout=PATIENCE_S)
    return folder


def test_every_page_is_built_and_its_links_lead_to_files_of_the_site(site: Path) -> None:
    pages = [path for path in site.rglob("*.html") if path.name != "404.html"]
    assert len(pages) == len(list(DOCS.rglob("*.md")))
    for path in pages:
        html = path.read_text(encoding="utf-8")
        assert r"\|" not in "".join(re.findall(r"<td.*?</td>", html)), f"{path.name}: a bar escaped"
        links = re.findall(r'\b(?:href|src)="(?!https:)([^"#]+)', html)
        assert [link for link in links if not (path.parent / link).exists()] == [], path.name


@pytest.mark.parametrize("word", ["bad_ground_truth", "门控"])
def test_the_site_is_searched_as_files_and_asks_no_other_machine(
    site: Path, tmp_path: Path, word: str
) -> None:
    browser = Browser(tmp_path)
    try:
        page = browser.open_page().go((site / "index.html").as_uri())
        page.run("document.querySelector('[data-md-component=search-query]').focus()")
        page.call("Input.insertText", text=word)
        page.wait_for("document.querySelector('.md-search-result__link')")
        assert [url for url in page.asked if not url.startswith(("file:", "data:"))] == []
        assert page.problems == []
    finally:
        browser.close()
