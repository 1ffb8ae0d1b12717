"""A training process killed with -9 and started again; two processes that train together."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import allclose

from tests.trainer.conftest import GrpoFlags
from tests.waiting import PATIENCE_S, kill_when_there
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.data.kept_samples import read_samples


def lines(folder: Path) -> set[tuple[int, str, str, float | None]]:
    samples = list(read_samples(folder / "samples"))
    found = {(each.step, each.id, each.response, each.reward) for each in samples}
    assert len(found) == len(samples)
    return found


@pytest.mark.long
def test_a_run_killed_and_resumed_ends_as_one_that_was_never_killed(
    server: LiveServer, grpo_flags: GrpoFlags, tmp_path: Path
) -> None:
    # Six rows, two a step: an epoch is three steps, so the resumed part begins inside the third.
    fields = {"max_steps": 13, "save_strategy": "steps", "save_steps": 2}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(["grpo", *grpo_flags(server.url, output_dir=whole, **fields)]) == 0
    flags = grpo_flags(server.url, output_dir=killed, **fields)
    command = [
        sys.executable,
        "-m",
        "touchstone_rewards.trainer",
        "grpo",
        *flags,
        "--resume_from_checkpoint=true",
    ]
    kill_when_there(subprocess.Popen(command), killed / "samples" / "samples_step_10.jsonl")
    torn = killed / "samples" / "samples_step_8.jsonl"
    torn.write_bytes(torn.read_bytes() + b'{"id": "half a li')
    assert main(["grpo", *flags, "--resume_from_checkpoint=true"]) == 0
    assert lines(killed) == lines(whole)
    models = [load_file(folder / "model.safetensors") for folder in (killed, whole)]
    assert all(allclose(models[0][name], models[1][name], atol=1e-6) for name in models[0])


def test_a_run_killed_before_its_first_checkpoint_starts_over_without_leftovers(
    server: LiveServer, grpo_flags: GrpoFlags, tmp_path: Path
) -> None:
    flags = grpo_flags(server.url, max_steps=2)
    assert main(["grpo", *flags]) == 0
    first = lines(tmp_path / "run")
    assert main(["grpo", *flags, "--resume_from_checkpoint=true"]) == 0
    assert lines(tmp_path / "run") == first


@pytest.mark.long
def test_two_processes_keep_the_samples_of_both(
    server: LiveServer, grpo_flags: GrpoFlags, tmp_path: Path
) -> None:
    # Three generations on each process, groups of six: every group lies on both.
    fields = {"per_device_train_batch_size": 3, "num_generations": 6, "max_steps": 2}
    launch = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    command = [
        sys.executable,
        *launch,
        "-m",
        "touchstone_rewards.trainer",
        "grpo",
        *grpo_flags(server.url, **fields),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    samples = list(read_samples(tmp_path / "run" / "samples"))
    assert Counter(each.step for each in samples) == {1: 6, 2: 6}
    for step in (1, 2):
        mine = [each for each in samples if each.step == step]
        [group] = {each.group for each in mine}
        assert [each.id for each in mine] == [f"{group}/{place}" for place in range(6)]
        assert len({each.response for each in mine}) > 1
