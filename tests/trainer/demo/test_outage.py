"""A reward server that is killed and restarted: the cost in time, and the account of all
samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from touchstone_rewards.clients import RemoteRewardClient, Sample
from touchstone_rewards.trainer.data.kept_samples import KeptSample, SampleWriter, read_samples
from touchstone_rewards.trainer.demo.outage import (
    Outage,
    SampleAccount,
    account_of,
    killed_before,
    read_score_log,
)
from touchstone_rewards.trainer.errors import RunFailed
from touchstone_rewards.trainer.workflow.local_server import own_server

OUTAGE = Outage(step=2, killed_at_s=100.0, back_at_s=110.0)


def kept(name: str, step: int, reward: float | None, response: str = "4") -> KeptSample:
    return KeptSample(
        id=name,
        prompt="2 + 2",
        response=response,
        reward=reward,
        scores={},
        step=step,
        epoch=0.0,
        group=name,
        fingerprint=None,
    )


def logged(name: str, time: float, reward: float | None, response: str = "4") -> dict[str, Any]:
    sample = {"id": name, "response": response}
    return {"time": time, "profile": "math", "sample": sample, "result": {"reward": reward}}


def account(samples: list[KeptSample], log: list[dict[str, Any]], sampled: int) -> SampleAccount:
    return account_of(OUTAGE, samples, log, sampled=sampled, waits={1: 0.1, 2: 9.5})


def test_an_account_without_a_gap_is_whole() -> None:
    samples = [kept("a", 1, 1.0), kept("b", 1, 0.0), kept("c", 2, 1.0)]
    log = [logged("a", 90, 1.0), logged("b", 90, 0.0), logged("c", 111, 1.0)]
    found = account(samples, log, 3)
    assert found.is_whole
    assert (found.by_first, found.by_second, found.step) == (2, 1, 2)
    assert (found.down_s, found.waited_s) == (10.0, 9.5)
    assert "0 lost, 0 without a reward" in found.told()
    assert "0 made up" in found.told()


def test_a_lost_sample_is_counted() -> None:
    found = account([kept("a", 1, 1.0)], [logged("a", 90, 1.0)], 2)
    assert found.lost == 1
    assert not found.is_whole


def test_a_sample_without_a_reward_is_counted() -> None:
    found = account([kept("a", 1, None)], [logged("a", 90, None)], 1)
    assert found.unrewarded == 1
    assert not found.is_whole


@pytest.mark.parametrize(
    "log",
    [
        [],
        [logged("a", 90, 0.0)],  # another reward than the server gave
        [logged("b", 90, 1.0)],  # the id of another sample
        [logged("a", 90, 1.0, "5")],  # the text of another response
    ],
)
def test_a_reward_that_the_log_does_not_have_is_made_up(log: list[dict[str, Any]]) -> None:
    found = account([kept("a", 1, 1.0)], log, 1)
    assert found.made_up == 1
    assert not found.is_whole


def test_one_line_answers_for_one_sample() -> None:
    samples = [kept("a", 1, 1.0), kept("a", 2, 1.0)]
    assert account(samples, [logged("a", 90, 1.0)], 2).made_up == 1


def test_a_killed_server_comes_back_and_no_sample_is_lost(tmp_path: Path) -> None:
    """Score three rounds against a real server, which is killed after the first."""
    log, writer = tmp_path / "scores.jsonl", SampleWriter(tmp_path / "samples")
    with (
        own_server(tmp_path / "server.log", "--score_log", str(log)) as server,
        killed_before(2, server, writer.folder) as outage,
        RemoteRewardClient(server.url, timeout_s=600) as client,
    ):
        first = server.process
        for step in (1, 2, 3):
            texts = [f"\\boxed{{{number}}}" for number in range(8)]
            samples = [
                Sample(id=f"{step}/{place}", response=text, ground_truth="4")
                for place, text in enumerate(texts)
            ]
            results = client.score(samples, "math")
            writer.write_batch(
                step,
                [
                    kept(sample.id, step, result.reward, sample.response)
                    for sample, result in zip(samples, results, strict=True)
                ],
            )
            if step == 1:
                assert first is not None
                first.wait(timeout=600)  # killed, by no call of this test
        assert server.process is not first
    found = account_of(
        outage,
        list(read_samples(writer.folder)),
        read_score_log(log, "math"),
        sampled=24,
        waits={},
    )
    assert found.is_whole
    assert (found.by_first, found.by_second, found.step) == (8, 16, 2)
    assert [sample.reward for sample in read_samples(writer.folder)].count(1.0) == 3


def test_a_run_that_never_comes_so_far_is_told(tmp_path: Path) -> None:
    with (
        own_server(tmp_path / "server.log") as server,
        pytest.raises(RunFailed, match="never reached update 5"),
        killed_before(5, server, tmp_path),
    ):
        pass
    assert server.process is not None
