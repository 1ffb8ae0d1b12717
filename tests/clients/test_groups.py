"""Samples of one group travel together, also on a retry if groups are scored whole."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.checkout import live_server
from tests.clients.conftest import StartPeer
from tests.clients.peers import (
    Action,
    Reply,
    Seen,
    answer,
    error_body,
    failed,
    result,
    scored,
    told_of,
)
from touchstone_rewards.clients import AsyncRemoteRewardClient, RemoteRewardClient, Sample
from touchstone_rewards.clients.adapters import areal, openrlhf, tunix, verl
from touchstone_rewards.reward_server.live_server import LiveServer

WHOLE = {"groups": {"size": None}}


def samples(count: int, groups: int) -> list[Sample]:
    """Return samples of several groups, interleaved."""
    return [Sample(str(i), "x", group_id=f"g{i % groups}") for i in range(count)]


def asked(seen: list[Seen]) -> list[list[str]]:
    return [request.ids for request in seen if request.path == "/score"]


async def test_no_group_is_split_over_requests(start_peer: StartPeer) -> None:
    peer = await start_peer(scored)
    async with AsyncRemoteRewardClient(peer.url, batch_size=4, max_in_flight=1) as client:
        results = await client.score(samples(9, 3))
        assert [each.id for each in results] == [str(i) for i in range(9)]
    assert asked(peer.seen) == [["0", "3", "6"], ["1", "4", "7"], ["2", "5", "8"]]


@pytest.mark.parametrize(("about", "parts"), [({}, [4, 2]), (WHOLE, [6])])
async def test_a_group_larger_than_a_batch_is_cut_unless_it_is_scored_whole(
    start_peer: StartPeer, about: dict[str, Any], parts: list[int]
) -> None:
    peer = await start_peer(told_of(scored, **about))
    async with AsyncRemoteRewardClient(peer.url, batch_size=4, max_in_flight=1) as client:
        await client.score(samples(6, 1))
    assert [len(ids) for ids in asked(peer.seen)] == parts


async def test_a_group_that_no_request_may_carry_is_refused_by_name(start_peer: StartPeer) -> None:
    def script(seen: Seen) -> Action:
        many = len(seen.ids) > 3
        return Reply(413, error_body("request_too_large")) if many else scored(seen)

    peer = await start_peer(told_of(script, **WHOLE))
    given = [*samples(4, 1), Sample("a", "x", group_id="b"), Sample("b", "x", group_id="b")]
    async with AsyncRemoteRewardClient(peer.url, max_in_flight=1) as client:
        results = await client.score(given)
    assert [each.reward for each in results] == [None] * 4 + [1.0] * 2
    assert results[0].error is not None
    assert results[0].error.code == "response_too_large"
    assert "group 'g0' of 4 samples" in results[0].error.message
    assert asked(peer.seen) == [["0", "1", "2", "3", "a", "b"], ["0", "1", "2", "3"], ["a", "b"]]


@pytest.mark.parametrize(
    ("about", "again"), [({}, [["0"]]), (WHOLE, [["0", "2"]])], ids=["single", "whole"]
)
async def test_what_is_sent_again_is_sent_with_its_group_where_that_is_scored_whole(
    start_peer: StartPeer, about: dict[str, Any], again: list[list[str]]
) -> None:
    lost = {"0"}

    def script(seen: Seen) -> Action:
        results = [
            failed(each, retryable=True) if each in lost else result(each, float(len(seen.ids)))
            for each in seen.ids
        ]
        lost.clear()
        return Reply(200, answer(results))

    peer = await start_peer(told_of(script, **about))
    async with AsyncRemoteRewardClient(peer.url) as client:
        results = await client.score(samples(4, 2))
    assert asked(peer.seen)[1:] == again
    assert results[2].reward == (2.0 if about else 4.0)  # scored with the others of its group


PROFILE = """
scorers: {majority: {}}
groups: {size: 4, deadline_s: 60}
"""
ANSWERS = ["46", "46.0", "45", "46"]
WANTED = [1.0, 1.0, 0.0, 1.0]


@pytest.fixture(scope="module")
def voting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("voting")
    (folder / "vote.yaml").write_text(PROFILE)
    live = live_server(folder / "log", "--profiles_dir", str(folder)).start()
    yield live
    live.kill()


def test_trainers_that_ask_one_sample_at_a_time_get_the_groups_rewards(
    voting: LiveServer,
) -> None:
    texts = [f"So \\boxed{{{text}}}." for text in ANSWERS]
    reward_func = openrlhf.reward_function("vote", url=voting.url)

    def by_verl(text: str) -> float:
        about: Any = {"profile": "vote", "url": voting.url}
        return verl.compute_score("gsm8k", text, None, {"index": 3}, **about)["score"]

    def by_openrlhf(text: str) -> float:
        return reward_func([f"6 + 40?{text}"], ["6 + 40?"], [None])["rewards"][0]

    def by_route(text: str) -> float:
        body = {"prompt": "What is 6 + 40?", "response": text, "label": None}
        url = f"{voting.url}/compat/slime/rm?profile=vote"
        return httpx2.post(url, json=body).json()

    with ThreadPoolExecutor(4) as callers:
        for ask in (by_verl, by_openrlhf, by_route):
            assert list(callers.map(ask, texts)) == WANTED


async def test_functions_of_texts_give_the_samples_of_a_prompt_one_group(
    voting: LiveServer,
) -> None:
    answers = [f"So \\boxed{{{text}}}." for text in ANSWERS]
    reward_fn = areal.reward_function("vote", url=voting.url)
    row = {"messages": [{"role": "user", "content": "What is 5 + 41?"}]}
    found = await asyncio.gather(*(reward_fn("", text, [], [], **row) for text in answers))
    assert list(found) == WANTED


def test_tunixs_prompts_are_its_groups(voting: LiveServer) -> None:
    answers = [f"So \\boxed{{{text}}}." for text in ANSWERS for _ in "ab"]
    prompts = ["What is 4 + 42?", "What is 3 + 43?"] * len(ANSWERS)
    found = tunix.reward_function("vote", url=voting.url)(prompts, answers)
    assert found == [reward for reward in WANTED for _ in "ab"]


def test_a_client_sends_whole_groups(voting: LiveServer) -> None:
    given = [
        Sample(f"{row}/{i}", f"\\boxed{{{text}}}", group_id=row)
        for i, text in enumerate(ANSWERS)
        for row in ("a", "b", "c")
    ]
    with RemoteRewardClient(voting.url, batch_size=5) as client:
        results = client.score(given, "vote")
    assert [each.reward for each in results] == [reward for reward in WANTED for _ in "abc"]
