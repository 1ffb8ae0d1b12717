"""A misspelling never becomes a missing reward: the causes that stop a TRL run, and when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import StartPeer
from tests.clients.peers import Action, Reply, Seen, answer, failed, result, scored, told_of
from touchstone_rewards.clients import (
    AsyncRemoteRewardClient,
    MissingColumn,
    NoReward,
    PreflightFailed,
    TooManyFailures,
    Unauthorized,
    UnknownProfile,
)
from touchstone_rewards.clients.adapters.trl import TrlReward
from touchstone_rewards.reward_server.live_server import LiveServer

RIGHT = "\\boxed{1}"


def reward_of(url: str, profile: str = "math", **options: Any) -> TrlReward:
    return AsyncRemoteRewardClient(url).as_trl_reward(profile, **options)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"ground_truth_colum": "answer"}, "did you mean 'ground_truth_column'"),
        ({"prioriti": "eval"}, "did you mean 'priority'"),
        ({"on_mising": "raise"}, "did you mean 'on_missing'"),
        ({"retries": 3}, "it has ground_truth_column, "),
    ],
)
def test_an_option_that_does_not_exist_is_refused_with_the_nearest(
    dead_url: str, option: dict[str, Any], says: str
) -> None:
    with pytest.raises(TypeError, match=says):
        reward_of(dead_url, **option)


@pytest.mark.parametrize(
    "option",
    [
        {"priority": "evaluation"},
        {"on_missing": "zero"},
        {"max_failed_frac": 25},
        {"failed_steps_patience": 0},
    ],
)
def test_a_value_that_cannot_be_is_refused(dead_url: str, option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        reward_of(dead_url, **option)


async def test_a_column_that_the_profile_needs_and_the_batch_lacks_is_named(
    server: LiveServer,
) -> None:
    columns = {"answer": ["1"], "level": [3], "trainer_state": object()}
    with pytest.raises(MissingColumn) as missing:
        await reward_of(server.url)(prompts=["p"], completions=[RIGHT], **columns)
    assert "'ground_truth': set ground_truth_column" in str(missing.value)
    assert "The batch has prompt, answer, level" in str(missing.value)
    right = reward_of(server.url, ground_truth_column="answer")
    assert await right(prompts=["p"], completions=[RIGHT], **columns) == [1.0]


@pytest.mark.parametrize(
    "option",
    [
        {"ground_truth_column": "anser"},
        {"id_column": "anser"},
        {"signals_column": "anser"},
        {"metadata_columns": ["answer", "anser"]},
    ],
)
async def test_a_column_that_was_named_must_be_there(
    server: LiveServer, option: dict[str, Any]
) -> None:
    columns = {"answer": ["1"], "ground_truth": ["1"]}
    with pytest.raises(MissingColumn, match="no column 'anser'"):
        await reward_of(server.url, **option)(prompts=["p"], completions=[RIGHT], **columns)


@pytest.mark.parametrize(
    ("field", "says"), [("signals", "signals_column"), ("metadata", "metadata_columns")]
)
async def test_signals_and_metadata_that_are_needed_are_asked_for(
    start_peer: StartPeer, field: str, says: str
) -> None:
    peer = await start_peer(told_of(lambda seen: scored(seen), field))
    with pytest.raises(MissingColumn, match=f"set {says}"):
        await reward_of(peer.url)(prompts=["p"], completions=["x"])


async def test_a_profile_that_needs_no_ground_truth_wants_no_column(server: LiveServer) -> None:
    reward = reward_of(server.url, "format")
    assert await reward(prompts=["p"], completions=["x"]) == [0.0]


async def test_a_misspelt_profile_raises_with_those_that_there_are(server: LiveServer) -> None:
    with pytest.raises(UnknownProfile, match=r"'mth'.*it has .*math"):
        await reward_of(server.url, "mth")(prompts=["p"], completions=["x"])


async def test_a_wrong_key_raises_at_the_first_call(
    start_server: Callable[..., LiveServer],
) -> None:
    url = start_server(REWARD_API_KEY="right").url
    reward = AsyncRemoteRewardClient(url, api_key="wrong").as_trl_reward("format")
    with pytest.raises(Unauthorized, match="set REWARD_API_KEY"):
        await reward(prompts=["p"], completions=["x"])
    reward = AsyncRemoteRewardClient(url, api_key="right").as_trl_reward("format")
    assert await reward(prompts=["p"], completions=["x"]) == [0.0]


async def test_a_first_batch_without_any_reward_raises_with_the_servers_words(
    server: LiveServer,
) -> None:
    columns = {"ground_truth": [None, None]}
    call = reward_of(server.url)(prompts=["p"] * 2, completions=[RIGHT] * 2, **columns)
    with pytest.raises(NoReward, match=r"none of the first 2 .* from 'math': bad_ground_truth"):
        await call
    allowed = reward_of(server.url, max_failed_frac=1)
    rewards = await allowed(prompts=["p"] * 2, completions=[RIGHT] * 2, **columns)
    assert rewards == [None, None]


async def test_too_many_failures_in_a_row_stop_and_a_good_batch_between_forgives(
    server: LiveServer,
) -> None:
    reward = reward_of(server.url, failed_steps_patience=2)

    async def batch(*truths: str | None) -> list[float | None]:
        count = len(truths)
        return await reward(
            prompts=["p"] * count, completions=[RIGHT] * count, ground_truth=[*truths]
        )

    assert await batch("1", "1") == [1.0, 1.0]
    assert await batch("1", None) == [1.0, None]
    assert await batch("1", "1", "1", None) == [1.0, 1.0, 1.0, None]
    assert await batch(None, None) == [None, None]
    with pytest.raises(TooManyFailures, match=r"2 steps in a row \(last 1 of 2: bad_ground_truth"):
        await batch("1", None)


async def test_evaluation_batches_stop_nothing(server: LiveServer) -> None:
    reward = reward_of(server.url, failed_steps_patience=1, priority="eval")
    for _ in range(3):
        call = reward(prompts=["p"], completions=[RIGHT], ground_truth=[None])
        assert await call == [None]


async def test_a_reward_that_is_the_same_for_right_and_wrong_is_refused(
    start_peer: StartPeer,
) -> None:
    peer = await start_peer(told_of(lambda seen: scored(seen, 0.0), "ground_truth"))
    columns = {"ground_truth": ["46"]}
    with pytest.raises(PreflightFailed, match="right and wrong answers the same reward"):
        await reward_of(peer.url)(prompts=["p"], completions=["x"], **columns)
    reward = reward_of(peer.url, preflight=False)
    assert await reward(prompts=["p"], completions=["x"], **columns) == [0.0]


async def test_the_preflight_is_made_once_of_a_few_rows(start_peer: StartPeer) -> None:
    def script(seen: Seen) -> Action:
        samples = seen.body["samples"]
        rewards = [float("56" not in sample["response"]) for sample in samples]
        found = [result(each["id"], r) for each, r in zip(samples, rewards, strict=True)]
        return Reply(200, answer(found))

    peer = await start_peer(told_of(script, "ground_truth"))
    reward = reward_of(peer.url)
    for _ in range(2):
        prompts = [f"p{i // 2}" for i in range(12)]
        columns = {"ground_truth": ["46"] * 12}
        assert await reward(prompts=prompts, completions=["46"] * 12, **columns) == [1.0] * 12
    counts = [len(seen.ids) for seen in peer.seen if seen.path == "/score"]
    # Of 4 rows, in 4 forms: right, wrong, both answers, all candidates; and one that says nothing.
    assert counts == [4 * (4 * 4 + 1), 12, 12]


async def test_prompts_that_end_with_the_tag_are_tried_without_it(
    start_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    profile = "scorers: {math: {}, format: {weight: 0.5}}\n"
    (tmp_path / "both.yaml").write_text(profile)
    reward = reward_of(start_server("--profiles_dir", str(tmp_path)).url, "both")
    columns: dict[str, Any] = {"ground_truth": ["1"]}
    with pytest.raises(PreflightFailed, match="Set `prefilled: think`"):
        await reward(prompts=["Q <think>"], completions=[RIGHT], **columns)


async def test_the_failures_of_all_ranks_are_counted_together(start_peer: StartPeer) -> None:
    def script(seen: Seen) -> Action:
        return Reply(200, answer([failed(sample_id, retryable=False) for sample_id in seen.ids]))

    peer = await start_peer(told_of(script))
    others = reward_of(peer.url, gather=lambda own: [own, (9, 0, "")])
    assert await others(prompts=["p"], completions=["x"]) == [None]
    with pytest.raises(NoReward, match="worker_lost: killed"):
        await reward_of(peer.url)(prompts=["p"], completions=["x"])
