"""`make bench BENCH=parity`: comparison, page, and one trainer's own code if it is installed."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest

from benchmarks import RESULTS, live_server, parity
from benchmarks._parity import material
from benchmarks._parity.comparing import bits, compare, faults
from benchmarks._parity.page import page_of
from benchmarks._parity.peers import NOT_RUN, PEERS, Peer
from tests.checkout import ROOT

FOUND: dict[str, Any] = json.loads((RESULTS / "parity.json").read_text(encoding="utf-8"))
RUN = [row for row in FOUND["rows"] if row["status"] == "run"]
ENVIRONMENTS = ROOT / "tests" / "contract" / "environments"
SAID = {"a": 0.1, "b": None, "c": -2.5}


def held(kind: str, **rewards: Any) -> dict[str, Any]:
    return {"kind": kind, "rewards": rewards, "then": "left out"}


def float32(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]


def test_a_reward_is_the_same_if_its_bits_are() -> None:
    assert bits(0.1, "float32") == bits(float32(0.1), "float32")
    assert bits(0.1, "float64") != bits(float32(0.1), "float64")
    verdict = compare(SAID, held("float32", a=float32(0.1), b="nan", c=-2.5), "left out")
    assert verdict == {"equal": 2, "nulls": 1, "different": [], "invented": [], "lost": []}


@pytest.mark.parametrize(
    ("rewards", "what"),
    [
        ({"a": math.nextafter(0.1, 1), "b": "nan", "c": -2.5}, "different"),
        ({"a": "nan", "b": "nan", "c": -2.5}, "different"),
        ({"a": 0.1, "b": "nan", "c": -2.5, "d": 1.0}, "different"),
        ({"a": 0.1, "b": 0.0, "c": -2.5}, "invented"),
        ({"a": 0.1, "b": "nan"}, "lost"),
    ],
)
def test_one_reward_that_is_not_the_servers_is_a_fault(rewards: dict[str, Any], what: str) -> None:
    verdict = compare(SAID, held("float64", **rewards), "left out")
    assert len(verdict[what]) == 1
    row = {"peer": "it", "status": "run", "parts": {"math": verdict}}
    [fault] = faults([row])
    assert fault.startswith(f"it, math: {what}")


def test_what_stops_a_trainer_must_be_the_null() -> None:
    stopped = {"raised": "NoReward: sample b has no reward"}
    assert compare(SAID, stopped, "^NoReward")["lost"] == []
    assert compare(SAID, {"raised": "KeyError: 'b'"}, "^NoReward")["unexpected"] == "KeyError: 'b'"
    assert compare({"a": 0.1, "c": -2.5}, stopped, "^NoReward")["lost"] == ["a", "c"]
    assert compare(SAID, None, "^NoReward")["lost"] == ["a", "b", "c"]


def test_a_trainer_that_was_not_run_is_a_fault_unless_it_is_listed() -> None:
    row = {"peer": "it", "status": "not run", "why": "no environment"}
    assert faults([{**row, "listed": True}]) == []
    assert faults([{**row, "listed": False}]) == [
        "it: not run, and not listed as such: no environment"
    ]


def test_the_samples_are_four_hundred_and_always_the_same() -> None:
    rows = material.samples()
    assert rows == material.samples()
    assert [{"id": row["id"], "part": row["part"]} for row in rows] == FOUND["samples"]
    assert len(rows) == len({(row["prompt"], row["response"]) for row in rows}) == 400


def test_the_page_is_made_of_the_results() -> None:
    assert parity.PAGE.read_text(encoding="utf-8") == page_of(FOUND)


def test_the_results_have_a_row_for_each_trainer_and_no_fault() -> None:
    names = [peer.name for peer in PEERS]
    assert [row["peer"] for row in FOUND["rows"]] == list(dict.fromkeys([*names, *NOT_RUN]))
    assert faults(FOUND["rows"]) == []
    for peer in PEERS:
        assert (ENVIRONMENTS / f"{peer.environment}.txt").is_file()
        assert (parity.SCRIPTS / f"{peer.script}.py").is_file()


@pytest.mark.parametrize("row", RUN, ids=lambda row: row["peer"])
def test_the_verdicts_follow_from_the_rewards_that_are_kept(row: dict[str, Any]) -> None:
    [peer] = [peer for peer in PEERS if peer.name == row["peer"]]
    said = FOUND["score"][row["form"]]
    for name, part in row["parts"].items():
        ids = [sample["id"] for sample in FOUND["samples"] if sample["part"] == name]
        verdict = compare({each: said[each] for each in ids}, part, peer.null)
        assert verdict == {key: part[key] for key in verdict}


def first_there() -> Peer | str:
    """Return the first trainer whose environment and checkout exist, or the missing parts."""
    missing = ""
    for peer in PEERS:
        where = parity.python_and_checkout(peer)
        if not isinstance(where, str):
            return peer
        missing = missing or where
    return missing


@pytest.mark.long
def test_a_trainers_own_code_holds_the_servers_rewards(tmp_path: Path) -> None:
    peer = first_there()
    if isinstance(peer, str):
        pytest.skip(peer)
    from benchmarks._parity.models import write_models

    policy, reward_model = write_models(tmp_path)
    settings = material.write_settings(tmp_path, reward_model)
    with live_server(tmp_path / "log", "--config", str(settings)) as server:
        said = parity.asked(server.url, peer.form)
        row = parity.row_of(peer, said, tmp_path, policy, server.url)
    assert row["status"] == "run", row
    assert faults([row]) == []
    assert sum(part["equal"] for part in row["parts"].values()) >= 376 - 80 * len(peer.left_out)
