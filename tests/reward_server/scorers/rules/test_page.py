"""docs/rules.md is true: every row of its tables is scored, and every key is listed."""

from __future__ import annotations

import json

import pytest

from tests.checkout import ROOT
from tests.reward_server.scorers.rules.page import (
    CONFIGS,
    ENGINES,
    RULES,
    Row,
    code,
    rows,
    sections,
    tables,
)
from touchstone_rewards.reward_server.scorers import SCORERS, build_scorer
from touchstone_rewards.reward_server.scorers.rules.rule import Rule

ROWS = rows()


def built(rule: str, config: dict) -> Rule:
    if rule in ENGINES:
        pytest.importorskip(ENGINES[rule])
    scorer = build_scorer(rule, config)
    assert isinstance(scorer, Rule)
    return scorer


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.rule} {row.sample.response[:40]}")
def test_a_response_gets_the_score_of_the_page(row: Row) -> None:
    [score] = built(row.rule, row.config).score([row.sample], explain=True)
    assert score.error is None
    assert score.value == pytest.approx(row.score), score.explanation


def test_every_rule_has_rows_on_both_sides() -> None:
    graded = {"rouge", "bleu", "chrf"}  # held against their libraries elsewhere
    for rule in set(RULES) - graded:
        scores = {row.score for row in ROWS if row.rule == rule}
        assert max(scores) == 1 or rule == "length"
        assert min(scores) <= 0.02, rule
    assert len(ROWS) > 150


@pytest.mark.parametrize("rule", RULES)
def test_the_table_of_keys_has_every_key_and_no_other(rule: str) -> None:
    scorer = built(rule, CONFIGS.get(rule, {}))
    fields = scorer.config_type.model_fields
    known = {field.alias or name for name, field in fields.items()}
    told = set()
    for header, *body in tables(sections()[rule]):
        if header[:2] == ["key", "default"]:
            told |= {code(row[0]) for row in body}
        elif header[:2] == ["rule", "key"]:
            told |= {code(row[1]) for row in body if code(row[0]) == rule} | {"part", "most_chars"}
    assert told == known


def test_the_first_table_says_where_each_runs_and_what_it_needs() -> None:
    [overview] = [t for t in tables(page_head()) if t[0][0] == "rule"]
    told = {name: row for row in overview[1:] for name in code(row[0]).split("\n")}
    assert set(told) == set(RULES) == {n for n in SCORERS if ".rules." in SCORERS[n]}
    for rule, (_, _, runs_in, _, needs) in told.items():
        where = built(rule, CONFIGS.get(rule, {})).runs_in
        assert runs_in.startswith({"inline": "the event loop", "worker": "a worker"}[where])
        assert (needs == "yes") == (rule in ENGINES), rule


def test_the_costs_are_those_of_the_benchmark() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "rules.json").read_text())
    cost: dict[str, float] = {}
    for row in results["rows"]:
        cost.setdefault(row["what"].partition(",")[0], row["ours"])
    [overview] = [t for t in tables(page_head()) if t[0][0] == "rule"]
    for name, _, _, told, _ in overview[1:]:
        assert told.split(", ") == [f"{cost[rule]:.0f}" for rule in code(name).split("\n")]


def page_head() -> str:
    from tests.reward_server.scorers.rules.page import PAGE

    return PAGE.partition("\n## ")[0]
