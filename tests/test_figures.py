"""A results file, a test or a constant holds every figure of README and docs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkout import ROOT
from tests.figures import WRITTEN, figures, unheld, wrong_line

DOCS = ROOT / "docs"
LISTED: dict[str, dict[str, str]] = yaml.safe_load((ROOT / "tests" / "figures.yaml").read_text())
# Decisions are dated records of what was measured then; the reference is made from the code.
RECORDS = (DOCS / "decisions", DOCS / "reference", DOCS / "zh")
PAGES = [
    ROOT / "README.md",
    *(ROOT / "examples").rglob("*.md"),
    *(page for page in DOCS.rglob("*.md") if not set(RECORDS) & set(page.parents)),
]
CHINESE = {ROOT / "README.zh.md": ROOT / "README.md"} | {
    page: DOCS / page.relative_to(DOCS / "zh") for page in (DOCS / "zh").rglob("*.md")
}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_figure_of_a_page_is_held(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = unheld(text, LISTED.get(name_of(page), {}))
    told = [f"line {figure.line}: {figure.text}" for figure in found]
    assert told == [], "name the results on the page, or list the holder in tests/figures.yaml"


@pytest.mark.parametrize("page", LISTED)
def test_every_line_of_the_list_is_needed_and_right(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    needed = {figure.text for figure in unheld(text)}
    assert set(LISTED[page]) <= needed, "not on the page, or held without the list"
    wrong = [wrong_line(figure, holder, text) for figure, holder in LISTED[page].items()]
    assert [each for each in wrong if each] == []


def test_little_is_quoted_and_the_page_says_from_whom() -> None:
    """Nothing here can hold another project's figure, so the page itself names its source."""
    quoted = [line for page in LISTED.values() for line in page.values() if "quoted: " in line]
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        told = re.sub(r"<!--.*?-->", "", text)
        for table in WRITTEN.finditer(text):
            if table["quoted"]:
                quoted.append(table["quoted"])
                assert table["quoted"] in told, f"{name_of(page)}: {table['quoted']}"
    assert len(quoted) <= 16


def held_tables() -> Iterator[tuple[Path, str]]:
    """Yield each table that a test says it holds: the page and the test."""
    for page in PAGES:
        for table in WRITTEN.finditer(page.read_text(encoding="utf-8")):
            if table["test"]:
                yield page, table["test"]


def calls_of(test: Callable[..., None]) -> list[dict[str, Any]]:
    """Return the arguments of each call of a test that needs no fixture, else none."""
    names = list(inspect.signature(test).parameters)
    for mark in getattr(test, "pytestmark", []):
        if mark.name == "parametrize" and names == [mark.args[0]]:
            return [{names[0]: value} for value in mark.args[1]]
    return [] if names else [{}]


def fails(test: Callable[..., None], arguments: dict[str, Any]) -> bool:
    try:
        test(**arguments)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize(("page", "test"), dict.fromkeys(held_tables()))
def test_a_test_that_holds_a_table_fails_for_another_figure(
    page: Path, test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = page.read_text(encoding="utf-8")
    [table, *_] = [found for found in WRITTEN.finditer(text) if found["test"] == test]
    figure = figures(table["rows"])[-1].text
    start, _, end = table["rows"].rpartition(figure)
    digit = re.search(r"\d(?=\D*$)", figure)
    assert digit
    other = str((int(digit[0]) + 5) % 10)
    wrong = f"{start}{figure[: digit.start()]}{other}{figure[digit.end() :]}{end}"
    read = Path.read_text

    def with_another_figure(path: Path, *args: Any, **options: Any) -> str:
        found = read(path, *args, **options)
        return found.replace(table["rows"], wrong) if path.resolve() == page else found

    monkeypatch.setattr(Path, "read_text", with_another_figure)
    path, _, name = test.partition("::")
    spec = spec_from_file_location("held", ROOT / path)
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    if not (calls := calls_of(getattr(module, name))):
        assert page.name in read(ROOT / path)  # it needs models or a server: too long to run here
        return
    assert any(fails(getattr(module, name), arguments) for arguments in calls)


@pytest.mark.parametrize("page", CHINESE, ids=name_of)
def test_a_chinese_page_has_the_figures_of_the_english_one(page: Path) -> None:
    known = set(re.findall(r"\d*[.,]?\d+", CHINESE[page].read_text(encoding="utf-8")))
    found = figures(page.read_text(encoding="utf-8"))
    bare = [(figure, re.sub(r"[^\d.,]", "", figure.text)) for figure in found]
    assert [figure.text for figure, number in bare if number not in known] == []


def test_a_figure_that_nothing_holds_is_found() -> None:
    page = (
        "`make bench BENCH=math` judges 13,806 a second, 93.6% right; `sample_deadline_s` is {}.\n"
    )
    page += "In 3.11.2 of 2026-11-21, arXiv 2402.03300, `99.9%`, port 8700:\n```\n12.3 ms\n```\n"
    assert unheld(page.format("5 s")) == []
    wrong = page.replace("13,806", "13,906").replace("93.6", "94.6").format("6 s")
    assert [figure.text for figure in unheld(wrong)] == ["13,906", "94.6%", "6 s"]
    row = "| `BENCH=soak` | 13,806 |\n| `BENCH=math` | 13,806 |\n"
    assert [figure.line for figure in unheld(row)] == [1]
    assert unheld(wrong, ["13,906", "94.6%", "6 s"]) == []


@pytest.mark.parametrize(
    ("figure", "holder"),
    [
        ("421 times", "13806.2 / 33.8 in benchmarks/results/math.json"),
        ("5 s", "tests/test_figures.py::test_no_such"),
        ("9 s", "tests/test_figures.py::test_every_figure_of_a_page_is_held"),
        ("64 MiB", "reward_server.container:SERVER_BYTES"),
        ("7 s", "trainer/configs/ppo.yaml:gamma"),
        ("7 s", "quoted: what the page does not say"),
        ("7 s", "anybody"),
    ],
)
def test_a_holder_that_does_not_hold_is_refused(figure: str, holder: str) -> None:
    assert wrong_line(figure, holder, "a page")
