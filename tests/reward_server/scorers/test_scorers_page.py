"""docs/scorers.md lists every scorer with its kind, its measured cost and its page."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from tests.checkout import ROOT
from touchstone_rewards.reward_server.commands.capacity import MEASURED
from touchstone_rewards.reward_server.scorers.catalogue import scorer_infos

PAGE = (ROOT / "docs" / "scorers.md").read_text()
RESULTS = ROOT / "benchmarks" / "results"
NAMED = {"inline": "event loop", "worker": "worker", "model": "model", "remote": "endpoint"}
ROW = re.compile(r"\| \[`(\w+)`\]\(([^)]+)\) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
# Their cost is that of the scorers they ask.
ASKING = {"story": "that of its parts", "majority": "that of `math`", "code": "that of the runs"}
ASKING |= dict.fromkeys(("judge", "remote_reward_model"), "that of a call")


class Row(NamedTuple):
    name: str
    link: str
    kind: str
    line: str
    cost: str


ROWS = [Row(*match) for match in ROW.findall(PAGE)]


def rows_of(benchmark: str, kind: str = "rows") -> list[dict[str, Any]]:
    return json.loads((RESULTS / f"{benchmark}.json").read_text())[kind]


def rate(benchmark: str, what: str) -> float:
    [row] = [row for row in rows_of(benchmark) if row["what"] == what]
    return row["ours"]


def shown_us(us: float) -> str:
    return f"{us:.0f} µs" if us >= 10 else f"{us:.1f} µs"


def measured() -> dict[str, str]:
    """Return the cost of a sample by scorer; if a rule has several cases, that of the first."""
    costs = dict(ASKING)
    for row in [*rows_of("rules"), *rows_of("rules", "groups")]:
        costs.setdefault(row["what"].partition(",")[0], shown_us(row["ours"]))
    for name, sizes in json.loads(MEASURED.read_text())["cost_ms"].items():
        costs[name] = shown_us(1e3 * sum(sizes["512"].values()))
    embedded = rate("embeddings", "texts a second in bfloat16, against fp32 FIFO")
    costs["similarity"] = f"{1e3 / embedded:.0f} ms a text"
    judged = rate("reward_model", "bfloat16: sequences a second, against FIFO batches of 32")
    return costs | {"reward_model": f"{1e3 / judged:.0f} ms"}


def test_every_scorer_has_its_row() -> None:
    infos = {info.name: info for info in scorer_infos([])}
    assert sorted(row.name for row in ROWS) == sorted(infos)
    for row in ROWS:
        kinds = [NAMED.get(kind, kind) for kind in infos[row.name].runs_in]
        assert row.kind == " or ".join(kinds), row.name
        assert row.line == row.line.strip() != ""


def test_the_costs_are_those_of_the_results() -> None:
    costs = measured()
    for row in ROWS:
        assert row.cost == costs[row.name], row.name


def test_the_links_lead_to_a_page_that_names_the_scorer() -> None:
    for row in ROWS:
        page, _, anchor = row.link.partition("#")
        text = (ROOT / "docs" / page).read_text()
        assert f"`{row.name}`" in text or f"{row.name}:" in text, row.name
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}
        assert not anchor or anchor in anchors, row.link
