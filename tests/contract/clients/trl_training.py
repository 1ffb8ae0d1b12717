"""Run TRL's own GRPO trainer for two steps with a null in a group, and print the advantages.

A small HTTP server gives the completions 0, 1, 2, 3 of every row the rewards 1, null, 1, 0. Printed
for each `on_missing`: the advantages of the first group of each step, as the loss gets them, or
what was raised.
"""

from __future__ import annotations

import inspect
import json
import logging
import sys
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import torch
import transformers
from datasets import Dataset
from trl import __version__
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from touchstone_rewards.clients import AsyncRemoteRewardClient, RemoteRewardClient
from touchstone_rewards.trainer.toy.tiny_model import make_model

REWARDS = [1.0, None, 1.0, 0.0]
PROFILE = {"name": "math", "description": "", "scorers": ["math"], "ranges": {}, "fingerprint": "f"}
STEPS = 2


def result(sample: dict[str, Any]) -> dict[str, Any]:
    reward = REWARDS[int(sample["id"].rpartition("/")[2])]
    error = {"code": "scorer_failed", "message": "as told", "retryable": False}
    return {
        "id": sample["id"],
        "status": "error" if reward is None else "ok",
        "reward": reward,
        "scores": {"math": reward},
        "error": error if reward is None else None,
    }


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer({"profiles": [PROFILE]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        results = [result(sample) for sample in asked["samples"]]
        said = {"profile": "math", "fingerprint": "f", "elapsed_ms": 1.0}
        self._answer({"results": results, **said})

    def _answer(self, body: Any) -> None:
        raw = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        pass


class Spy(GRPOTrainer):
    """Keep the advantages of the first group of every rollout."""

    kept: list[list[float]]

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        batch = super()._generate_and_score_completions(inputs)
        first = batch["advantages"].flatten()[: len(REWARDS)].tolist()
        self.kept = [*getattr(self, "kept", []), [round(value, 3) for value in first]]
        return batch


def train(model: Path, reward: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": 2 * len(REWARDS),
        "num_generations": len(REWARDS),
        "max_completion_length": 4,
        "max_steps": STEPS,
        "logging_steps": 1,
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "save_strategy": "no",
        "gradient_checkpointing": False,
        "beta": 0.0,
    }
    rows = [{"prompt": f"{i} + 1 =", "ground_truth": str(i + 1), "id": f"r{i}"} for i in range(4)]
    trainer = Spy(
        model=str(model),
        reward_funcs=reward,
        args=GRPOConfig(**fields),
        train_dataset=Dataset.from_list(rows),
    )
    trainer.train()
    log = [{k: v for k, v in row.items() if "/math" in k} for row in trainer.state.log_history]
    return {"advantages": trainer.kept, "steps": trainer.state.global_step, "log": log[0]}


def outcome(model: Path, client: Any, **options: Any) -> dict[str, Any]:
    try:
        return train(model, client.as_trl_reward("math", max_failed_frac=0.5, **options))
    except Exception as error:  # noqa: BLE001  whatever stops the training is what is asked for
        return {"raised": f"{type(error).__name__}: {error}"}


def unscored(completions: Any, **_: Any) -> list[float | None]:
    """Return a reward function that passes a None to TRL unchanged."""
    return (REWARDS * len(completions))[: len(completions)]


def tiny_model() -> Path:
    folder = make_model(Path(tempfile.mkdtemp()) / "model", ["1 + 1 = 2"], hidden_size=32, layers=1)
    told = folder / "tokenizer_config.json"  # transformers 4 would add token_type_ids
    names = {"model_input_names": ["input_ids", "attention_mask"]}
    told.write_text(json.dumps(json.loads(told.read_text()) | names))
    return folder


def main() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    model = tiny_model()
    kinds = {"sync": RemoteRewardClient(url), "async": AsyncRemoteRewardClient(url)}
    found: dict[str, Any] = {
        "trl": __version__,
        "coroutine": inspect.iscoroutinefunction(kinds["sync"].as_trl_reward("math")),
        "None as it is": train(model, unscored)["advantages"],
        "default": outcome(model, kinds["sync"]),
        "default of the asyncio client": outcome(model, kinds["async"]),
    }
    for on_missing in ("leave_out", "raise", "group_mean"):
        found[on_missing] = outcome(model, kinds["sync"], on_missing=on_missing)
    print(json.dumps(found))


if __name__ == "__main__":
    sys.exit(main())
