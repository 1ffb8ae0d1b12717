"""Cascades on the field's answers, with a judge that knows every label and one that always says
yes. docs/cascades.md has the figures.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkout import ROOT
from tests.clients.peers import Action, Reply, Seen
from tests.reward_server.remote.conftest import StartPeer, start_peer
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.remote.judge import Judge
from touchstone_rewards.reward_server.schemas import Sample, SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scoring.engine import Engine, create_engine
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics

__all__ = ["start_peer"]

FILE = ROOT / ".." / "shared" / "data" / "math_field_cases.jsonl"
PAGE = (ROOT / "docs" / "cascades.md").read_text()
WHEN: dict[str, Any] = {
    "undecided": "undecided",
    "0": 0,
    "[0, undecided]": [0, "undecided"],
}
JUDGES = {"knows": "that knows", "agrees": "that always says yes", "rambles": "without a verdict"}


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    if not FILE.is_file():
        pytest.skip(f"{FILE.name} is not beside the checkout, under shared/data")
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
async def engine(
    start_peer: StartPeer, tmp_path: Path, rows: list[dict[str, Any]]
) -> AsyncIterator[Engine]:
    labels = {row["id"]: row["equal"] for row in rows}

    def says(request: Seen) -> Action:
        [name] = re.findall(r"CASE-(\w+)-", request.body["messages"][-1]["content"])
        kind = request.path.split("/")[1]
        verdict = "yes" if kind == "agrees" or labels[name] else "no"
        text = "hm" if kind == "rambles" else f"Verdict: {verdict}"
        choice = {"message": {"content": text}, "finish_reason": "stop"}
        return Reply(200, {"model": "m", "choices": [choice], "usage": {}})

    url = (await start_peer(says)).url.removesuffix("/v1")
    for kind in JUDGES:
        for said, when in WHEN.items():
            config = {"url": f"{url}/{kind}/v1", "model": "m"}
            entry = {"when": {"math": when}, "replaces": "math", "config": config}
            entries = {"math": {}, "judge": {**entry, "deadline_s": 600}}
            (tmp_path / f"{kind}_{said}.yaml").write_text(yaml.safe_dump({"scorers": entries}))
    settings = load_settings(overrides={"workers": 1})
    engine = create_engine(load_profiles([tmp_path]), settings, Metrics())
    await engine.start()
    yield engine
    for profile in engine.profiles.values():
        if isinstance(judge := profile.scorers.get("judge"), Judge):
            await judge.transport.aclose()
    await engine.stop()


def line_of(what: str, rows: list[dict[str, Any]], results: list[SampleResult]) -> str:
    """Return a line of the table in the docs."""
    pairs = list(zip(rows, results, strict=True))
    right = sum(one.reward is not None and bool(one.reward) == row["equal"] for row, one in pairs)
    false_yes = sum(one.reward == 1 and not row["equal"] for row, one in pairs)
    false_no = sum(one.reward == 0 and row["equal"] for row, one in pairs)
    null = sum(one.reward is None for one in results)
    by = Counter((one.decided_by or {}).get("math", "math") for one in results)
    cells = [what, f"{right / len(rows):.1%}", false_yes, false_no, null, by["judge"], by[None]]
    return f"| {' | '.join(map(str, cells))} |"


async def test_the_figures_of_the_docs_are_those_of_the_field_cases(
    engine: Engine, rows: list[dict[str, Any]]
) -> None:
    samples = [
        Sample(r["id"], r["response"], f"CASE-{r['id']}-", ground_truth=r["ground_truth"])
        for r in rows
    ]

    async def told(what: str, profile: str) -> str:
        answer = await engine.score(ScoreRequest(samples, profile=profile, deadline_ms=600_000))
        return line_of(what, rows, answer.results)

    lines = [await told("`math` alone", "math")]
    for kind, judge in JUDGES.items():
        for said in WHEN:
            what = f"judge {judge}, `{{math: {said}}}`"
            lines.append(await told(what, f"{kind}_{said}"))
    print("\n".join(lines))
    assert [line for line in lines if line not in PAGE] == []
