"""A reward model behind a foreign format reads the text unchanged, end tokens included."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.reward_server.models import tiny
from touchstone_rewards.clients import RemoteRewardClient, Sample
from touchstone_rewards.reward_server.live_server import LiveServer

PROMPT, RESPONSE, END = "Tell me one ", "the story of two three . ", "<eos>"
PROFILE = """
scorers:
  reward_model:
    config: {{model: {folder}, template: plain, dtype: float32, device: cpu}}
"""


@pytest.fixture
def server(start_server: Callable[..., LiveServer], tmp_path: Path) -> LiveServer:
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    folder = tiny.classifier(tmp_path / "model")
    (profiles / "judge.yaml").write_text(PROFILE.format(folder=folder))
    return start_server("--profiles_dir", str(profiles))


CHATML = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


def test_a_chat_reaches_a_plain_reward_model_as_it_came(server: LiveServer) -> None:
    text = CHATML.format(PROMPT) + RESPONSE
    with RemoteRewardClient(server.url) as client:
        [native] = client.score([Sample("a", text)], "judge")
    body = {"limr/get_reward": {"query": [text]}}
    body["llamafactory/v1/score/evaluation"] = {"messages": [text]}
    for path, asked in body.items():
        answer = httpx2.post(f"{server.url}/compat/{path}?profile=judge", json=asked)
        [found] = next(value for value in answer.json().values() if isinstance(value, list))
        assert found == pytest.approx(native.reward, abs=1e-6)


def test_every_format_of_whole_texts_gets_the_score_of_the_text_as_it_came(
    server: LiveServer,
) -> None:
    def post(path: str, body: dict[str, Any]) -> Any:
        answer = httpx2.post(f"{server.url}{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    text = PROMPT + RESPONSE + END
    samples = [{"id": str(i), "response": each} for i, each in enumerate((text, PROMPT + RESPONSE))]
    native = post("/score", {"profile": "judge", "samples": samples})["results"]
    score, without_end = (result["reward"] for result in native)
    assert score != without_end
    asked = "?profile=judge"
    openrlhf = {"query": [text], "prompts": [PROMPT], "labels": [None]}
    found = [
        post(f"/compat/openrlhf/get_reward{asked}", openrlhf)["rewards"][0],
        post(f"/compat/limr/get_reward{asked}", {"query": [text]})["rewards"][0],
        post(f"/compat/llamafactory/v1/score/evaluation{asked}", {"messages": [text]})["scores"][0],
        post(f"/compat/vllm/classify{asked}", {"input": text})["data"][-1]["probs"][-1],
        post(f"/compat/vllm/pooling{asked}", {"input": text})["data"][-1]["data"][-1],
        post(f"/compat/sglang/v1/embeddings{asked}", {"input": text})["data"][-1]["embedding"][-1],
    ]
    assert found == pytest.approx([score] * 6, abs=1e-6)
