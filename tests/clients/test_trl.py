"""The reward function that TRL calls, by itself and inside TRL's own trainer."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import StartPeer
from tests.clients.peers import Action, Reply, Reset, Seen, error_body, scored, told_of
from touchstone_rewards.clients import (
    AsyncRemoteRewardClient,
    InvalidSample,
    NoReward,
    RemoteRewardClient,
    RetryPolicy,
    RewardServerUnavailable,
    Sample,
    ScoreResult,
    UnknownProfile,
)
from touchstone_rewards.clients.adapters import missing
from touchstone_rewards.clients.adapters.trl import TrlReward
from touchstone_rewards.clients.adapters.trl_columns import prompt_id
from touchstone_rewards.reward_server.live_server import LiveServer

CHAT = [{"role": "user", "content": "What is 40 + 6?"}]
Kept = list[tuple[Sample, ScoreResult | None]]


@pytest.fixture(params=[AsyncRemoteRewardClient, RemoteRewardClient])
def client(request: pytest.FixtureRequest, server: LiveServer) -> Iterator[Any]:
    """Either client."""
    client = request.param(server.url)
    yield client
    if isinstance(client, RemoteRewardClient):
        client.close()


class Keeper:
    """Return an `on_results` that keeps its arguments."""

    def __init__(self) -> None:
        self.kept: Kept = []

    def __call__(self, samples: list[Sample], results: list[ScoreResult | None]) -> None:
        self.kept += zip(samples, results, strict=True)

    @property
    def samples(self) -> list[Sample]:
        return [sample for sample, _ in self.kept]


def test_trl_sees_a_coroutine_function_named_like_the_profile(client: Any) -> None:
    reward = client.as_trl_reward("math")
    assert inspect.iscoroutinefunction(reward)
    assert reward.__name__ == "math"


async def test_rewards_come_in_order_and_none_where_there_is_none(client: Any) -> None:
    reward = client.as_trl_reward("math")
    rewards = await reward(
        prompts=["p"] * 3,
        completions=["\\boxed{1}", "\\boxed{2}", "\\boxed{3}"],
        ground_truth=["1", "1", None],
        completion_ids=[[1], [2], [3]],
        trainer_state=object(),
    )
    assert rewards == [1.0, 0.0, None]


async def test_chats_are_scored_by_what_the_policy_wrote(client: Any) -> None:
    keeper = Keeper()
    reward = client.as_trl_reward("math", on_results=keeper)
    turns = [
        {"role": "assistant", "content": None, "tool_calls": [{"name": "add"}]},
        {"role": "tool", "content": "\\boxed{7}"},
        {"role": "assistant", "content": [{"type": "text", "text": "So \\boxed{46}"}]},
    ]
    assert await reward(prompts=[CHAT], completions=[turns], ground_truth=[46]) == [1.0]
    [sample] = keeper.samples
    assert sample.response == "\nSo \\boxed{46}"


async def test_ids_are_the_rows_and_the_place_in_the_group(client: Any) -> None:
    keeper = Keeper()
    reward = client.as_trl_reward("dummy", on_results=keeper)
    await reward(prompts=["p", "q", "p", "q"], completions=["x"] * 4, id=["a", 7, "a", 7])
    assert [sample.id for sample in keeper.samples] == ["a/0", "7/0", "a/1", "7/1"]
    assert [sample.group_id for sample in keeper.samples] == ["a", "7", "a", "7"]


async def test_without_an_id_column_the_prompt_is_the_id(client: Any) -> None:
    keeper = Keeper()
    reward = client.as_trl_reward("dummy", on_results=keeper)
    await reward(prompts=["p", CHAT, "p"], completions=["x"] * 3)
    first, chat, second = (sample.id for sample in keeper.samples)
    assert (first, second) == ("1fb680aa1ed965bc/0", "1fb680aa1ed965bc/1")
    assert chat == f"{prompt_id(CHAT)}/0"


async def test_columns_can_have_other_names_and_travel_along(client: Any) -> None:
    keeper = Keeper()
    reward = client.as_trl_reward(
        "math",
        ground_truth_column="answer",
        id_column="row",
        metadata_columns=["level"],
        on_results=keeper,
    )
    columns = {"row": ["r1"], "answer": [3], "level": [5], "signals": [{"kl": 0.5}]}
    assert await reward(prompts=["p"], completions=["\\boxed{3}"], **columns) == [1.0]
    [sample] = keeper.samples
    assert sample.id == "r1/0"
    assert (sample.metadata, sample.signals) == ({"level": 5}, {"kl": 0.5})


async def test_the_means_of_all_scorers_are_logged(client: Any) -> None:
    logged: dict[str, float] = {}
    reward = client.as_trl_reward("math")
    await reward(
        prompts=["p"] * 4,
        completions=["\\boxed{1}", "\\boxed{1}", "\\boxed{2}", "\\boxed{2}"],
        ground_truth=["1", "2", "2", None],
        log_metric=logged.__setitem__,
    )
    assert logged["scores/math/math"] == pytest.approx(2 / 3)
    assert logged["rewards_failed_frac/math"] == 0.25
    assert logged["rewards_wait_s/math"] > 0
    assert "scores/math/format" in logged


def test_every_call_may_come_from_another_event_loop(client: Any) -> None:
    reward = client.as_trl_reward("math")
    for _ in range(3):
        call = reward(prompts=["p"], completions=["\\boxed{3}"], ground_truth=["3"])
        assert asyncio.run(call) == [1.0]


def reward_of(url: str, **options: Any) -> TrlReward:
    """Return a reward function that gives up on a server after two failures in a row."""
    retry = RetryPolicy(max_tries=2, first_delay_s=0.01)
    return AsyncRemoteRewardClient(url, batch_size=1, retry=retry).as_trl_reward(**options)


async def test_a_server_that_is_down_from_the_start_raises(dead_url: str) -> None:
    with pytest.raises(RewardServerUnavailable, match="reward-server serve"):
        await reward_of(dead_url)(prompts=["p"], completions=["x"])


async def test_a_server_that_goes_down_gives_none_and_one_warning(
    start_peer: StartPeer, caplog: pytest.LogCaptureFixture
) -> None:
    def script(seen: Seen) -> Action:
        return scored(seen, 0.5) if seen.ids == ["first/0"] else Reset()

    keeper = Keeper()
    peer = await start_peer(told_of(script))
    reward = reward_of(peer.url, on_results=keeper)
    assert await reward(prompts=["p"], completions=["x"], id=["first"]) == [0.5]
    with caplog.at_level(logging.WARNING, "touchstone_rewards.clients.adapters.trl"):
        assert await reward(prompts=["p"] * 3, completions=["x"] * 3) == [None, None, None]
    assert [result for _, result in keeper.kept[1:]] == [None, None, None]
    [warning] = caplog.records
    assert "reward-server serve" in warning.getMessage()


async def test_the_rewards_that_had_arrived_are_given(start_peer: StartPeer) -> None:
    def script(seen: Seen) -> Action:
        return Reset() if "b/0" in seen.ids else scored(seen, 0.5)

    reward = reward_of((await start_peer(told_of(script))).url)
    rewards = await reward(prompts=["p"] * 3, completions=["x"] * 3, id=["a", "b", "c"])
    assert rewards == [0.5, None, 0.5]


async def test_what_no_retry_can_mend_is_raised(start_peer: StartPeer) -> None:
    script = told_of(lambda _: Reply(404, error_body("unknown_profile")))
    peer = await start_peer(script)
    with pytest.raises(UnknownProfile):
        await reward_of(peer.url)(prompts=["p"], completions=["x"])
    reward = reward_of(peer.url, metadata_columns=["level"])
    with pytest.raises(InvalidSample):
        await reward(prompts=["p"], completions=["x"], level=[object()])


@pytest.mark.parametrize(
    ("version", "coroutine", "on_missing"),
    [((0, 24), False, "raise"), ((1, 5), False, "raise"), ((1, 6), True, "leave_out")],
)
def test_the_form_and_what_becomes_of_none_follow_the_installed_trl(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], coroutine: bool, on_missing: str
) -> None:
    monkeypatch.setattr(missing, "installed_trl", lambda: version)
    for kind in (AsyncRemoteRewardClient, RemoteRewardClient):
        reward = kind().as_trl_reward("math")
        assert inspect.iscoroutinefunction(reward) is coroutine
    assert missing.chosen(None, version) == on_missing
    if not coroutine:
        with pytest.raises(ValueError, match="counts a missing reward as 0"):
            RemoteRewardClient().as_trl_reward("math", on_missing="leave_out")


def test_before_trl_1_6_both_clients_give_an_ordinary_function_that_scores(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missing, "installed_trl", lambda: (0, 24))
    reward = client.as_trl_reward("math")
    columns: dict[str, Any] = {"ground_truth": ["1", "1"]}
    said = ["\\boxed{1}", "\\boxed{2}"]
    assert reward(prompts=["p"] * 2, completions=said, **columns) == [1.0, 0.0]
    with pytest.raises(NoReward, match=r"1 of 2 completions have no reward \(bad_ground_truth"):
        reward(prompts=["p"] * 2, completions=said, ground_truth=["1", None])
    filling = client.as_trl_reward("math", on_missing="group_mean")
    said, truths = [*said, "\\boxed{1}"], ["1", "1", None]
    assert filling(prompts=["p"] * 3, completions=said, ground_truth=truths) == [1.0, 0.0, 0.5]


@pytest.mark.parametrize(
    ("version", "read"),
    [("1.6.0", (1, 6)), ("1.6.0.dev0", (1, 5)), ("0.24.0", (0, 24)), ("1.16.0rc1", (1, 15))],
)
def test_a_pre_release_counts_as_the_version_before_it(
    monkeypatch: pytest.MonkeyPatch, version: str, read: tuple[int, int]
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: version)
    assert missing.installed_trl() == read


def test_a_group_without_any_reward_gets_one_number_for_all() -> None:
    groups = ["a", "a", "b", "b"]
    filled = missing.filled([None, None, 1.0, 0.0], groups, "group_mean", "why")
    assert filled == [0.5, 0.5, 1.0, 0.0]
    with pytest.raises(NoReward, match="why"):
        missing.filled([None] * 4, groups, "group_mean", "why")


@pytest.mark.long
def test_trl_trains_on_the_rewards_and_outlives_the_server(
    server: LiveServer, start_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    from datasets import Dataset
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    from touchstone_rewards.trainer.toy.tiny_model import make_model

    keeper, mortal = Keeper(), start_server()
    there = AsyncRemoteRewardClient(server.url).as_trl_reward("dummy", on_results=keeper)
    gone = AsyncRemoteRewardClient(mortal.url, timeout_s=2).as_trl_reward(
        "format", on_results=lambda *_: mortal.kill()
    )
    folder = make_model(tmp_path / "model", ["1 + 1 = 2"], hidden_size=32, layers=1)
    rows = [{"prompt": f"{i} + 1 =", "ground_truth": str(i + 1), "id": f"r{i}"} for i in range(4)]
    trainer = GRPOTrainer(
        str(folder),
        reward_funcs=[there, gone],  # pyright: ignore[reportArgumentType]
        args=GRPOConfig(
            output_dir=str(tmp_path / "run"),
            max_steps=2,
            per_device_train_batch_size=8,
            num_generations=4,
            max_completion_length=8,
            logging_steps=1,
            report_to=[],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
        ),
        train_dataset=Dataset.from_list(rows),
    )
    trainer.train()
    assert len(keeper.kept) == 16
    first = [result.reward for _, result in keeper.kept[:8] if result and result.reward is not None]
    logged = [entry for entry in trainer.state.log_history if "rewards/dummy/mean" in entry]
    assert logged[0]["rewards/dummy/mean"] == pytest.approx(sum(first) / 8, abs=1e-5)
    assert [entry["rewards_failed_frac/dummy"] for entry in logged] == [0, 0]
    assert [entry["rewards_failed_frac/format"] for entry in logged] == [0, 1]
    assert {sample.id for sample in keeper.samples[:8]} <= {
        f"r{i}/{k}" for i in range(4) for k in range(4)
    }
