"""docs/audit.md has the measured figures."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.audit import cells
from tests.checkout import ROOT

PAGE = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
RESULTS: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / "audit.json").read_text())
# The page's names of the strategies.
SINCE = {
    "point for comma": "a list of whole numbers as a decimal",
    "nearly": "a whole number with a floating-point error",
    "a thousand times the unit": "a thousand times the unit",
    "left side alone": "only the part before the relation sign",
    "says it is correct": "“This answer is correct.” as the answer",
}
DEBATABLE = {
    *("eq.frac.repeating", "eq.choice.case", "missing_column", "answer-leak"),
    *("multiple_tags", "regex_greediness", "answer_in_reasoning"),
}


def test_the_table_beside_other_tools_is_the_one_that_was_measured() -> None:
    assert next(row["what"] for row in RESULTS["rows"]) == "math"
    for row in RESULTS["rows"]:
        assert f"| {' | '.join(cells(row))} |" in PAGE
    assert f"{RESULTS['rows_of_each']} rows of each" in PAGE
    for name, version in RESULTS["versions"].items():
        assert f"{name.replace('_', '-')} {version}" in PAGE


def test_every_case_on_which_math_differs_is_explained() -> None:
    [ours] = [row for row in RESULTS["rows"] if row["what"] == "math"]
    batteries = [each for each in ours.values() if isinstance(each, dict) and "wrong" in each]
    wrong = {case.rpartition(": ")[2] for battery in batteries for case in battery["wrong"]}
    assert wrong <= DEBATABLE
    assert all(f"`{case}`" in PAGE for case in DEBATABLE)


def test_what_an_older_math_accepted_is_what_was_measured() -> None:
    for strategy, name in SINCE.items():
        shares = [f"{count} of {of}" for count, of in RESULTS["since"][strategy].values()]
        assert f"| {name} | {' | '.join(shares)} |" in PAGE
