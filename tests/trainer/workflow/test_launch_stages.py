"""docs/launch/stages.sh on a tiny model: every stage continues from the one before."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.checkout import ROOT
from tests.trainer.conftest import write_rows
from touchstone_rewards.reward_server.live_server import free_port
from touchstone_rewards.trainer.data.kept_samples import read_samples
from touchstone_rewards.trainer.toy.arithmetic import Problem, plain_response

TIMEOUT_S = 600


def rows_of(problems: list[Problem], folder: Path) -> dict[str, str]:
    lessons = [{"prompt": each.prompt, "response": plain_response(each)} for each in problems]
    pairs = [
        {"prompt": each["prompt"], "chosen": each["response"], "rejected": " I do not know."}
        for each in lessons
    ]
    asked = [{"prompt": each.prompt} for each in problems[:8]]
    test = [{"prompt": each.prompt, "ground_truth": each.ground_truth} for each in problems[:8]]
    files = {"LESSONS": lessons, "PAIRS": pairs, "PROMPTS": asked, "TEST": test}
    return {
        name: str(write_rows(folder / f"{name.lower()}.jsonl", rows))
        for name, rows in files.items()
    }


@pytest.mark.long
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.skipif(shutil.which("curl") is None, reason="the script asks the server by curl")
def test_the_whole_way_from_a_base_model_to_a_measured_one(
    tiny_model: Path, problems: list[Problem], tmp_path: Path
) -> None:
    output = tmp_path / "stages"
    flags = "--use_cpu=true --bf16=false --gradient_checkpointing=false --report_to=none"
    settings = {
        "MODEL": str(tiny_model),
        "OUTPUT": str(output),
        "PORT": str(free_port()),
        "TRAINER": f"{sys.executable} -m touchstone_rewards.trainer",
        "SERVER": f"{sys.executable} -m touchstone_rewards.reward_server",
        "FLAGS": f"{flags} --disable_tqdm=true --save_strategy=no --max_steps=3 --logging_steps=1",
        "SFT": "--lora_r=4 --learning_rate=2e-2",
        "RM": "--learning_rate=1e-2",
        "PPO": "--num_generations=1 --per_device_train_batch_size=4 --max_completion_length=8",
        "EVAL": "--max_new_tokens=8",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        ["bash", str(ROOT / "docs" / "launch" / "stages.sh")],
        env={**os.environ, **settings, **rows_of(problems, tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    check_rewards(output)
    check_models(tiny_model, output)
    summary = json.loads((output / "eval" / "summary.json").read_text())
    assert summary["num_examples"] == 8
    assert summary["num_failed"] == summary["also"]["liked"]["num_failed"] == 0


def check_rewards(output: Path) -> None:
    """Check that PPO's rewards are the reward model's scores over its stored deviation."""
    config = json.loads((output / "rm" / "config.json").read_text())
    assert config["std"] > 0
    samples = list(read_samples(output / "ppo" / "samples"))
    assert len(samples) == 12
    assert all(sample.reward is not None for sample in samples)
    assert len({sample.reward for sample in samples}) > 6


def check_models(base: Path, output: Path) -> None:
    """PPO continues the adapter of SFT, and the merged model differs from the base."""
    about = json.loads((output / "ppo" / "adapter_config.json").read_text())
    assert about["base_model_name_or_path"] == str(base)
    tokens: Any = torch.tensor([[5, 9, 30, 31]])
    first, last = (
        AutoModelForCausalLM.from_pretrained(folder).eval()(tokens).logits
        for folder in (base, output / "merged")
    )
    assert not torch.allclose(first, last, atol=1e-3)
