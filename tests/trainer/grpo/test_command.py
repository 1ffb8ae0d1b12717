"""GRPO against a real reward server: the stored samples, the effect of an outage, the reasons to
stop.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from tests.trainer.conftest import GrpoFlags, write_rows
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.config import parse_config, require
from touchstone_rewards.trainer.data.kept_samples import KeptSample, SampleWriter, read_samples
from touchstone_rewards.trainer.data.rows import ensure_sample_ids, load_rows
from touchstone_rewards.trainer.errors import RunFailed
from touchstone_rewards.trainer.grpo import command as grpo
from touchstone_rewards.trainer.grpo.trainer import GrpoTrainer
from touchstone_rewards.trainer.rewards import connect

StartServer = Callable[..., LiveServer]


class AtStep(TrainerCallback):
    """Call `action(step)` after every update, with the current weights."""

    def __init__(self, action: Callable[[int], None]) -> None:
        self.action = action
        self.weights: dict[int, torch.Tensor] = {}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        model = kwargs["model"]
        self.weights[state.global_step] = torch.cat(
            [p.detach().flatten() for p in model.parameters()]
        )
        self.action(state.global_step)


def build(flags: list[str], folder: Path) -> GrpoTrainer:
    data, _, rewards, *_, args, model, _ = parse_config(grpo.GrpoConfigs, flags, "trainer grpo")
    rows = ensure_sample_ids(load_rows(require(data.dataset_name, "dataset_name")))
    scoring, writer = connect(rewards.reward_url, rewards.reward_timeout_s), SampleWriter(folder)
    return grpo.build_trainer(GrpoTrainer, model, args, rewards, scoring, writer, rows, None)


def kept(folder: Path) -> list[KeptSample]:
    return list(read_samples(folder / "samples"))


def test_every_sample_of_every_step_is_kept_once_with_its_reward(
    server: LiveServer, grpo_flags: GrpoFlags, tmp_path: Path
) -> None:
    assert main(["grpo", *grpo_flags(server.url)]) == 0
    samples = kept(tmp_path / "run")
    assert Counter(sample.step for sample in samples) == {1: 8, 2: 8, 3: 8}
    assert len({(sample.step, sample.id) for sample in samples}) == 24
    assert {sample.id for sample in samples} == {
        f"a{row}/{k}" for row in range(6) for k in range(4)
    }
    assert all(sample.id.startswith(f"{sample.group}/") for sample in samples)
    assert all(sample.scores == {"dummy": sample.reward} for sample in samples)
    assert len({sample.fingerprint for sample in samples}) == 1
    assert all(sample.status == "ok" and sample.ground_truth for sample in samples)


def test_a_run_leaves_curves_a_report_and_what_it_was_made_with(
    server: LiveServer, grpo_flags: GrpoFlags, tmp_path: Path
) -> None:
    assert main(["grpo", *grpo_flags(server.url, max_steps=1)]) == 0
    run = tmp_path / "run"
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "data:image/svg+xml;base64," in (run / "report.html").read_text()
    facts = json.loads((run / "run.json").read_text())
    assert facts["fields"]["learning_rate"] == 1e-3
    assert facts["fingerprints"] == {"dummy": kept(run)[0].fingerprint}
    history = json.loads((run / "trainer_state.json").read_text())["log_history"]
    assert history[0]["rewards_failed_frac/dummy"] == 0
    assert history[0]["scores/dummy/dummy"] == pytest.approx(history[0]["reward"], abs=1e-5)
    assert history[0]["rewards_wait_s/dummy"] > 0


def test_samples_of_an_evaluation_are_not_kept_among_those_of_training(
    server: LiveServer, grpo_flags: GrpoFlags, tmp_path: Path, rows_file: Path
) -> None:
    fields = {"eval_strategy": "steps", "eval_steps": 1, "eval_dataset_name": rows_file}
    flags = grpo_flags(server.url, max_steps=2, per_device_eval_batch_size=8, **fields)
    assert main(["grpo", *flags]) == 0
    assert Counter(sample.step for sample in kept(tmp_path / "run")) == {1: 8, 2: 8}
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    assert any("eval_reward" in entry for entry in state["log_history"])


def test_rows_without_a_reward_are_counted_kept_and_left_out(
    server: LiveServer, grpo_flags: GrpoFlags, tmp_path: Path
) -> None:
    rows = [{"id": n, "prompt": "1+1=", "ground_truth": None if n else "2"} for n in range(2)]
    data = write_rows(tmp_path / "half.jsonl", rows)
    fields = {"reward_profile": "math", "dataset_name": data, "max_failed_frac": 0.5}
    assert main(["grpo", *grpo_flags(server.url, max_steps=1, **fields)]) == 0
    samples = kept(tmp_path / "run")
    assert Counter((each.group, each.status) for each in samples) == {
        ("0", "ok"): 4,
        ("1", "error"): 4,
    }
    for sample in samples:
        assert (sample.reward is None) == (sample.group == "1")
        assert (sample.error is None) == (sample.group == "0")
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    assert state["log_history"][0]["rewards_failed_frac/math"] == 0.5


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_weights_stay_put_while_no_sample_gets_a_reward(
    start_server: StartServer, grpo_flags: GrpoFlags, tmp_path: Path, beta: float
) -> None:
    # Weight decay, momentum and the KL term would move them, though every advantage is zero.
    server = start_server()
    fields = {"weight_decay": 0.5, "beta": beta, "reward_timeout_s": 0.3, "max_failed_frac": 1.0}
    trainer = build(grpo_flags(server.url, max_steps=4, **fields), tmp_path / "samples")
    watch = AtStep(lambda step: server.kill() if step == 2 else None)
    trainer.add_callback(watch)
    trainer.train()
    assert not torch.equal(watch.weights[1], watch.weights[2])
    assert torch.equal(watch.weights[2], watch.weights[3])
    assert torch.equal(watch.weights[2], watch.weights[4])
    assert [each.reward for each in kept(tmp_path) if each.step > 2] == [None] * 16


def test_a_server_killed_in_the_middle_leaves_a_gap_and_training_goes_on_when_it_is_back(
    start_server: StartServer, grpo_flags: GrpoFlags, tmp_path: Path
) -> None:
    server = start_server()
    actions = {1: server.kill, 3: server.restart}
    fields = {"reward_timeout_s": 1.0, "failed_steps_patience": 3}
    trainer = build(grpo_flags(server.url, max_steps=5, **fields), tmp_path / "samples")
    watch = AtStep(lambda step: actions[step]() and None if step in actions else None)
    trainer.add_callback(watch)
    trainer.train()
    statuses = Counter((each.step, each.status) for each in kept(tmp_path))
    assert statuses == {
        (1, "ok"): 8,
        (2, "error"): 8,
        (3, "error"): 8,
        (4, "ok"): 8,
        (5, "ok"): 8,
    }
    lost = [each for each in kept(tmp_path) if each.status == "error"]
    assert {each.error["code"] for each in lost if each.error} == {"unavailable"}
    assert all(each.response and each.reward is None for each in lost)
    assert not torch.equal(watch.weights[3], watch.weights[4])


def test_a_run_stops_when_rewards_keep_failing(
    start_server: StartServer, grpo_flags: GrpoFlags, tmp_path: Path
) -> None:
    server = start_server()
    fields = {"reward_timeout_s": 0.3, "failed_steps_patience": 2}
    trainer = build(grpo_flags(server.url, max_steps=9, **fields), tmp_path / "samples")
    trainer.add_callback(AtStep(lambda step: server.kill() if step == 1 else None))
    with pytest.raises(RunFailed, match=r"25% .* 2 steps in a row .* 8 of 8: unavailable"):
        trainer.train()
    assert {each.step for each in kept(tmp_path)} == {1, 2, 3}


def test_bad_steps_that_are_not_in_a_row_do_not_stop_a_run(
    server: LiveServer, grpo_flags: GrpoFlags, tmp_path: Path
) -> None:
    # One row of six is unreadable: every third step has half of its rewards missing.
    rows = [{"id": n, "prompt": "1+1=", "ground_truth": None if n == 0 else "2"} for n in range(6)]
    data = write_rows(tmp_path / "rows.jsonl", rows)
    fields = {"reward_profile": "math", "dataset_name": data, "shuffle_dataset": False}
    flags = grpo_flags(server.url, max_steps=6, failed_steps_patience=2, **fields)
    assert main(["grpo", *flags]) == 0
    unread = [each for each in kept(tmp_path / "run") if each.group == "0"]
    assert Counter((each.step, each.reward) for each in unread) == {(1, None): 4, (4, None): 4}


def test_a_second_run_into_the_same_folder_does_not_mix_with_the_first(
    server: LiveServer, grpo_flags: GrpoFlags, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = grpo_flags(server.url, max_steps=1)
    assert main(["grpo", *flags]) == 0
    assert main(["grpo", *flags]) == 2
    assert "holds an earlier run" in capsys.readouterr().err


def test_an_adapter_is_trained_by_config(
    server: LiveServer, grpo_flags: GrpoFlags, tmp_path: Path
) -> None:
    flags = grpo_flags(server.url, max_steps=1, use_peft=True, lora_r=4, beta=0.1)
    assert main(["grpo", *flags, "--lora_target_modules", "q_proj", "v_proj"]) == 0
    assert (tmp_path / "run" / "adapter_model.safetensors").is_file()
    assert len(kept(tmp_path / "run")) == 8
