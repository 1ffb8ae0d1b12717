"""Run verl's `RewardLoopManager` with two Ray actors and our adapter; report the results of
`compute_rm_score`.

The actors are started once, so a profile that routes by a field of the row selects the part's
profile.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import numpy
import torch
import verl  # pyright: ignore[reportMissingImports]
from held import END, POLICY, URL, run, told
from hydra import (  # pyright: ignore[reportMissingImports]
    compose,
    initialize_config_dir,
)
from ray_started import start_ray  # pyright: ignore[reportMissingImports]
from verl import DataProto  # pyright: ignore[reportMissingImports]
from verl.experimental.reward_loop import (  # pyright: ignore[reportMissingImports]
    RewardLoopManager,
)
from verl.utils import hf_tokenizer  # pyright: ignore[reportMissingImports]

tokenizer = hf_tokenizer(POLICY)
start_ray()


def batch_of(samples: list[dict[str, Any]], profile: str) -> Any:
    """Return the batch as verl's rollout makes it: padded tokens and columns of objects."""
    ids = [tokenizer(row["response"] + END)["input_ids"] for row in samples]
    width, count = max(map(len, ids)), len(ids)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
    prompts = torch.ones(count, 4, dtype=torch.long)
    columns: dict[str, list[Any]] = {
        "data_source": [row["metadata"].get("data_source", "sums") for row in samples],
        "reward_model": [{"ground_truth": row["ground_truth"]} for row in samples],
        "extra_info": [
            {
                "index": row["id"].partition("/")[0],
                "question": row["prompt"],
                "scored_by": profile,
            }
            for row in samples
        ],
    }
    return DataProto.from_dict(
        tensors={
            "prompts": prompts,
            "responses": torch.tensor(
                [row + [tokenizer.pad_token_id] * (width - len(row)) for row in ids]
            ),
            "response_mask": mask,
            "attention_mask": torch.cat([prompts, mask], dim=1),
        },
        non_tensors={
            name: numpy.fromiter(values, dtype=object, count=count)
            for name, values in columns.items()
        },
    )


FUNCTION = "reward.custom_reward_function"
CHOSEN = [
    f"actor_rollout_ref.model.path={POLICY}",
    "reward.num_workers=2",
    f"{FUNCTION}.path=pkg://touchstone_rewards.clients.adapters.verl",
    f"{FUNCTION}.name=compute_score_async",
    f"+{FUNCTION}.reward_kwargs.url={URL}",
    f"+{FUNCTION}.reward_kwargs.profile=every",
]
with initialize_config_dir(str(files("verl.trainer") / "config"), version_base=None):
    manager = RewardLoopManager(compose("ppo_trainer", overrides=CHOSEN))


def hold(part: dict[str, Any]) -> dict[str, Any]:
    batch = batch_of(part["samples"], part["profile"])
    scores = manager.compute_rm_score(batch).batch["rm_scores"]
    kind = str(scores.dtype).removeprefix("torch.")
    assert int((scores != 0).sum(-1).max()) <= 1, "a reward stands on more than one token"
    rewards = scores.sum(-1).tolist()
    names = [row["id"] for row in part["samples"]]
    return told(kind, dict(zip(names, rewards, strict=True)))


run(verl.__version__, hold)
