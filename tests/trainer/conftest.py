"""A model of some ten thousand weights, word problems, and the flags of a small GRPO run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from touchstone_rewards.trainer.toy.arithmetic import (
    Problem,
    draw_problems,
    plain_response,
    split_sums,
)
from touchstone_rewards.trainer.toy.tiny_model import make_model

GrpoFlags = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def one_thread_and_no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    for name in ("REWARD_URL", "REWARD_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def problems() -> list[Problem]:
    return draw_problems(split_sums(0).train, 48, 0)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, problems: list[Problem]) -> Path:
    texts = [problem.prompt + plain_response(problem) for problem in problems]
    return make_model(tmp_path_factory.mktemp("tiny"), texts, hidden_size=32, layers=2)


@pytest.fixture(scope="session")
def rows_file(tmp_path_factory: pytest.TempPathFactory, problems: list[Problem]) -> Path:
    """Write six rows with ids a0 to a5, a prompt and a ground truth."""
    return write_rows(
        tmp_path_factory.mktemp("rows") / "rows.jsonl",
        [
            {"id": f"a{number}", "prompt": each.prompt, "ground_truth": each.ground_truth}
            for number, each in enumerate(problems[:6])
        ],
    )


@pytest.fixture
def grpo_flags(tiny_model: Path, rows_file: Path, tmp_path: Path) -> GrpoFlags:
    """`grpo_flags(url, max_steps=3)` returns flags: two prompts of four generations per step;
    profile dummy.
    """

    def flags(url: str, **fields: Any) -> list[str]:
        chosen = {
            "model_name_or_path": tiny_model,
            "dataset_name": rows_file,
            "output_dir": tmp_path / "run",
            "reward_url": url,
            "reward_profile": "dummy",
            "per_device_train_batch_size": 8,
            "num_generations": 4,
            "max_completion_length": 6,
            "max_steps": 3,
            "learning_rate": 1e-3,
            "logging_steps": 1,
            "save_strategy": "no",
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "report_to": "none",
            "disable_tqdm": True,
        }
        return [f"--{name}={value}" for name, value in {**chosen, **fields}.items()]

    return flags


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
