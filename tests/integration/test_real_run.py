"""Runs of a pretrained model from the first command to the last: killed with -9, resumed, merged,
served, evaluated. A few updates of LoRA show that the parts fit together, not that it learns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.trainer.conftest import write_rows
from tests.waiting import PATIENCE_S, kill_when_there
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.data.kept_samples import read_samples

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.timeout(3000)]
COMMON: dict[str, Any] = {
    "max_steps": 4,
    "save_strategy": "steps",
    "save_steps": 1,
    "logging_steps": 1,
    "use_peft": True,
    "lora_r": 4,
    "lora_target_modules": "q_proj",
    "learning_rate": 1e-4,
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "disable_tqdm": True,
}
SUMS = [(2, 3), (4, 5), (7, 1), (6, 6)]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def flags(**fields: Any) -> list[str]:
    return [f"--{name}={value}" for name, value in fields.items()]


def killed_then_resumed(command: str, words: list[str], there: Path) -> None:
    """Run the command, kill it as soon as a file is there, run it to its end."""
    words = [command, *words, "--resume_from_checkpoint=true"]
    process = subprocess.Popen(
        [sys.executable, "-m", "touchstone_rewards.trainer", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    kill_when_there(process, there)
    assert main(words) == 0


def test_a_reward_model_is_killed_resumed_merged_served_and_evaluated(
    smollm2: Path,
    tmp_path: Path,
    start_server: Callable[..., LiveServer],
    capsys: pytest.CaptureFixture[str],
) -> None:
    pairs = [
        {
            "prompt": [{"role": "user", "content": f"What is {a} + {b}?"}],
            "chosen": str(a + b),
            "rejected": f"{a + b + 1}, I think.",
        }
        for a, b in SUMS
    ]
    data = write_rows(tmp_path / "pairs.jsonl", pairs)
    fields = {**COMMON, "model_name_or_path": smollm2, "dataset_name": data}
    fields |= {"eval_dataset_name": data, "eval_strategy": "steps", "eval_steps": 4}
    fields |= {"per_device_train_batch_size": 2, "save_predictions": True}
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert main(["rm", *flags(**fields, output_dir=whole)]) == 0
    words = flags(**fields, output_dir=run)
    killed_then_resumed("rm", words, run / "checkpoint-2" / "trainer_state.json")
    # The same run as the one that nobody killed, to the last bit, and whole without its adapter.
    weights = [load_file(folder / "model.safetensors") for folder in (whole, run)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    base = load_file(smollm2 / "model.safetensors")
    tuned = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(weights[1][tuned], base[tuned])
    lines = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]

    config = f"{{model: {run}, template: chat, dtype: float32, device: cpu}}"
    text = f"scorers:\n  reward_model:\n    config: {config}\n"
    (tmp_path / "rm.yaml").write_text(text)
    server = start_server("--profiles_dir", str(tmp_path))
    for side in ("chosen", "rejected"):
        samples = [
            {"id": str(place), "prompt": pair["prompt"], "response": pair[side]}
            for place, pair in enumerate(pairs)
        ]
        body = {"profile": "rm", "samples": samples, "deadline_ms": 600_000}
        answer = httpx2.post(f"{server.url}/score", json=body, timeout=PATIENCE_S)
        found = [result["reward"] for result in answer.json()["results"]]
        assert found == pytest.approx([line[side] for line in lines], abs=1e-5)

    capsys.readouterr()
    words = flags(model_name_or_path=run, eval_dataset_name=data, output_dir=tmp_path / "ranked")
    assert main(["rm", "--eval", *words, *flags(use_cpu=True, bf16=False, disable_tqdm=True)]) == 0
    figures = json.loads((tmp_path / "ranked" / "ranking.json").read_text())
    right = sum(line["chosen"] > line["rejected"] for line in lines)
    assert (figures["pairs"], figures["accuracy"]) == (4, right / 4)
    assert f"4 pairs: {right / 4:.1%}" in capsys.readouterr().out


def test_a_policy_is_killed_resumed_merged_and_evaluated_by_the_server(
    smollm2: Path, tmp_path: Path, start_server: Callable[..., LiveServer]
) -> None:
    rows = [
        {"prompt": [{"role": "user", "content": f"What is {a} + {b}?"}], "answer": a + b}
        for a, b in SUMS
    ]
    data, url = write_rows(tmp_path / "sums.jsonl", rows), start_server().url
    read = {"ground_truth_column": "answer", "assistant_prefill": "The answer is"}
    read |= {"chat_template": "chatml"}
    fields = {**COMMON, **read, "model_name_or_path": smollm2, "dataset_name": data}
    fields |= {"reward_url": url, "reward_profile": "math", "max_completion_length": 4}
    fields |= {"per_device_train_batch_size": 4, "num_generations": 4}
    run = tmp_path / "run"
    words = flags(**fields, output_dir=run)
    killed_then_resumed("grpo", words, run / "checkpoint-2" / "trainer_state.json")
    samples = list(read_samples(run / "samples"))
    # Four updates of four samples: none lost, none twice, none without a reward.
    assert Counter(each.step for each in samples) == dict.fromkeys(
        sorted({e.step for e in samples}), 4
    )
    assert len(samples) == 16
    assert all(each.reward is not None for each in samples)

    merged = tmp_path / "merged"
    assert main(["merge", *flags(model=run, output=merged)]) == 0
    ids = AutoTokenizer.from_pretrained(merged)("The answer is", return_tensors="pt")
    plain: Any = AutoModelForCausalLM.from_pretrained(merged).eval()
    adapted: Any = AutoModelForCausalLM.from_pretrained(smollm2)
    adapted = PeftModel.from_pretrained(adapted, str(run)).eval()
    with torch.no_grad():
        logits = [model(**ids).logits for model in (plain, adapted)]
    assert torch.allclose(*logits, atol=1e-3)

    asked = {**read, "model": merged, "dataset": data, "profile": "math", "reward_url": url}
    asked |= {"max_new_tokens": 4, "output": tmp_path / "eval"}
    assert main(["eval", *flags(**asked)]) == 0
    summary = json.loads((tmp_path / "eval" / "summary.json").read_text())
    assert (summary["num_examples"], summary["num_failed"]) == (4, 0)
    results = (tmp_path / "eval" / "results.jsonl").read_text().splitlines()
    assert summary["accuracy"] == sum(json.loads(line)["reward"] == 1.0 for line in results) / 4
