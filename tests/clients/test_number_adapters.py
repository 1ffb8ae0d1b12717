"""The adapters for trainers that accept only numbers, against a real server."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy
import pytest

from tests.checkout import ROOT
from touchstone_rewards.clients import RewardClientError
from touchstone_rewards.clients.adapters import areal, easyr1, openrlhf, texts, tunix, verl
from touchstone_rewards.clients.adapters.ms_swift import RemoteReward
from touchstone_rewards.clients.adapters.numbers import NoReward
from touchstone_rewards.clients.errors import MissingColumn
from touchstone_rewards.reward_server.live_server import LiveServer

RIGHT, WRONG = "So \\boxed{46}.", "So \\boxed{45}."


def test_verl_gets_the_same_keys_whatever_becomes_of_a_sample(server: LiveServer) -> None:
    def score(response: str, truth: str | None) -> dict[str, float]:
        return verl.compute_score(
            "gsm8k", response, truth, {"index": 3}, url=server.url, null_reward=-1.0
        )

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(score, [RIGHT, WRONG, RIGHT], ["46", "46", None]))
    assert [each["score"] for each in found] == [1.0, 0.0, -1.0]
    assert [each["no_reward"] for each in found] == [0.0, 0.0, 1.0]
    assert {tuple(each) for each in found} == {("math", "format", "no_reward", "score")}
    assert math.isnan(found[2]["math"])
    assert all(isinstance(value, float) for each in found for value in each.values())


def test_without_a_chosen_number_a_sample_without_a_reward_raises(server: LiveServer) -> None:
    with pytest.raises(NoReward, match="bad_ground_truth"):
        verl.compute_score("gsm8k", RIGHT, None, url=server.url)
    given = {"response": RIGHT, "response_length": 9, "ground_truth": None}
    with pytest.raises(NoReward, match="null_reward"):
        easyr1.compute_score([given], url=server.url)


def test_a_misspelt_option_is_not_ignored(server: LiveServer) -> None:
    with pytest.raises(TypeError, match=r"no option 'profil'; did you mean 'profile'\?"):
        verl.compute_score("gsm8k", RIGHT, "46", url=server.url, profil="format")
    of_verl = {"reward_router_address": "x:1", "reward_model_tokenizer": None}
    assert verl.compute_score("gsm8k", RIGHT, "46", url=server.url, **of_verl)["score"] == 1.0
    with pytest.raises(TypeError, match=r"Mine has no option 'null_rewards'; did you mean"):

        class Mine(RemoteReward):
            null_rewards = 0.0


def test_a_manager_of_verl_that_makes_errors_zeros_gets_a_text(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = type("RateLimitedRewardManager", (), {"_class_initialized": True})
    monkeypatch.setitem(
        sys.modules, verl.LIMITED, SimpleNamespace(RateLimitedRewardManager=manager)
    )
    found = verl.compute_score("gsm8k", RIGHT, None, url=server.url)
    assert found["score"].startswith("NoReward: sample gsm8k has no reward")
    misspelt = verl.compute_score_async("gsm8k", RIGHT, "46", url=server.url, profile="mth")
    assert asyncio.run(misspelt)["score"].startswith("UnknownProfile: no profile 'mth'")
    assert verl.compute_score("gsm8k", RIGHT, "46", url=server.url)["score"] == 1.0


def test_a_misspelt_column_does_not_become_a_run_on_the_constant(
    start_server: Callable[..., LiveServer],
) -> None:
    url = start_server().url
    given = [{"response": RIGHT, "ground_truth": None}] * 32
    found = easyr1.compute_score(given, url=url, null_reward=-1.0)
    assert {row["overall"] for row in found} == {-1.0}
    with pytest.raises(NoReward, match=r"none of the first 64 samples.*bad_ground_truth"):
        easyr1.compute_score(given, url=url, null_reward=-1.0)


def test_an_outage_raises_even_where_a_number_stands_for_null() -> None:
    class Impatient(RemoteReward):
        url = "http://127.0.0.1:9"
        null_reward = 0.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("touchstone_rewards.clients.adapters.numbers.client_of", _impatient)
        with pytest.raises(RewardClientError):
            Impatient()([RIGHT], solution=["46"])


def _impatient(url: str | None) -> object:
    from touchstone_rewards.clients import RemoteRewardClient

    return RemoteRewardClient(url, timeout_s=0.5)


def test_easyr1_and_ms_swift_score_a_batch(server: LiveServer) -> None:
    given = [
        {"response": text, "response_length": 1, "ground_truth": "46"} for text in (RIGHT, WRONG)
    ]
    assert [row["overall"] for row in easyr1.compute_score(given, url=server.url)] == [1.0, 0.0]

    class Reward(RemoteReward):
        url = server.url

    assert Reward(args=None)([WRONG, RIGHT], solution=["46", "46"], trainer_state=None) == [
        0.0,
        1.0,
    ]


def test_openrlhf_gets_lists_of_numbers_and_an_error_for_a_foreign_prompt(
    server: LiveServer,
) -> None:
    reward_func = openrlhf.reward_function("math", url=server.url)
    found = reward_func(["<s>Q: " + RIGHT, "Q: " + WRONG], ["Q:", "Q:"], ["46", "46"])
    assert found["rewards"] == found["scores"] == found["extra_logs"]["math"] == [1.0, 0.0]
    with pytest.raises(NoReward, match="query 0 does not contain its prompt"):
        reward_func(["something else"], ["Q:"], ["46"])
    lenient = openrlhf.reward_function("math", url=server.url, null_reward=-1.0)
    found = lenient(["something else", "Q:" + RIGHT], ["Q:"] * 2, ["46"] * 2)
    assert (found["rewards"], found["extra_logs"]["no_reward"]) == ([-1.0, 1.0], [1.0, 0.0])
    assert reward_func([], [], []) == {"rewards": [], "scores": [], "extra_logs": {}}


@pytest.mark.parametrize(
    "name", ["verl", "easyr1", "openrlhf", "ms_swift", "areal", "rllm", "texts", "tunix"]
)
def test_an_adapter_needs_no_trainer_and_asks_no_server_when_imported(name: str) -> None:
    load = f"import sys; from touchstone_rewards.clients.adapters import {name}"
    code = f"{load}; assert not {{'torch', 'verl'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_tunix_gets_a_list_from_columns_of_arrays(server: LiveServer) -> None:
    reward_fn = tunix.reward_function("math", url=server.url, ground_truth_column="gold")
    prompts = ["What is 6 + 40?"] * 2
    assert reward_fn.__name__ == "math"
    gold = numpy.array(["46", "46"])
    assert reward_fn(prompts=prompts, completions=[WRONG, RIGHT], gold=gold) == [0.0, 1.0]
    with pytest.raises(MissingColumn, match="no column 'gold'; the batch has answer"):
        reward_fn(prompts, [WRONG, RIGHT], answer=["46", "46"])
    with pytest.raises(NoReward, match="sample 1 has no reward"):
        reward_fn(prompts, [RIGHT, RIGHT], gold=["46", None])


async def test_areals_function_is_awaited_and_its_row_changes_no_setting(
    server: LiveServer,
) -> None:
    reward_fn = areal.reward_function("math", url=server.url)
    row = {"answer": "46", "profile": "format", "url": "http://127.0.0.1:9", "null_reward": 1.0}
    assert await reward_fn("What is 6 + 40?", RIGHT, [1], [2], **row, prompt="another") == 1.0
    assert await reward_fn("What is 6 + 40?", WRONG, [1], [2], **row) == 0.0
    with pytest.raises(NoReward, match="bad_ground_truth"):
        await reward_fn("What is 6 + 40?", RIGHT, [1], [2], **{**row, "answer": None})


def test_a_text_takes_its_prompt_from_the_row_and_else_from_the_trainer() -> None:
    chat = [{"role": "user", "content": "What is 6 + 40?"}]
    assert texts.with_prompt({"messages": chat, "level": 2}, "<user>") == {
        "messages": chat,
        "level": 2,
    }
    assert texts.with_prompt({"messages": None}, "Q:") == {"messages": None, "prompt": "Q:"}


def test_a_text_without_a_reward_raises_or_is_the_number_that_was_chosen(
    start_server: Callable[..., LiveServer],
) -> None:
    url = start_server().url
    assert texts.reward_of(RIGHT, "46", url=url)[0] == 1.0
    with pytest.raises(NoReward, match="bad_ground_truth"):
        texts.reward_of(RIGHT, {"odd": 1}, {"prompt": "Q:"}, url=url)
    reward, scores = texts.reward_of(RIGHT, None, url=url, null_reward=-1.0)
    assert (reward, scores["no_reward"]) == (-1.0, 1.0)
    assert math.isnan(scores["math"])
