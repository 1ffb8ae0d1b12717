"""eval-protocol's remote reward function, and its result type for the answers of `/evaluate`."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import requests
from stubs import outcome, pretend

CHECKOUT, URL = sys.argv[1:3]
pretend(
    "addict",
    always=[
        "eval_protocol.adapters",
        "eval_protocol.mcp_env",
        "eval_protocol.mcp",
        "eval_protocol.rewards",
        "eval_protocol.playback_policy",
        "eval_protocol.resources",
        "eval_protocol.auth",
        "eval_protocol.common_utils",
        "eval_protocol.config",
    ],
)
sys.path.insert(0, CHECKOUT)
models = importlib.import_module("eval_protocol.models")
generic = importlib.import_module("eval_protocol.generic_server")
RewardFunction = importlib.import_module("eval_protocol.reward_function").RewardFunction

asked = {"role": "user", "content": "What is 6 + 40?"}


def remote(answer: str, truth: Any) -> Any:
    said = {"role": "assistant", "content": answer}
    found = RewardFunction(mode="remote", endpoint=URL)(messages=[asked, said], ground_truth=truth)
    return [found.score, {name: metric.score for name, metric in found.metrics.items()}]


def preview(answer: str, truth: str) -> Any:
    """Call the function as eval-protocol's `preview` command does."""
    said = {"role": "assistant", "content": answer}
    request = generic.EvaluationRequest(messages=[asked, said], ground_truth=truth, kwargs={})
    answered = requests.post(URL, json=request.model_dump(), timeout=30)
    answered.raise_for_status()
    result = models.EvaluateResult(**answered.json())
    return [result.score, result.is_score_valid, result.metrics["math"].reason]


print(
    json.dumps(
        {
            "remote": remote("\\boxed{46}", "46"),
            "preview": preview("\\boxed{45}", "46"),
            "unscorable": outcome(lambda: remote("\\boxed{46}", None)).split(" for url")[0],
        }
    )
)
