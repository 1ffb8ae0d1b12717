"""The number adapters send the fields that the profile reads, as JSON, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy
import pytest

from tests.checkout import live_server
from tests.clients.conftest import StartPeer
from tests.clients.peers import Peer, scored, told_of
from tests.reward_server.models import tiny
from touchstone_rewards.clients import RemoteRewardClient, Sample, UnknownProfile
from touchstone_rewards.clients.adapters import easyr1, numbers, openrlhf, verl
from touchstone_rewards.clients.adapters.ms_swift import AsyncRemoteReward, RemoteReward
from touchstone_rewards.clients.adapters.plain import plain
from touchstone_rewards.reward_server.live_server import LiveServer

JUDGE = """
scorers:
  reward_model:
    config: {{model: {folder}, template: chat, dtype: float32, device: cpu}}
"""
PROMPT = [{"role": "user", "content": "Tell me one "}]
RESPONSE = "the story of two three . "


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Start a server whose profile `judge` is a reward model with a chat template."""
    folder = tmp_path_factory.mktemp("judge")
    (folder / "profiles").mkdir()
    model = tiny.classifier(folder / "model")
    (folder / "profiles" / "judge.yaml").write_text(JUDGE.format(folder=model))
    live = live_server(folder / "log", "--profiles_dir", str(folder / "profiles")).start(wait=False)
    try:
        live.wait_until_ready(timeout_s=240)  # it imports torch, perhaps on a busy machine
        yield live
    finally:
        live.kill()


def expected(judge: LiveServer) -> float:
    with RemoteRewardClient(judge.url) as client:
        sample = {"id": "a", "response": RESPONSE, "prompt": PROMPT}
        [result] = client.score([sample], "judge")
    assert result.reward is not None
    return result.reward


@pytest.mark.parametrize(
    "extra_info",
    [
        {"question": "Tell me one "},
        {"prompt": numpy.array(PROMPT, dtype=object)},
        {"messages": [*PROMPT, {"role": "assistant", "content": "What the data had."}]},
    ],
)
def test_a_chat_reward_model_gets_verls_prompt(judge: LiveServer, extra_info: Any) -> None:
    options: dict[str, Any] = {"url": judge.url, "profile": "judge"}
    prompt = extra_info.get("question")
    wanted = expected(judge) if prompt is None else chat_of_text(judge, prompt)
    found = verl.compute_score("stories", RESPONSE, None, extra_info, **options)
    assert found["score"] == pytest.approx(wanted, abs=1e-5)

    async def both() -> list[dict[str, float]]:
        call = verl.compute_score_async("stories", RESPONSE, None, extra_info, **options)
        again = verl.compute_score_async("stories", RESPONSE, None, extra_info, **options)
        return [*await asyncio.gather(call, again)]

    for awaited in asyncio.run(both()):
        assert awaited == pytest.approx(found, abs=1e-5)


def chat_of_text(judge: LiveServer, prompt: str) -> float:
    with RemoteRewardClient(judge.url) as client:
        [result] = client.score([Sample("a", RESPONSE, prompt)], "judge")
    assert result.reward is not None
    return result.reward


def test_verls_prompt_may_stand_under_another_key(judge: LiveServer) -> None:
    options: dict[str, Any] = {"url": judge.url, "profile": "judge"}
    found = verl.compute_score("x", RESPONSE, None, {"chat": PROMPT}, prompt_key="chat", **options)
    assert found["score"] == pytest.approx(expected(judge), abs=1e-5)


def test_a_chat_reward_model_gets_ms_swifts_messages(judge: LiveServer) -> None:
    class Reward(RemoteReward):
        profile, url = "judge", judge.url

    class Awaited(AsyncRemoteReward):
        profile, url = "judge", judge.url

    columns = {"messages": [[*PROMPT, {"role": "assistant", "content": RESPONSE}]] * 2}
    wanted = pytest.approx([expected(judge)] * 2, abs=1e-5)
    assert Reward()([RESPONSE] * 2, **columns, trainer_state=None) == wanted
    for _ in range(2):  # ms-swift starts an event loop a step
        assert asyncio.run(Awaited()([RESPONSE] * 2, **columns, trainer_state=None)) == wanted


EXTRA = {
    "index": numpy.int64(7),
    "question": numpy.str_("What?"),
    "signals": {"kl": numpy.float32(0.5)},
    "level": numpy.array([1, 2]),
    "image": b"\x89PNG",
    "num_turns": None,
}


async def sent(peer: Peer) -> dict[str, Any]:
    """Return the sample that verl's adapter sends to a server whose profile has these fields."""
    await verl.compute_score_async("gsm8k", "x", numpy.str_("46"), EXTRA, url=peer.url)
    [request] = [seen for seen in peer.seen if seen.path == "/score"]
    [sample] = request.body["samples"]
    return sample


@pytest.mark.parametrize(
    ("reads", "fields"),
    [
        ([], {}),
        (["ground_truth"], {"ground_truth": "46"}),
        (["prompt", "group_id"], {"prompt": "What?", "group_id": "gsm8k-7"}),
        (["signals"], {"signals": {"kl": 0.5}}),
        (
            ["metadata"],
            {"metadata": {"data_source": "gsm8k", "index": 7, "level": [1, 2], "num_turns": None}},
        ),
    ],
)
async def test_nothing_travels_but_what_the_profile_reads(
    start_peer: StartPeer, reads: list[str], fields: dict[str, Any]
) -> None:
    peer = await start_peer(told_of(scored, *reads))
    assert await sent(peer) == {"id": "gsm8k-7", "response": "x", **fields}


ANSWER = {"ground_truth": "46", "question": "What?", "level": 1}


@pytest.mark.parametrize("answer", [ANSWER, json.dumps(ANSWER)])
async def test_an_answer_of_easyr1_may_be_an_object_that_carries_the_row(
    start_peer: StartPeer, answer: Any
) -> None:
    peer = await start_peer(told_of(scored, "ground_truth", "prompt", "metadata"))
    given = [{"response": "x", "response_length": 1, "ground_truth": answer}]
    await asyncio.to_thread(easyr1.compute_score, given, url=peer.url)
    [request] = [seen for seen in peer.seen if seen.path == "/score"]
    [sample] = request.body["samples"]
    metadata = {"level": 1, "response_length": 1}
    wanted = {"ground_truth": "46", "prompt": "What?", "metadata": metadata}
    assert sample == {"id": "0", "response": "x", **wanted}


async def test_the_server_is_asked_once_what_a_profile_reads(start_peer: StartPeer) -> None:
    peer = await start_peer(told_of(scored, "ground_truth"))
    for _ in range(3):
        await verl.compute_score_async("gsm8k", "x", "46", url=peer.url)
    assert [seen.path for seen in peer.seen].count("/profiles") == 1
    with pytest.raises(UnknownProfile, match=r"'mth'.*it has math"):
        await verl.compute_score_async("gsm8k", "x", "46", url=peer.url, profile="mth")


TRUTHS: list[tuple[Any, float | str]] = [
    ("46", 1.0),
    (46, 1.0),
    (46.0, 1.0),
    (["45", "46"], 1.0),
    (numpy.str_("46"), 1.0),
    (numpy.int64(46), 1.0),
    (numpy.float32(46), 1.0),
    (numpy.array(["45", "46"]), 1.0),
    (numpy.array([46]), 1.0),
    ({"target": ["46"]}, 1.0),
    ({"target": numpy.array(["46"], dtype=object)}, 1.0),
    (Decimal("46"), 1.0),
    (("45", "46"), 1.0),
    (None, "bad_ground_truth"),
    (True, "not bool"),
    (numpy.bool_(True), "not bool"),
    ({"instruction_id": ["a"], "kwargs": []}, "an object with instruction_id, kwargs"),
    ([["46"]], "a list with other items"),
    (b"46", "not bytes: decode it"),
    (object(), "not object"),
]


def test_ground_truths_of_many_types_in_one_batch(server: LiveServer) -> None:
    given = [{"response": "\\boxed{46}", "ground_truth": truth} for truth, _ in TRUTHS]
    found = easyr1.compute_score(given, url=server.url, null_reward=-1.0)
    wanted = [-1.0 if isinstance(what, str) else what for _, what in TRUTHS]
    assert [each["overall"] for each in found] == wanted


@pytest.mark.parametrize(("truth", "why"), [pair for pair in TRUTHS if isinstance(pair[1], str)])
def test_what_is_no_ground_truth_says_so(server: LiveServer, truth: Any, why: str) -> None:
    with pytest.raises(
        numbers.NoReward, match=f"bad_ground_truth.*{why}" if truth is not None else why
    ):
        easyr1.compute_score([{"response": "x", "ground_truth": truth}], url=server.url)


async def test_trl_gets_none_for_those_rows_alone(server: LiveServer) -> None:
    with RemoteRewardClient(server.url) as client:
        reward = client.as_trl_reward("math", max_failed_frac=1)
        count = len(TRUTHS)
        columns = {"ground_truth": [truth for truth, _ in TRUTHS]}
        found = await reward(["p"] * count, ["\\boxed{46}"] * count, **columns)
    assert found == [None if isinstance(what, str) else what for _, what in TRUTHS]


def test_values_inside_others_are_made_plain_and_depth_has_an_end() -> None:
    row = {"a": (numpy.int64(1), {numpy.str_("b"): numpy.array([[1.5]])}), "c": {3}}
    assert plain(row) == {"a": [1, {"b": [[1.5]]}], "c": [3]}
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(TypeError, match="levels deep"):
        plain(deep)


async def test_a_scorer_called_like_the_trainers_own_number_is_refused(
    start_peer: StartPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = await start_peer(told_of(scored))
    monkeypatch.setattr(verl, "OWN_KEYS", ("math",))
    with pytest.raises(ValueError, match="a scorer called 'math'"):
        await verl.compute_score_async("gsm8k", "x", "46", url=peer.url)


def test_openrlhf_sends_its_prompt_to_a_reward_model(judge: LiveServer) -> None:
    reward_func = openrlhf.reward_function("judge", url=judge.url)
    text = "Tell me one "
    found = reward_func([text + RESPONSE], [text], [None])
    assert found["rewards"] == pytest.approx([chat_of_text(judge, text)], abs=1e-5)
