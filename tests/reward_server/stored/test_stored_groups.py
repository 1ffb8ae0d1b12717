"""Files whose rows are scored in whole groups: scored, replayed, and compared with a shadow."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.checkout import run_command
from touchstone_rewards.reward_server.commands.replay import Old, by_group
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.schemas import Sample, SampleResult, ScoreRequest
from touchstone_rewards.reward_server.scoring.engine import Engine, create_engine
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.stored.stream import BATCH_SAMPLES, whole_groups
from touchstone_rewards.reward_server.telemetry.metrics import Metrics
from touchstone_rewards.reward_server.watching.score_log import ScoreLine
from touchstone_rewards.reward_server.watching.shadow import Shadows

VOTE = "scorers: {majority: {}}\ngroups: {size: 3, deadline_s: 600}\nshadow: whole\n"
WHOLE = "scorers: {majority: {config: {min_share: 0.9}}}"
# Three epochs of one prompt, each with another majority.
EPOCHS = [["1", "1.0", "2"], ["2", "2", "1"], ["3", "4", "3"]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    (profiles / "vote.yaml").write_text(VOTE)
    (profiles / "whole.yaml").write_text(WHOLE)
    return profiles


async def answered(engine: Engine) -> list[tuple[Sample, SampleResult]]:
    """Score samples one by one, in random order, through a profile that gathers groups."""
    pairs: list[tuple[Sample, SampleResult]] = []

    async def ask(sample: Sample) -> None:
        answer = await engine.score(ScoreRequest([sample], "vote"))
        pairs.append((sample, answer.results[0]))

    for number, epoch in enumerate(EPOCHS):
        samples = [
            Sample(f"{row}/{i}", f"\\boxed{{{text}}} in epoch {number}", group_id=row)
            for i, text in enumerate(epoch)
            for row in ("a", "b")
        ]
        await asyncio.gather(*map(ask, samples))
    return pairs


async def test_what_came_one_by_one_is_replayed_and_compared_in_its_groups(folder: Path) -> None:
    settings = load_settings().model_copy(update={"workers": 1})
    engine = create_engine(load_profiles([folder]), settings, Metrics())
    await engine.start()
    shadows = Shadows(engine.profiles, lambda asked: engine.score(asked, observed=False), bool)
    engine.observers.append(shadows.take)
    comparing = asyncio.create_task(shadows.run())
    try:
        pairs = await answered(engine)
        assert [result.reward for _, result in pairs].count(1.0) == 12
        while shadows.infos.get("vote") is None or shadows.infos["vote"].samples < len(pairs):
            assert not comparing.done()
            await asyncio.sleep(0.01)
    finally:
        comparing.cancel()
        await engine.stop()
    # The shadow asks for nine in ten: no group of three has that, so all twelve differ.
    assert (shadows.infos["vote"].disagreements, shadows.infos["vote"].failed) == (12, 0)
    log = folder.parent / "scores.jsonl"
    lines = [
        ScoreLine(0.0, f"r{i}", "vote", "f", sample, result)
        for i, (sample, result) in enumerate(pairs)
    ]
    log.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    done = run_command(
        "replay", "--input", log, "--profile", "vote", "--profiles_dir", folder, "--fail_on_change"
    )
    assert "18 scored again by vote, 0 changed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


def test_a_file_is_scored_in_whole_groups(folder: Path) -> None:
    rows = [
        {"id": f"{row}/{i}", "response": f"\\boxed{{{text}}}", "group_id": str(row)}
        for row in range(BATCH_SAMPLES // 3 + 2)  # a batch would end inside a group
        for i, text in enumerate(EPOCHS[row % 3])
    ]
    source, target = folder.parent / "samples.jsonl", folder.parent / "results.jsonl"
    source.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    words = ("--input", source, "--output", target, "--profile", "vote", "--profiles_dir", folder)
    done = run_command("score", *words)
    assert done.returncode == 0, done.stderr
    rewards = [msgspec.json.decode(line)["reward"] for line in target.read_bytes().splitlines()]
    votes = [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
    assert rewards == [reward for row in range(len(rows) // 3) for reward in votes[row % 3]]


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install '.[ray]'")
def test_partitions_on_ray_hold_whole_groups(folder: Path) -> None:
    rows = [
        {"id": f"{row}/{i}", "response": f"\\boxed{{{text}}}", "group_id": str(row)}
        for row in range(20)
        for i, text in enumerate(EPOCHS[row % 3])
    ]
    source, target = folder.parent / "samples.jsonl", folder.parent / "results"
    source.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    words = ("--input", source, "--output", target, "--profile", "vote", "--profiles_dir", folder)
    done = run_command("score", *words, "--engine", "ray", "--partition_bytes", "500")
    assert done.returncode == 0, done.stderr
    parts = sorted(target.glob("part-*.jsonl"))
    assert len(parts) > 3
    results = [msgspec.json.decode(line) for part in parts for line in part.read_bytes().split()]
    votes = [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
    assert [each["reward"] for each in results] == [
        reward for row in range(20) for reward in votes[row % 3]
    ]


def test_no_run_of_one_group_is_cut() -> None:
    found = list(whole_groups("aabbbc-d", 2, lambda item: None if item == "-" else item))
    assert found == [["a", "a"], ["b", "b", "b"], ["c", "-"], ["d"]]


def test_members_of_a_group_are_brought_together_by_what_the_log_says() -> None:
    def old(name: str, together: str | None, members: int | None = None) -> Old:
        fields: Any = [Sample(name, "x"), None, None, {}, None, None, together, members]
        return Old(*fields)

    olds = [
        old("1", "t/2", 2),
        old("2", "r1 a"),
        old("3", "r1 b"),
        old("4", "t/2", 2),
        old("5", "r1 a"),
        old("6", "r2 a"),
        old("7", "u/3", 3),  # the others are not in the log
        old("8", None),
    ]
    assert [each.sample.id for each in by_group(iter(olds))] == list("14253687")
