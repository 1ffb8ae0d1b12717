"""Score a data set of five sources, each with its own reward and form of truth, through the
adapters.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.checkout import live_server
from touchstone_rewards.clients import AsyncRemoteRewardClient
from touchstone_rewards.clients.adapters import openrlhf, verl
from touchstone_rewards.reward_server.live_server import LiveServer

pytest.importorskip("punkt", reason="the extra `rules` is not installed")
PROFILES = {
    "five": "route: {by: metadata.data_source, cases: {gsm8k: math, mmlu: letters, ifeval: follow, "
    "xlam: calls, countdown: equation}}",
    "letters": "scorers: {choice: {}}",
    "follow": "scorers: {ifeval: {}}",
    "calls": "scorers: {tool_call: {config: {calls_from: metadata.calls}}}",
    "equation": "scorers: {countdown: {scorer: 'verl:countdown_rewards:compute_score'}}",
}
FUNCTION = """
import re

def compute_score(solution_str, ground_truth, extra_info=None):
    said = re.findall("[0-9]+", solution_str.partition("=")[0])
    right = sorted(map(int, said)) == sorted(ground_truth["numbers"])
    return {"score": float(right), "target": ground_truth["target"]}
"""
CALL = {"name": "weather", "arguments": {"city": "Rome"}}
COMMAS = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}


class Row(NamedTuple):
    """A row: its source, its truth and other columns, a right response and a wrong one."""

    source: str
    truth: Any
    more: dict[str, Any]
    right: str
    wrong: str


ROWS = [
    Row("gsm8k", "46", {}, "So \\boxed{46}.", "So \\boxed{45}."),
    Row("mmlu", "B", {"options": ["Rome", "Paris"]}, "The answer is (B).", "The answer is A."),
    Row("ifeval", None, COMMAS, "One two three.", "One, two, three."),
    Row(
        "xlam",
        None,
        {"calls": [CALL]},
        f"<tool_call>{json.dumps(CALL)}</tool_call>",
        '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>',
    ),
    Row("countdown", {"target": 46, "numbers": [40, 6]}, {}, "40 + 6 = 46", "23 + 23 = 46"),
]
PROMPTS = [f"Prompt {at}" for at in range(2 * len(ROWS))]
RESPONSES = [text for row in ROWS for text in (row.right, row.wrong)]
DOUBLED = [row for row in ROWS for _ in range(2)]
WANTED = [1.0, 0.0] * len(ROWS)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("five")
    (folder / "profiles").mkdir()
    (folder / "code").mkdir()
    for name, content in PROFILES.items():
        (folder / "profiles" / f"{name}.yaml").write_text(content)
    (folder / "code" / "countdown_rewards.py").write_text(FUNCTION)
    options = ["--profiles_dir", str(folder / "profiles"), "--plugins_dir", str(folder / "code")]
    live = live_server(folder / "log", *options).start()
    yield live
    live.kill()


@pytest.mark.parametrize("chats", [False, True], ids=["texts", "chats"])
async def test_trl(live: LiveServer, chats: bool) -> None:
    names = {name for row in ROWS for name in row.more}
    columns: dict[str, Any] = {name: [row.more.get(name) for row in DOUBLED] for name in names}
    columns |= {"data_source": [row.source for row in DOUBLED]}
    columns |= {"ground_truth": [row.truth for row in DOUBLED]}
    prompts: list[Any] = [[{"role": "user", "content": p}] for p in PROMPTS] if chats else PROMPTS
    texts: list[Any] = [[{"role": "assistant", "content": text}] for text in RESPONSES]
    async with AsyncRemoteRewardClient(live.url) as client:
        reward = client.as_trl_reward("five", preflight=False)
        completions = texts if chats else RESPONSES
        assert await reward(prompts=prompts, completions=completions, **columns) == WANTED


def test_verl(live: LiveServer) -> None:
    found = [
        verl.compute_score(row.source, text, row.truth, row.more, profile="five", url=live.url)
        for row, text in zip(DOUBLED, RESPONSES, strict=True)
    ]
    assert [each["score"] for each in found] == WANTED
    assert len({tuple(each) for each in found}) == 1


@pytest.mark.parametrize("as_text", [False, True], ids=["objects", "JSON"])
def test_openrlhf(live: LiveServer, as_text: bool) -> None:
    labels: list[Any] = [
        {"ground_truth": row.truth, "data_source": row.source, **row.more} for row in DOUBLED
    ]
    queries = [prompt + text for prompt, text in zip(PROMPTS, RESPONSES, strict=True)]
    reward_func = openrlhf.reward_function("five", url=live.url)
    found = reward_func(queries, PROMPTS, list(map(json.dumps, labels)) if as_text else labels)
    assert found["rewards"] == WANTED
