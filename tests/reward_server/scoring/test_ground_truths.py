"""A ground truth of a shape that no scorer reads fails its own sample and no other."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.schemas import plain_ground_truth


def scored(server: LiveServer, profile: str, *truths: Any) -> list[dict[str, Any]]:
    samples = [
        {"id": str(i), "response": "\\boxed{46}", "ground_truth": truth}
        for i, truth in enumerate(truths)
    ]
    body = {"profile": profile, "samples": samples}
    answer = httpx2.post(f"{server.url}/score", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def test_the_others_of_the_request_are_scored(server: LiveServer) -> None:
    good, boolean, nested, rows, dressed = scored(
        server, "math", "46", True, {"a": 1, "target": "46"}, [["46"]], {"target": ["45", "46"]}
    )
    assert (good["reward"], dressed["reward"]) == (1.0, 1.0)
    for bad, shape in ((boolean, "bool"), (nested, "an object with a, target"), (rows, "a list")):
        assert (bad["status"], bad["reward"]) == ("error", None)
        assert bad["error"]["code"] == "bad_ground_truth"
        assert shape in bad["error"]["message"]
        assert not bad["error"]["retryable"]


def test_a_profile_that_reads_no_ground_truth_does_not_mind(server: LiveServer) -> None:
    [result] = scored(server, "format", {"a": 1})
    assert result["reward"] == 0.0


@pytest.mark.parametrize("truth", [True, {}, {"other": "46"}, [None], [True], [[]], {"target": {}}])
def test_what_is_no_ground_truth(truth: Any) -> None:
    with pytest.raises(ValueError, match="a text, a number or a list of those, not"):
        plain_ground_truth(truth)
