"""Find the figures of pages, and what holds each: a results file, a default, or a line of code.

A figure is what somebody measured or set: a number with a unit (`12 ms`, `93.6%`, `421 times`), a
number with a point (`.848`), a count in thousands (`1,495`). Code, comments, headings of tables and
tables that a benchmark writes (`<!-- demo: costs -->`) are left out; so are versions, dates, ports
and numbers of papers, by pattern.

A figure is held by what its page names:

- a results file (`BENCH=math`, `benchmarks math` or `results/math.json`), if one of its numbers,
  in the figure's unit, rounds to it;
- a field or setting in code (`deadline_s`), if the reference gives this default in this unit;
- or a line of `figures.yaml`: numbers of a results file, a constant, or a test, which has it.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Iterator
from functools import cache
from importlib import import_module
from operator import add, attrgetter, mul, sub, truediv
from typing import Any, NamedTuple

from tests.checkout import ROOT

RESULTS = ROOT / "benchmarks" / "results"
REFERENCE = ROOT / "docs" / "reference"
# Not prose: code, comments, tables that a benchmark writes, addresses of links.
FENCED = re.compile(r"^( *)(`{3,}|~{3,}).*?^ *\2`*\s*$", re.MULTILINE | re.DOTALL)
# The marks by which a benchmark finds the tables that it writes.
MARKS = {
    mark
    for path in (ROOT / "benchmarks").glob("*.py")
    for mark in re.findall(r"places\(\"(\w+)\"\)", path.read_text(encoding="utf-8"))
}
WRITTEN = re.compile(
    rf"<!-- (?:(?:{'|'.join(sorted(MARKS))}): \w+|quoted: (?P<quoted>.+?)|held by (?P<test>\S+))"
    r" -->\n+(?P<rows>(?:\|.*\n)+)"
)
ASIDE = re.compile(r"<!--.*?-->|``+ .+? ``+|`[^`\n]+`|\]\([^)\s]*\)", re.DOTALL)
# Dates, times of day, versions, numbers of papers and of sections, the level of an interval.
PROJECTS = "TRL|vLLM|SGLang|TEI|HTTP|TLS|CUDA|Python|Unicode|Apache|aiohttp|torch|openenv|Version"
PROJECTS += "|docker-compose|transformers|verl|version|v|From|Until|until|capability|serve`?"
EXEMPT = re.compile(
    r"\b\d{4}-\d\d-\d\d\b|\b\d{1,2}:\d\d\b|§ ?[\d.]+|\b\d{4}\.\d{5}\b|\b10\.\d{4,}/\S+"
    rf"|(?<![\w.])(?:{PROJECTS})[- ]?\d+(?:\.\d+)+(?:(?:,| and| or| to) \d+\.\d+)*(?:'s)?(?![%\w])"
    r"|\b\d+\.\d+\.\d+\S*|95%(?= (?:Wilson |bootstrap )?intervals?\b| 区间|的?置信区间)"
    r"|\(95%[^)]*\)"
)
NUMBER = r"(?<![\w.,/$#@^])(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?![\w^]*\()"
UNITS = {
    **dict.fromkeys(("%", "percent"), "%"),
    **dict.fromkeys(("×", "times", "倍"), "times"),
    **dict.fromkeys(("ns", "纳秒"), "ns"),
    **dict.fromkeys(("µs", "us", "微秒"), "µs"),
    **dict.fromkeys(("ms", "毫秒"), "ms"),
    **dict.fromkeys(("s", "second", "seconds", "秒"), "s"),
    **dict.fromkeys(("min", "minute", "minutes", "分钟"), "min"),
    **dict.fromkeys(("hour", "hours", "小时"), "h"),
    **{unit: unit for unit in ("kB", "KB", "KiB", "MB", "MiB", "GB", "GiB")},
}
FIGURE = re.compile(
    rf"(?P<number>{NUMBER})(?:[ -]?(?P<unit>{'|'.join(sorted(UNITS, key=len, reverse=True))})"
    r"(?![A-Za-z]))?(?![A-Za-z])"
)
# A unit's value in the smallest one of its kind; `times` and bare numbers have no kind.
SIZES = {
    **{"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0},
    **{"kB": 1e3, "KB": 1e3, "KiB": 1024.0, "MB": 1e6, "MiB": 2.0**20, "GB": 1e9, "GiB": 2.0**30},
}
TIMES = ("ns", "µs", "ms", "s", "min", "h")
ENDINGS = {
    **{"ns": "ns", "us": "µs", "ms": "ms", "s": "s", "seconds": "s", "minutes": "min"},
    **{"bytes": "bytes", "kb": "kB", "mb": "MB", "mib": "MiB", "gb": "GB", "gib": "GiB"},
    **{"percent": "%"},
}
BARE = "a number of no unit"  # as the defaults of fields whose name has none
NAMED = re.compile(r"BENCH=(\w+)|\bbenchmarks (\w+)|\bresults/(\w+)\.json")
IN_RESULTS = re.compile(r"(?P<sum>[\d.]+(?: [-+*/] [\d.]+)?) in (?P<path>[\w./-]+\.json)")
SUMS = {"/": truediv, "-": sub, "+": add, "*": mul}
LITERAL = re.compile(r"(?<![\w.])\d[\d_,]*(?:\.\d+)?(?:e-?\d+)?|(?<![\w.])\.\d+")


class Figure(NamedTuple):
    """A figure on a page: its text, its number and unit, its line."""

    text: str
    number: float
    unit: str
    line: int


def figures(markdown: str) -> list[Figure]:
    """Return the figures of a page in order.

    >>> [figure.text for figure in figures("It took 1,495 of 1,500 (99.7%), `5 s` in 3.11.2.")]
    ['1,495', '1,500', '99.7%']
    """
    text = markdown
    for pattern in (FENCED, WRITTEN, ASIDE, EXEMPT):
        text = pattern.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    found = [match for match in FIGURE.finditer(text) if match["number"]]
    return [
        Figure(
            match[0],
            float(match["number"].replace(",", "")),
            UNITS.get(match["unit"] or "", ""),
            text.count("\n", 0, match.start()) + 1,
        )
        for match in found
        if match["unit"] or re.search("[.,]", match["number"])
    ]


def rounds_to(value: float, figure: Figure) -> bool:
    """Tell whether a number, rounded as the figure is, equals the figure."""
    digits = re.match(r"[\d,]*(?:\.(\d+))?", figure.text)
    assert digits
    half = 0.5 * 10.0 ** -len(digits[1] or "")
    return abs(value - figure.number) <= half * (1 + 1e-6)


def is_value_of(value: float, unit: str, figure: Figure) -> bool:
    """Tell whether a number with the unit of its name (or none) equals the figure.

    >>> [figure] = figures("12 ms")
    >>> is_value_of(0.0119, "s", figure), is_value_of(0.0119, "ms", figure)
    (True, False)
    """
    if unit == BARE and figure.unit not in ("", "%"):
        return False
    if figure.unit == "%":
        return rounds_to(value if unit == "%" else 100 * value, figure)
    if unit in SIZES or unit == "bytes":
        if figure.unit not in SIZES or (unit in TIMES) != (figure.unit in TIMES):
            return not figure.unit and rounds_to(value, figure)
        return rounds_to(value * SIZES.get(unit, 1.0) / SIZES[figure.unit], figure)
    return rounds_to(value, figure)


def numbers(results: Any, unit: str = "") -> Iterator[tuple[float, str]]:
    """Yield every number of a results file, with the unit that the name nearest to it ends in."""
    if isinstance(results, dict):
        for name, value in results.items():
            yield from numbers(value, ENDINGS.get(str(name).rpartition("_")[2], unit))
    elif isinstance(results, list):
        if len(results) == 2 and all(type(each) is int and each >= 0 for each in results):
            yield results[0] / max(results[1], 1), ""
        if results and all(isinstance(each, float) for each in results):
            yield sum(results) / len(results), unit
        for value in results:
            yield from numbers(value, unit)
    elif isinstance(results, int | float) and not isinstance(results, bool):
        yield results, unit
    elif isinstance(results, str):
        yield from ((float(each.replace(",", "")), unit) for each in LITERAL.findall(results))


@cache
def results(name: str) -> frozenset[tuple[float, str]]:
    """Return the numbers of a results file, by the name of its benchmark; none if it has none."""
    path = RESULTS / f"{name}.json"
    return frozenset(numbers(json.loads(path.read_text()))) if path.exists() else frozenset()


@cache
def defaults() -> dict[str, frozenset[tuple[float, str]]]:
    """Return the numbers that the reference gives as defaults, by field name."""
    found: dict[str, set[tuple[float, str]]] = {}
    row = re.compile(r"^\| `(\w+)` \| (.+?) \| `?(\d[\d_.]*)`? \|", re.MULTILINE)
    given = re.compile(r"^ +(\w+): [^=\n]+ = (\d[\d_.]*),?$", re.MULTILINE)
    for path in REFERENCE.glob("*.md"):
        page = path.read_text(encoding="utf-8")
        for name, default in [(name, at) for name, _, at in row.findall(page)] + given.findall(
            page
        ):
            unit = ENDINGS.get(name.rpartition("_")[2], BARE)
            found.setdefault(name, set()).add((float(default), unit))
    return {name: frozenset(values) for name, values in found.items()}


def named_by(markdown: str) -> set[tuple[float, str]]:
    """Return the numbers of the results and the defaults that a text names."""
    names = {name for match in NAMED.findall(markdown) for name in match if name}
    found = set[tuple[float, str]]().union(*map(results, names))
    fields = set(re.findall(r"`(?:\w+\.)*(\w+)", markdown))
    return found.union(*(values for name, values in defaults().items() if name in fields))


def shown_in(rows: str) -> Iterator[tuple[float, str]]:
    """Yield the figures of a table that is held, since the text beside it may repeat them."""
    for figure in figures(rows):
        yield figure.number, "%" if figure.unit == "%" else ""


def unheld(markdown: str, listed: Collection[str] = ()) -> list[Figure]:
    """Return the figures of a page that neither the holders it names nor a listed text holds.

    A row of a table that names results is held by these alone.
    """
    lines = markdown.splitlines()
    page = named_by(markdown)
    for table in WRITTEN.finditer(markdown):
        page.update(shown_in(table["rows"]))

    def is_held(figure: Figure) -> bool:
        line = lines[figure.line - 1]
        values = named_by(line) if line.startswith("|") and NAMED.search(line) else page
        return any(is_value_of(value, unit, figure) for value, unit in values)

    return [each for each in figures(markdown) if each.text not in listed and not is_held(each)]


def _in_results(holder: re.Match[str]) -> list[float]:
    """Return the value of `A / B in FILE.json`, if the file has both numbers."""
    there = {value for value, _ in numbers(json.loads((ROOT / holder["path"]).read_text()))}
    first, sign, second = (*holder["sum"].split(), "+", "0")[:3]
    missing = [each for each in (first, second) if float(each) not in there | {0.0}]
    if missing:
        raise LookupError(f"{holder['path']} has no {' and no '.join(missing)}")
    return [SUMS[sign](float(first), float(second))]


def _in_test(path: str, name: str) -> list[float]:
    """Return the numbers in the code of a test, its decorators included."""
    source = (ROOT / path).read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            first = min((each.lineno for each in node.decorator_list), default=node.lineno)
            code = "\n".join(source.splitlines()[first - 1 : node.end_lineno])
            return [float(re.sub("[_,]", "", each)) for each in LITERAL.findall(code)]
    raise LookupError(f"{path} has no test {name}")


def _in_config(path: str, key: str) -> list[float]:
    """Return the number that a YAML file gives to a key, at any depth."""
    text = (ROOT / path).read_text(encoding="utf-8")
    return [float(each) for each in re.findall(rf"^ *{key}: ([\d.]+)", text, re.MULTILINE)]


def _in_code(module: str, name: str) -> list[float]:
    """Return the number of a constant, or the numbers of a tuple."""
    ours = module if module.startswith("benchmarks.") else f"touchstone_rewards.{module}"
    found: Any = attrgetter(name)(import_module(ours))
    return [float(each) for each in (found if isinstance(found, tuple) else (found,))]


def wrong_line(figure: str, holder: str, page: str = "") -> str | None:
    """Return what is wrong with a line of `figures.yaml`, or None.

    >>> wrong_line("421 times", "13806.2 / 32.8 in benchmarks/results/math.json")
    >>> wrong_line("422 times", "13806.2 / 32.8 in benchmarks/results/math.json")
    '13806.2 / 32.8 in benchmarks/results/math.json is 420.921, not 422 times'
    """
    [told] = figures(figure)
    unit = ""
    if holder.startswith("quoted: "):
        told_there = holder.removeprefix("quoted: ") in " ".join(page.split())
        return None if told_there else f"the page does not say {holder.removeprefix('quoted: ')!r}"
    try:
        if match := IN_RESULTS.fullmatch(holder):
            values = _in_results(match)
        elif "::" in holder:
            values = _in_test(*holder.split("::"))
        elif ".yaml:" in holder:
            values = _in_config(*holder.split(":"))
        else:
            module, _, name = holder.partition(":")
            values, unit = _in_code(module, name), ENDINGS.get(name.lower().rpartition("_")[2], "")
    except (LookupError, ImportError, AttributeError, OSError, TypeError, ValueError) as error:
        return f"{holder}: {error}"
    if any(is_value_of(value, unit, told) for value in values):
        return None
    return f"{holder} is {', '.join(f'{value:.6g}' for value in values)}, not {figure}"
