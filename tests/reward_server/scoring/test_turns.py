"""Responses of several turns: what text scorers receive, and which turns are judged one by one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from tests.checkout import PLUGINS, live_server
from touchstone_rewards.clients import AsyncRemoteRewardClient, RemoteRewardClient
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.profiles import load_profiles
from touchstone_rewards.reward_server.received import ReceivedRequest
from touchstone_rewards.reward_server.schemas import Message, Sample, SampleResult
from touchstone_rewards.reward_server.scorers.base import RunsIn, Score
from touchstone_rewards.reward_server.scorers.rules.tool_call_forms import calls_in, calls_of_value
from touchstone_rewards.reward_server.scoring.engine import Engine, create_engine
from touchstone_rewards.reward_server.scoring.turns import MAX_MESSAGES, MAX_TURNS
from touchstone_rewards.reward_server.settings import load_settings
from touchstone_rewards.reward_server.telemetry.metrics import Metrics
from touchstone_rewards.reward_server.turn_texts import response_text, text_of_message

PROFILES = {
    "last": "scorers: {math: {}}",
    "mean": "scorers: {form: {scorer: format, turns: mean}, math: {weight: 0.0}}",
    "least": "scorers: {form: {scorer: format, turns: min}}",
    "best": "scorers: {math: {turns: max}}",
    "calls": "scorers: {tool_call: {config: {calls_from: metadata.calls, forms: [openai]}}, "
    "length: {weight: 0.0, config: {least: 3}}}",
    "each": "scorers: {tool_call: {turns: mean, config: {calls_from: metadata.calls}}}",
    "own": "scorers: {own: {scorer: 'tests.reward_server.scoring.test_turns:ToolCalls'}}",
    "rollout": "scorers: {own: {scorer: 'verifiers:tests.reward_server.scoring.test_turns:roles'}}",
    "chats": "scorers: {own: {scorer: 'trl:tests.reward_server.scoring.test_turns:tools_asked'}}",
    "awaited": "scorers: {own: {scorer: 'trl:tests.reward_server.scoring.test_turns:awaited'}}",
    "wrong": "scorers: {own: {scorer: 'tests.reward_server.scoring.test_turns:WrongTurns'}}",
}
GOOD = "<think> x </think> <answer> \\boxed{46} </answer>"
ROLLOUT = [
    {"role": "assistant", "content": GOOD},
    {"role": "tool", "content": "\\boxed{45}", "tool_call_id": "c1"},
    {"role": "assistant", "content": [{"type": "text", "text": "It is \\boxed{45}."}]},
    {"role": "user", "content": "Sure?"},
]


class ToolCalls:
    """Score the share of the assistant's turns that a tool follows, as a user's plug-in that sees
    the messages.
    """

    version = "1"
    range = (0.0, 1.0)
    runs_in: RunsIn = "worker"
    reads = ("response",)
    sees_turns = True

    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        return [self._score(sample.response) for sample in samples]

    def _score(self, response: str | list[Message]) -> Score:
        if isinstance(response, str):
            return Score(0.0)
        pairs = zip(response, [*response[1:], None], strict=True)
        turns = [
            float(after is not None and after.role == "tool")
            for turn, after in pairs
            if turn.role == "assistant"
        ]
        return Score(max(turns), turns=[*turns[:-1], None])


def roles(completion: list[dict[str, Any]]) -> tuple[float, dict[str, Any]]:
    """A function for verifiers, which receives the whole rollout."""
    return float(len(completion)), {"roles": [turn["role"] for turn in completion]}


def tools_asked(completions: list[list[dict[str, Any]]], **_: Any) -> list[float]:
    """A function for TRL, whose chats include the tools' answers."""
    return [float(sum(turn["role"] == "tool" for turn in chat)) for chat in completions]


async def awaited(completions: list[list[dict[str, Any]]], **_: Any) -> list[float]:
    return tools_asked(completions)


class WrongTurns(ToolCalls):
    def score(self, samples: Sequence[Sample], *, explain: bool = False) -> list[Score]:
        return [Score(1.0, turns=[0.5, 7.0])] * len(samples)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in PROFILES.items():
        (tmp_path / f"{name}.yaml").write_text(content)
    return tmp_path


@pytest.fixture
async def engine(folder: Path) -> AsyncIterator[Engine]:
    settings = load_settings().model_copy(update={"workers": 1, "max_response_bytes": 4000})
    made = create_engine(load_profiles([folder], plugins=PLUGINS), settings, Metrics())
    await made.start()
    yield made
    await made.stop()


async def score(
    engine: Engine, profile: str, *responses: Any, explain: bool = False
) -> list[SampleResult]:
    samples = [
        {"id": str(i), "response": one, "ground_truth": "46"} for i, one in enumerate(responses)
    ]
    body = msgspec.json.encode({"samples": samples, "profile": profile, "explain": explain})
    return (await engine.score(msgspec.json.decode(body, type=ReceivedRequest))).results


async def test_a_text_scorer_sees_the_last_message_of_the_assistant(engine: Engine) -> None:
    last = ROLLOUT[:2]
    results = await score(engine, "last", ROLLOUT, last, [], [{"role": "user", "content": GOOD}])
    assert [each.reward for each in results] == [0.0, 1.0, 0.0, 0.0]
    assert all(each.turns is msgspec.UNSET for each in results)
    assert b"turns" not in msgspec.json.encode(results)


async def test_functions_of_other_trainers_see_the_chats_that_those_hand_them(
    engine: Engine,
) -> None:
    whole, text = await score(engine, "rollout", ROLLOUT, GOOD, explain=True)
    assert (whole.reward, text.reward) == (4.0, 1.0)
    told = (whole.explanation or {})["own"]["roles"]
    assert told == ["assistant", "tool", "assistant", "user"]
    for profile in ("chats", "awaited"):
        results = await score(engine, profile, ROLLOUT, ROLLOUT[:1], GOOD)
        assert [each.reward for each in results] == [1.0, 0.0, 0.0]


def calling(*names: str, text: str | None = None) -> dict[str, Any]:
    calls = [
        {"id": "c", "type": "function", "function": {"name": name, "arguments": '{"x": 1.0}'}}
        for name in names
    ]
    return {"role": "assistant", "content": text, "tool_calls": calls}


async def called(engine: Engine, profile: str, *responses: Any) -> list[SampleResult]:
    metadata = {"calls": [{"name": "f", "arguments": {"x": 1}}]}
    samples = [
        {"id": str(i), "response": one, "metadata": metadata} for i, one in enumerate(responses)
    ]
    body = msgspec.json.encode({"samples": samples, "profile": profile})
    return (await engine.score(msgspec.json.decode(body, type=ReceivedRequest))).results


async def test_tool_calls_of_all_messages_are_judged(engine: Engine) -> None:
    answer = {"role": "tool", "content": "7"}
    results = await called(
        engine,
        "calls",
        [calling("f"), answer, {"role": "assistant", "content": "It is 7."}],
        [calling("f", text="I look it up.")],
        [calling("g"), answer, calling("f")],
        [calling("f", "f")],
        [{"role": "user", "content": None, "tool_calls": calling("f")["tool_calls"]}],
        [{"role": "assistant", "tool_calls": ["f", {"function": 1}]}],
        [{"role": "assistant", "content": "f", "tool_calls": None}],
        "f",
    )
    assert [each.reward for each in results] == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    words = [each.scores["length"] for each in results]
    assert words == [1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0]


async def test_tool_calls_are_judged_turn_by_turn(engine: Engine) -> None:
    [found] = await called(engine, "each", [calling("f"), calling("g"), calling("f", text="so")])
    assert (found.reward, found.turns) == (pytest.approx(2 / 3), [1.0, 0.0, 1.0])


def test_calls_stand_behind_the_text_and_end_no_block_but_their_own() -> None:
    calls: list[Any] = [{"function": {"name": "f", "arguments": {"x": "</tool_call><tool_call>"}}}]
    text = text_of_message(Message("assistant", "So:", calls))
    assert text.startswith("So:\n<tool_call>\n{")
    assert calls_in(text) == calls_of_value(calls)
    assert text_of_message(Message("assistant", "So:")) == "So:"


async def test_each_turn_has_its_score_beside_the_one_reward(engine: Engine) -> None:
    results = await score(engine, "mean", ROLLOUT, GOOD, "no tags", explain=True)
    assert [(each.reward, each.turns) for each in results] == [
        (0.5, [1.0, 0.0]),
        (1.0, [1.0]),
        (0.0, [0.0]),
    ]
    assert [each.scores["math"] for each in results] == [0.0, 1.0, 0.0]  # of the last message
    told = (results[0].explanation or {})["form"]["turns"]
    assert ["inside <answer>" in turn["rule"] for turn in told] == [True, False]
    assert [(await score(engine, name, ROLLOUT))[0].reward for name in ("least", "best")] == [0, 1]


async def test_a_turn_without_a_score_leaves_the_response_without_one(engine: Engine) -> None:
    body = {"id": "0", "response": ROLLOUT, "ground_truth": None}
    encoded = msgspec.json.encode({"samples": [body], "profile": "best"})
    [result] = (await engine.score(msgspec.json.decode(encoded, type=ReceivedRequest))).results
    assert (result.reward, result.turns) == (None, [None, None])
    assert result.error is not None
    assert result.error.code == "bad_ground_truth"


async def test_a_scorer_of_ones_own_may_see_the_messages(engine: Engine) -> None:
    results = await score(engine, "own", ROLLOUT, "a text")
    assert [(each.reward, each.turns) for each in results] == [
        (1.0, [1.0, None]),
        (0.0, msgspec.UNSET),
    ]
    [wrong] = await score(engine, "wrong", ROLLOUT)
    assert wrong.error is not None
    assert wrong.error.code == "scorer_failed"
    assert "returned" in wrong.error.message
    assert "7.0" in wrong.error.message


async def test_limits_hold_for_all_that_stands_in_a_response(engine: Engine) -> None:
    large = [{"role": "assistant", "content": "x" * 3000}, *ROLLOUT, *ROLLOUT[:1]]
    large[0]["content"] += "é" * 600
    many = [{"role": "assistant", "content": "x"}] * (MAX_TURNS + 1)
    messages = [{"role": "tool", "content": ""}] * MAX_MESSAGES + ROLLOUT
    for profile, response in [
        *((name, large) for name in PROFILES),
        ("mean", many),
        ("own", messages),
    ]:
        [result] = await score(engine, profile, response)
        assert result.error is not None, profile
        assert result.error.code == "response_too_large"
    [empty] = await score(engine, "mean", [])
    assert empty.error is not None
    assert "without an assistant message" in empty.error.message


def test_whole_groups_have_no_turns(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("scorers: {majority: {turns: mean}}")
    with pytest.raises(ConfigError, match="majority sees whole groups, and cannot judge turns"):
        load_profiles([tmp_path])


def test_the_text_of_a_response_is_that_of_the_last_message() -> None:
    assert response_text("x") == "x"
    assert response_text([Message("assistant", None)]) == ""
    assert response_text([Message("user", "x")]) == ""


async def test_rollouts_come_from_clients_trainers_and_files(folder: Path) -> None:
    log = folder / "scores.jsonl"
    options = ("--profiles_dir", str(folder), "--score_log", str(log))
    live = live_server(folder / "log", *options).start()
    try:
        async with AsyncRemoteRewardClient(live.url) as client:
            messages: Any = [Message("assistant", GOOD), Message("assistant", "x")]
            [result] = await client.score([Sample("a", messages, ground_truth="46")], "mean")
            assert (result.reward, result.turns) == (0.5, [1.0, 0.0])
            reward = client.as_trl_reward("mean", preflight=False)
            found = await reward(
                prompts=[[{"role": "user", "content": "?"}]] * 2,
                completions=[ROLLOUT, [{"role": "assistant", "content": GOOD}]],
                ground_truth=["46", "46"],
            )
            assert found == [0.5, 1.0]
            reward = client.as_trl_reward("calls", preflight=False)
            found = await reward(
                prompts=[[{"role": "user", "content": "?"}]] * 2,
                completions=[[calling("f")], [calling("g"), ROLLOUT[0]]],
                calls=[[{"name": "f", "arguments": {"x": 1}}]] * 2,
            )
            assert found == [1.0, 0.0]
        row = {
            "responses_create_params": {"input": "?"},
            "response": {
                "output": [
                    {"type": "message", "role": "assistant", "content": "I call it."},
                    {"type": "function_call", "name": "f", "arguments": '{"x": 1}'},
                    {"type": "function_call_output", "output": "46"},
                    {"type": "message", "role": "assistant", "content": GOOD},
                ]
            },
            "expected_answer": "46",
            "calls": [{"name": "f", "arguments": {"x": 1}}],
        }
        for profile, reward in (("mean", 0.5), ("calls", 1.0), ("each", 0.5)):
            url = f"{live.url}/compat/nemo_gym/verify?profile={profile}"
            assert httpx2.post(url, json=row).json()["reward"] == reward
        with RemoteRewardClient(live.url) as client:
            assert {info.name: info.turns for info in client.profiles()}["mean"]
        sample = {"id": "a", "response": ROLLOUT, "ground_truth": "46"}
        shown = httpx2.post(
            f"{live.url}/dashboard/explain", json={"profile": "mean", "sample": sample}
        )
        assert shown.json()["result"]["turns"] == [1.0, 0.0]
    finally:
        live.stop()
    kept = [msgspec.json.decode(line) for line in log.read_bytes().splitlines()]
    assert kept[0]["sample"]["response"][0] == {"role": "assistant", "content": GOOD}
