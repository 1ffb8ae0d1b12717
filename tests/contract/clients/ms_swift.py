"""ms-swift's reward computation with the adapter's class."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any, Optional

import torch
from stubs import definitions, outcome

from touchstone_rewards.clients.adapters.ms_swift import AsyncRemoteReward, RemoteReward

CHECKOUT, REWARD_URL = Path(sys.argv[1]), sys.argv[2]
namespace: dict[str, Any] = {
    "torch": torch,
    "nn": torch.nn,
    "logger": logging.getLogger("swift"),
    "Optional": Optional,
}
algorithm = definitions(
    CHECKOUT / "swift/rl_core/grpo_algorithm.py",
    "_is_async_reward",
    "compute_rewards_per_func",
    **namespace,
)
batches = definitions(CHECKOUT / "swift/dataset/preprocessor/core.py", "rows_to_batched")


class Sample:
    """The two attributes of a `GRPOSample` that are read."""

    def __init__(self, response: str, solution: str | None) -> None:
        self.messages = [{"role": "assistant", "content": response}]
        self.solution = solution

    def to_reward_row(self) -> dict[str, Any]:
        return {"messages": self.messages, "solution": self.solution}


class Preprocessor:
    rows_to_batched = batches["rows_to_batched"]


sys.modules["swift"] = sys.modules["swift.dataset"] = type(sys)("swift.dataset")
sys.modules["swift.dataset"].RowPreprocessor = Preprocessor  # type: ignore[attr-defined]


class Reward(RemoteReward):
    url = REWARD_URL


class Awaited(AsyncRemoteReward):
    url = REWARD_URL


class Constant(Reward):
    null_reward = -1.0


def rewards(kind: type[RemoteReward], *samples: Sample) -> Any:
    return algorithm["compute_rewards_per_func"](
        list(samples), [kind(args=None)], [None], torch.device("cpu")
    ).tolist()


right, wrong = Sample("\\boxed{46}", "46"), Sample("\\boxed{45}", "46")
unscorable = Sample("\\boxed{45}", None)
print(
    json.dumps(
        {
            "batch": rewards(Reward, right, wrong),
            "awaited": rewards(Awaited, right, wrong),
            "unscorable": outcome(lambda: rewards(Reward, right, unscorable))[:9],
            "constant": rewards(Constant, right, unscorable),
        }
    )
)
