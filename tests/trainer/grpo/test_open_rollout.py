"""Checkpoints in the middle of a rollout: a run resumed from one is the uninterrupted one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file

from tests.checkout import ROOT
from tests.trainer.conftest import GrpoFlags
from tests.waiting import PATIENCE_S
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.grpo.open_rollout import (
    OpenRollout,
    load,
    path_of,
    refuse_part,
    save,
)

TIMES = ("runtime", "per_second", "flos", "rewards_wait_s", "step_time", "mfu", "tokens")
# Rollouts of 2 x 4 responses in two micro-batches, used for three epochs: three updates each.
INSIDE = {
    "per_device_train_batch_size": 4,
    "steps_per_generation": 2,
    "gradient_accumulation_steps": 2,
    "num_iterations": 3,
    "max_steps": 8,
    "weight_decay": 0.1,
}


def log_of(run: Path) -> list[dict[str, Any]]:
    history = json.loads((run / "trainer_state.json").read_text())["log_history"]
    return [
        {key: value for key, value in row.items() if not any(each in key for each in TIMES)}
        for row in history
        if "train_runtime" not in row
    ]


@pytest.mark.parametrize(("command", "checkpoint"), [("grpo", 4), ("grpo", 6), ("ppo", 5)])
def test_a_run_resumed_anywhere_in_a_rollout_is_bit_for_bit_the_whole_one(
    server: LiveServer, grpo_flags: GrpoFlags, tmp_path: Path, command: str, checkpoint: int
) -> None:
    whole, again = tmp_path / "whole", tmp_path / "again"
    fields = {**INSIDE, "save_strategy": "steps", "save_steps": 1}
    assert main([command, *grpo_flags(server.url, output_dir=whole, **fields)]) == 0
    shutil.copytree(whole / f"checkpoint-{checkpoint}", again / f"checkpoint-{checkpoint}")
    shutil.copytree(whole / "samples", again / "samples")
    flags = grpo_flags(server.url, output_dir=again, **fields)
    assert main([command, *flags, "--resume_from_checkpoint=true"]) == 0
    weights = [load_file(folder / "model.safetensors") for folder in (whole, again)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    start = load_file(whole / f"checkpoint-{checkpoint}" / "model.safetensors")
    assert not all(torch.equal(weights[0][name], start[name]) for name in start)
    assert log_of(whole) == log_of(again)
    for path in sorted((whole / "samples").iterdir()):
        assert path.read_bytes() == (again / "samples" / path.name).read_bytes()


def test_only_a_checkpoint_inside_a_rollout_has_one(
    server: LiveServer, grpo_flags: GrpoFlags, tmp_path: Path
) -> None:
    fields = {**INSIDE, "save_strategy": "steps", "save_steps": 1, "max_steps": 4}
    assert main(["grpo", *grpo_flags(server.url, **fields)]) == 0
    has = [path_of(tmp_path / "run" / f"checkpoint-{n}", 0).is_file() for n in (1, 2, 3, 4)]
    assert has == [True, True, False, True]


def test_a_rollout_comes_back_as_it_was(tmp_path: Path) -> None:
    shared = torch.arange(12.0).reshape(4, 3)
    count = torch.tensor(7)
    slices: Any = [{"a": part, "count": count, "none": None} for part in shared.split(2)]
    save(tmp_path / "x", OpenRollout(slices, 5, True))
    back = load(tmp_path / "x", torch.device("cpu"))
    assert back is not None
    assert (back.step, back.hold) == (5, True)
    for before, after in zip(slices, back.slices, strict=True):
        assert after.keys() == {"a", "count"}
        assert all(torch.equal(before[name], cast(Any, value)) for name, value in after.items())
    assert load(tmp_path / "y", torch.device("cpu")) is None


def test_a_rollout_says_how_many_processes_have_a_part_of_it(tmp_path: Path) -> None:
    save(tmp_path / "x", OpenRollout([{"a": torch.zeros(1)}], 5, False, ranks=4))
    back = load(tmp_path / "x", torch.device("cpu"))
    assert back is not None
    assert back.ranks == 4
    assert load(tmp_path / "x", torch.device("cpu", 0)) is not None


@pytest.mark.parametrize(
    ("saved", "refused"),
    [
        ([None, None], False),  # between two rollouts
        ([2, 2], False),
        ([0, 0], False),  # by an older version, which did not say
        ([2, 2, None], True),  # more go on
        ([4, 4], True),  # fewer go on
        ([2, None], True),  # one does not see its file
        ([0, None], True),
    ],
)
def test_a_part_of_a_rollout_is_not_gone_on_with(saved: list[int | None], refused: bool) -> None:
    if not refused:
        refuse_part(saved, "checkpoint-4")
        return
    with pytest.raises(InputError, match="checkpoint-4 was saved inside a rollout by") as said:
        refuse_part(saved, "checkpoint-4")
    assert "\n" not in str(said.value)


@pytest.mark.long
def test_two_processes_refuse_what_one_saved_inside_a_rollout(
    server: LiveServer, grpo_flags: GrpoFlags, tmp_path: Path
) -> None:
    fields = {**INSIDE, "save_strategy": "steps", "save_steps": 1, "max_steps": 2}
    assert main(["grpo", *grpo_flags(server.url, **fields)]) == 0
    again = f"--resume_from_checkpoint={tmp_path / 'run' / 'checkpoint-2'}"
    launch = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    words = ["grpo", *grpo_flags(server.url, **{**fields, "max_steps": 8}), again]
    done = subprocess.run(
        [sys.executable, *launch, "-m", "touchstone_rewards.trainer", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode != 0
    assert "was saved inside a rollout by 1 processes" in done.stderr, done.stderr[-3000:]


def test_what_is_no_tensor_is_not_left_out_in_silence(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="num_images"):
        save(tmp_path / "x", OpenRollout([{"num_images": [1]}], 1, False))  # pyright: ignore
