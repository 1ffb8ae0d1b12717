"""A mixed data set through the adapters: the routing field is sent without being named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.checkout import live_server
from tests.clients.conftest import StartPeer
from tests.clients.peers import scored, told_of
from touchstone_rewards.clients import AsyncRemoteRewardClient, RemoteRewardClient, Sample
from touchstone_rewards.clients.adapters import openrlhf, verl
from touchstone_rewards.clients.adapters.ms_swift import RemoteReward
from touchstone_rewards.clients.errors import MissingColumn, NoReward
from touchstone_rewards.reward_server.live_server import LiveServer

TAGGED = "<think> x </think> <answer> \\boxed{46} </answer>"
MIXED = """
route: {by: metadata.data_source, cases: {gsm8k: math, tags: format}}
sample_profiles: [dummy]
"""
PROMPTS = ["What is 6 + 40?", "Say 46 in tags."]
SOURCES = ["gsm8k", "tags"]
TRUTHS = ["45", None]
# Wrong by math, right in form: the reward shows which profile scored a row.
WANTED = [0.0, 1.0]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Start a server whose profile `mixed` routes by `metadata.data_source`."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "mixed.yaml").write_text(MIXED)
    truths = [
        f'{{"prompt": "{prompt}", "ground_truth": "45", "metadata": {{"data_source": "{source}"}}}}'
        for prompt, source in zip(PROMPTS, SOURCES, strict=True)
    ]
    (folder / "truths.jsonl").write_text("\n".join(truths))
    settings = [
        "--profiles_dir",
        str(folder),
        "--compat_ground_truths",
        str(folder / "truths.jsonl"),
    ]
    live = live_server(folder / "log", *settings).start()
    yield live
    live.kill()


async def test_trl_sends_the_column_that_decides(mixed: LiveServer) -> None:
    columns: dict[str, Any] = {"ground_truth": TRUTHS, "data_source": SOURCES, "image": [b"", b""]}
    async with AsyncRemoteRewardClient(mixed.url) as client:
        for columns_sent in (None, [], ["data_source"]):
            reward = client.as_trl_reward("mixed", preflight=False, metadata_columns=columns_sent)
            assert await reward(prompts=PROMPTS, completions=[TAGGED] * 2, **columns) == WANTED
        reward = client.as_trl_reward("mixed")
        with pytest.raises(MissingColumn, match=r"routes by metadata.data_source.*'data_source'"):
            await reward(prompts=PROMPTS, completions=[TAGGED] * 2, ground_truth=TRUTHS)


def test_verl_sends_its_data_source(mixed: LiveServer) -> None:
    about: Any = {"profile": "mixed", "url": mixed.url}
    found = [
        verl.compute_score(source, TAGGED, truth, {"index": 1}, **about)
        for source, truth in zip(SOURCES, TRUTHS, strict=True)
    ]
    assert [each["score"] for each in found] == WANTED
    assert {tuple(each) for each in found} == {("math", "format", "dummy", "no_reward", "score")}
    with pytest.raises(NoReward, match=r"unsupported_input.*'aime'"):
        verl.compute_score("aime", TAGGED, "46", **about)


def test_openrlhf_sends_what_stands_in_the_label(mixed: LiveServer) -> None:
    labels = [
        {"ground_truth": "45", "data_source": "gsm8k"},
        '{"ground_truth": null, "data_source": "tags"}',
    ]
    queries = [f"{prompt}{TAGGED}" for prompt in PROMPTS]
    reward_func = openrlhf.reward_function("mixed", url=mixed.url)
    assert reward_func(queries, PROMPTS, labels)["rewards"] == WANTED
    body = {"query": queries, "prompts": PROMPTS, "labels": labels}
    said = post(mixed, "openrlhf/get_reward", body)
    assert said["rewards"] == WANTED


def test_ms_swift_sends_its_columns(mixed: LiveServer) -> None:
    class Reward(RemoteReward):
        profile, url = "mixed", mixed.url

    assert Reward()([TAGGED] * 2, solution=TRUTHS, data_source=SOURCES) == WANTED


def test_other_formats_carry_it_where_they_have_room(mixed: LiveServer) -> None:
    for i, (source, truth) in enumerate(zip(SOURCES, TRUTHS, strict=True)):
        slime = {"prompt": PROMPTS[i], "response": TAGGED, "label": truth}
        about = {"metadata": {"data_source": source}}
        assert post(mixed, "slime/rm", slime | about) == WANTED[i]
        label = {"label": {"ground_truth": truth, "data_source": source}}
        assert post(mixed, "slime/rm", slime | label) == WANTED[i]
        row = {
            "responses_create_params": {"input": PROMPTS[i]},
            "response": {"output": [{"type": "message", "content": TAGGED}]},
            "expected_answer": truth,
            "data_source": source,
        }
        assert post(mixed, "nemo_gym/verify", row)["reward"] == WANTED[i]
    by_file = {"sample_ids": [1, 2], "queries": PROMPTS, "responses": [TAGGED] * 2}
    assert post(mixed, "rewards", by_file)["rewards"] == WANTED


def test_a_sample_may_name_its_profile(mixed: LiveServer) -> None:
    with RemoteRewardClient(mixed.url) as client:
        [named] = client.score([Sample("a", TAGGED, profile="dummy")], "mixed", explain=True)
    assert (named.routed_to, named.status) == ("dummy", "ok")
    assert named.explanation is not None
    assert named.explanation["route"] == {"profile": "dummy", "by": "profile", "value": "dummy"}


async def test_trls_step_travels_to_a_profile_that_goes_by_it(start_peer: StartPeer) -> None:
    peer = await start_peer(told_of(scored, schedules=["metadata.step"]))
    state = type("TrainerState", (), {"global_step": 7})()
    async with AsyncRemoteRewardClient(peer.url) as client:
        reward = client.as_trl_reward("math", preflight=False)
        await reward(prompts=["p"], completions=["x"], trainer_state=state)
    [request] = [seen for seen in peer.seen if seen.path == "/score"]
    assert request.body["samples"][0]["metadata"] == {"step": 7}


def post(server: LiveServer, path: str, body: dict[str, Any]) -> Any:
    answer = httpx2.post(f"{server.url}/compat/{path}?profile=mixed", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()
