"""Runs killed with -9 and resumed are equal to the last bit; runs of two processes; FSDP2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.checkout import ROOT
from tests.trainer.conftest import write_rows
from tests.trainer.sorting import Sorting, make_sorting
from tests.waiting import PATIENCE_S, kill_when_there
from touchstone_rewards.trainer.__main__ import main

# What a run logs about the clock, not about the training.
TIMES = ("runtime", "per_second", "num_tokens", "total_flos")
RUN = {"max_steps": 60, "save_strategy": "steps", "save_steps": 10, "logging_steps": 1}


@pytest.fixture(scope="module")
def sorting(tmp_path_factory: pytest.TempPathFactory) -> Sorting:
    return make_sorting(tmp_path_factory.mktemp("sorting"))


def rows_for(command: str, sorting: Sorting, folder: Path, count: int) -> Path:
    rows: list[dict[str, Any]] = [dict(row) for row in sorting.pairs[:count]]
    if command == "sft":
        rows = [{"prompt": row["prompt"], "response": row["chosen"]} for row in rows]
    return write_rows(folder / "rows.jsonl", rows)


def log_of(folder: Path) -> list[dict[str, Any]]:
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [
        {key: value for key, value in row.items() if not any(each in key for each in TIMES)}
        for row in history
        if "train_runtime" not in row
    ]


def kill_at(command: list[str], there: Path) -> None:
    """Start a process and kill it as soon as a file is there."""
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    kill_when_there(process, there)


@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "fields"),
    [
        ("sft", {"learning_rate": 2e-3}),
        ("rm", {"learning_rate": 1e-3}),
        ("dpo", {"learning_rate": 5e-4, "use_peft": True, "lora_target_modules": "v_proj"}),
    ],
)
def test_a_killed_run_that_is_resumed_is_bit_for_bit_the_whole_one(
    sorting: Sorting, tmp_path: Path, command: str, fields: dict[str, Any]
) -> None:
    # 320 rows or pairs, 32 a step: an epoch is ten steps, the resumed part begins in the third.
    data = rows_for(command, sorting, tmp_path, 320)
    fields = {**RUN, **fields, "dataset_name": data, "lora_dropout": 0.1}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main([command, *sorting.flags(whole, **fields)]) == 0
    flags = [*sorting.flags(killed, **fields), "--resume_from_checkpoint=true"]
    there = killed / "checkpoint-20" / "trainer_state.json"
    kill_at([sys.executable, "-m", "touchstone_rewards.trainer", command, *flags], there)
    assert not (killed / "checkpoint-60").exists()
    assert main([command, *flags]) == 0
    [file] = [path.name for path in whole.glob("*model.safetensors")]
    weights = [load_file(folder / file) for folder in (whole, killed)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert log_of(whole) == log_of(killed)


ALL = """
import json, sys
from touchstone_rewards.trainer.__main__ import main, part
for words in json.loads(sys.argv[1]):
    if code := main([*words, "--traceback"]):
        sys.exit(code)  # a rank that went on alone would wait for the others for ever
part()
"""


@pytest.mark.long
def test_two_processes_train_the_model_that_one_process_trains_on_the_batches_of_both(
    sorting: Sorting, tmp_path: Path
) -> None:
    """Two processes of 8 rows each take the same steps as one of all 16, except for rounding."""
    commands = ("sft", "rm", "dpo")
    fields = {"max_steps": 2, "logging_steps": 1, "learning_rate": 1e-3}
    fields |= {"optim": "sgd", "max_grad_norm": 0, "weight_decay": 0}
    words = []
    for command in commands:
        data = rows_for(command, sorting, tmp_path, 16)
        fields["dataset_name"] = data.rename(tmp_path / f"{command}.jsonl")
        one, two = tmp_path / command / "one", tmp_path / command / "two"
        flags = sorting.flags(one, **fields, per_device_train_batch_size=16)
        assert main([command, *flags]) == 0
        words.append([command, *sorting.flags(two, **fields, per_device_train_batch_size=8)])
    run_in_two_processes(tmp_path, ALL, json.dumps(words))
    start = load_file(sorting.base / "model.safetensors")
    for command in commands:
        folders = [tmp_path / command / name / "model.safetensors" for name in ("one", "two")]
        one, two = (load_file(folder) for folder in folders)
        assert any(not torch.equal(start[name], one[name]) for name in start)
        assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in one), command


def run_in_two_processes(folder: Path, script: str, argument: str) -> None:
    path = folder / "script.py"
    path.write_text(script)
    # On the CPU it is the flag --multi_gpu that makes accelerate start more than one process.
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    launch += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]
    launch += ["--main_process_port=0", str(path), argument]
    done = subprocess.run(
        [sys.executable, *launch],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


SHARDED = """
import copy, sys, torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from touchstone_rewards.trainer.preference.reward_folder import load_reward_model
from touchstone_rewards.trainer.preference.reward_head import disco_loss, score_at_last_token

distributed.init_process_group("gloo")
model = load_reward_model(sys.argv[1], 2, 0)
model.config.reward_head = {"variance_floor": 1e-4}
score_at_last_token(model)
whole = copy.deepcopy(model)
mesh = init_device_mesh("cpu", (2,))
for part in [*model.model.layers, model]:
    fully_shard(part, mesh=mesh)
ids = torch.arange(2, 42).reshape(4, 10)
mask = torch.ones_like(ids)
mask[1, 7:] = 0
losses = [disco_loss(each(input_ids=ids, attention_mask=mask)) for each in (model, whole)]
for loss in losses:
    loss.backward()
assert torch.allclose(*losses)
gradient = model.score.weight.grad.full_tensor()
assert gradient.abs().max() > 0
assert torch.allclose(gradient, whole.score.weight.grad, atol=1e-7)
"""


@pytest.mark.long
def test_the_head_sharded_by_fsdp2_over_two_processes_has_the_same_loss_and_gradient(
    sorting: Sorting, tmp_path: Path
) -> None:
    run_in_two_processes(tmp_path, SHARDED, str(sorting.base))


@pytest.mark.parametrize(
    ("name", "kind"), [("fsdp2", "FSDP"), ("zero3", "DEEPSPEED")], ids=["fsdp2", "zero3"]
)
def test_the_shipped_accelerate_files_are_understood(name: str, kind: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    path = ROOT / "trainer" / "configs" / "accelerate" / f"{name}.yaml"
    config: Any = load_config_from_file(str(path))
    assert str(config.distributed_type).endswith(kind)
    assert config.num_processes == 2
    whole = {**config.fsdp_config, **config.deepspeed_config}
    assert whole.get("fsdp_version") == 2 or whole.get("zero_stage") == 3
