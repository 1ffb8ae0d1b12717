"""docs/cascades.md is true: its profiles load, and its request is answered as shown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.checkout import ROOT
from tests.reward_server.remote.engine_process import EngineProcess
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers import build_scorer
from touchstone_rewards.reward_server.scorers.math.scorer import MathScorer
from touchstone_rewards.reward_server.scorers.math.undecided import is_prose
from touchstone_rewards.reward_server.scorers.plugins import Plugins

PAGE = (ROOT / "docs" / "cascades.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_request_shown_is_answered_as_shown(
    start_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    engine = EngineProcess()
    engine.start()
    profile = yaml.safe_load(blocks("yaml")[0])
    config: dict[str, Any] = profile["scorers"]["judge"]["config"]
    price = config["prices"].pop(config["model"])
    config |= {"url": f"http://127.0.0.1:{engine.port}/v1", "model": "m", "guided": False}
    config["prices"]["m"] = price
    (tmp_path / "math_then_judge.yaml").write_text(yaml.safe_dump(profile))
    live = start_server("--profiles_dir", str(tmp_path))
    request, shown = map(json.loads, blocks("json"))
    answer = httpx2.post(f"{live.url}/score", json=request).json()
    engine.kill()
    told = [
        {key: each[key] for key in one} for each, one in zip(answer["results"], shown, strict=True)
    ]
    assert told == shown


def test_the_profiles_shown_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("honest.jinja").write_text("{{ response }} {{ instruction }}")
    for at, block in enumerate(blocks("yaml")):
        (tmp_path / f"shown{at}.yaml").write_text(block)
    profiles = load_profiles([tmp_path])
    assert profiles["shown0"].info.cascades["judge"].replaces == "math"
    assert profiles["shown1"].counting == ["math", "judge"]


TABLE: list[tuple[str, str, float | None, str | None]] = [
    ("46", "[[[", None, "truth"),
    ("46", "\\sum_{k=1}^{400}\\sum_{k=1}^{400}\\sum_{k=1}^{400}k", None, "truth"),
    ("It never jumps.", "the function is continuous everywhere", 0.0, "truth"),
    (
        "\\boxed{The function is continuous everywhere}",
        "the function is continuous everywhere",
        1.0,
        None,
    ),
    ("\\boxed{46@@}", "46", 0.0, "response"),
    ("\\boxed{@@}", "46", 0.0, None),
    ("\\boxed{the same as the reference}", "46", 0.0, "response"),
    ("\\boxed{" + "\\sum_{k=1}^{400}" * 3 + "k}", "46", 0.0, "response"),
    ("\\boxed{45}", "46", 0.0, None),
    ("I do not know.", "46", 0.0, None),
]


@pytest.mark.parametrize(("response", "truth", "value", "undecided"), TABLE)
def test_mathematics_is_undecided_as_the_table_says(
    response: str, truth: str, value: float | None, undecided: str | None
) -> None:
    [score] = MathScorer().score([Sample("1", response, ground_truth=truth)])
    assert (score.value, score.undecided) == (value, undecided)


def test_the_function_shown_says_that_it_cannot_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [code] = blocks("python")
    (tmp_path / "shown_city.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    Plugins(("shown_city",)).admit("shown_city:same_city")
    scorer = build_scorer("shown_city:same_city", {})
    assert scorer.runs_in == "worker"
    rows = [("Paris", "Paris"), ("Paris or Rome", "Paris"), ("Rome", None)]
    samples = [Sample("1", response, ground_truth=truth) for response, truth in rows]
    scores = [scorer.score([each])[0] for each in samples]
    assert [(s.value, s.undecided) for s in scores] == [
        (1.0, None),
        (0.0, "response"),
        (None, "truth"),
    ]


def test_hardly_a_ground_truth_of_mathematics_counts_as_prose(shared_data: Path) -> None:
    def rows(name: str) -> list[dict[str, Any]]:
        text = (shared_data / name).read_text(encoding="utf-8")
        return (
            json.loads(text) if name.endswith(".json") else list(map(json.loads, text.splitlines()))
        )

    truths = [
        *(row["answer"].rpartition("#### ")[2] for row in rows("gsm8k_test.jsonl")),
        *(str(row["answer"]) for row in rows("math500.jsonl")),
        *(str(row["answer"]) for row in rows("limr_math_8k.json")),
    ]
    prose = sum(map(is_prose, truths))
    assert round(len(truths), -3) == 10_000
    said = "One of the ten thousand ground truths of GSM8K, MATH-500 and LIMR is prose."
    assert said in re.sub(r"\s", " ", PAGE)
    assert prose == 1
