"""PPO on real tiny models: changed and unchanged weights, and the contents of a checkpoint."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from trl.generation.vllm_generation import VLLMGeneration

from tests.checkout import ROOT
from tests.trainer.scripted_ppo import PROMPTS, build, reward
from tests.waiting import PATIENCE_S
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.ppo import core
from touchstone_rewards.trainer.ppo.config import PPOConfig
from touchstone_rewards.trainer.ppo.value_head import is_critics, without_critic

KINDS: list[Any] = [
    pytest.param({"critic": "shared"}, id="shared"),
    pytest.param({"critic": "separate"}, id="separate"),
    pytest.param({"critic": "shared", "lora": True}, id="shared-lora"),
    pytest.param({"critic": "separate", "lora": True}, id="separate-lora"),
]


def batch_of(trainer: Any) -> dict[str, torch.Tensor]:
    trainer.model.train()
    rows = [{"prompt": prompt, "id": f"p{n}"} for n, prompt in enumerate(PROMPTS) for _ in range(4)]
    return trainer._generate_and_score_completions(rows)


def gradient_of(trainer: Any, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.zero_grad()
    trainer._compute_loss(trainer.model, batch).backward()
    named = trainer.model.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


def scatter_head(trainer: Any) -> None:
    """Set values that are not all 0, so that GAE and the value loss matter."""
    torch.manual_seed(5)
    torch.nn.init.normal_(trainer.critic.head.weight, std=0.3)


@pytest.mark.parametrize("fields", KINDS)
def test_the_value_of_a_token_is_the_heads_on_the_state_before_it(
    tiny_model: Path, tmp_path: Path, fields: dict[str, Any]
) -> None:
    trainer, _ = build(tmp_path, tiny_model, **fields)
    scatter_head(trainer)
    batch = batch_of(trainer)
    plain = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    head = trainer.critic.head
    for row in range(16):
        prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
        response = batch["completion_ids"][row][batch["completion_mask"][row].bool()]
        if not len(response):
            continue
        ids = torch.cat([prompt, response])[None]
        hidden = plain(ids, output_hidden_states=True).hidden_states[-1][0]
        expected = head(hidden)[len(prompt) - 1 : -1, 0]
        got = batch["old_values"][row][: len(response)]
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_advantages_and_returns_of_a_batch_are_those_of_the_pure_functions(
    tiny_model: Path, tmp_path: Path
) -> None:
    trainer, _ = build(tmp_path, tiny_model, kl_estimator="k3")
    scatter_head(trainer)
    with torch.no_grad():  # so that policy and reference differ
        for name, parameter in cast(Any, trainer.model).named_parameters():
            if "critic" not in name:
                parameter.add_(0.02 * torch.randn_like(parameter))
    batch = batch_of(trainer)
    mask = batch["completion_mask"]
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    attention = torch.cat([batch["prompt_mask"], mask], dim=1)
    with torch.no_grad():
        logps, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, attention, mask.shape[1]
        )
    truths = [reward([[t for t in row if t]])[0] for row in batch["completion_ids"].tolist()]
    scores = torch.tensor([0.0 if truth is None else truth for truth in truths])
    rewards = core.shaped_rewards(
        scores, logps, batch["ref_per_token_logps"], mask, kl_coef=0.05, estimator="k3"
    )
    advantages, returns = core.gae(rewards, batch["old_values"], mask, gamma=1.0, lam=0.95)
    assert float((logps - batch["ref_per_token_logps"]).abs().max()) > 1e-3
    torch.testing.assert_close(batch["returns"], returns)
    torch.testing.assert_close(batch["advantages"], core.whitened(advantages, mask))


@pytest.mark.parametrize("loss", ["dapo", "grpo", "dr_grpo", "bnpo", "sapo", "cispo"])
def test_a_sample_without_a_reward_moves_neither_policy_nor_critic(
    tiny_model: Path, tmp_path: Path, loss: str
) -> None:
    """The gradient of the batch equals that of the scored samples alone."""
    trainer, _ = build(tmp_path, tiny_model, loss_type=loss)
    scatter_head(trainer)
    batch = batch_of(trainer)
    scored = batch["completion_mask"].sum(1) > 0
    assert 0 < int((~scored).sum()) < 16
    alone = {
        key: value[scored] if value.dim() else value
        for key, value in batch.items()
        if isinstance(value, torch.Tensor)
    }
    alone["rewarded_share"] = torch.tensor(1.0)
    gradients = gradient_of(trainer, batch), gradient_of(trainer, alone)
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-4, atol=1e-7)
    assert all(float(each.abs().max()) > 0 for n, each in gradients[0].items() if "critic" in n)
    assert int(batch["num_items_in_batch"]) == int(batch["completion_mask"].sum())


def test_where_nothing_has_a_reward_the_loss_has_no_gradient(
    tiny_model: Path, tmp_path: Path
) -> None:
    trainer, _ = build(tmp_path, tiny_model, reward_func=lambda prompts, **_: [None] * len(prompts))
    scatter_head(trainer)
    gradients = gradient_of(trainer, batch_of(trainer))
    assert all(float(each.abs().max()) == 0 for each in gradients.values())


@pytest.mark.parametrize("fields", KINDS)
def test_training_moves_policy_and_critic_and_nothing_else(
    tiny_model: Path, tmp_path: Path, fields: dict[str, Any]
) -> None:
    trainer, recorder = build(tmp_path, tiny_model, **fields)
    before = {n: p.detach().clone() for n, p in cast(Any, trainer.model).named_parameters()}
    trainer.train()
    assert len(recorder.weights) == 3
    moved = {n for n, w in recorder.weights[-1].items() if not torch.equal(w, before[n])}
    assert any("critic" in name for name in moved)
    if fields.get("lora"):
        assert all("lora_" in name or "critic.head" in name for name in moved)
        assert any(".default." in name for name in moved)
        assert any("lora_" in n and ".critic." in n for n in moved) == (
            fields["critic"] == "separate"
        )
    else:
        trunk = any("critic.trunk" in name for name in moved)
        assert trunk == (fields["critic"] == "separate")
    log = trainer.state.log_history[0]
    assert {"value/loss", "value/explained_variance", "kl", "kl_coef"} <= log.keys()


def test_lora_has_one_base_for_policy_reference_and_critic(
    tiny_model: Path, tmp_path: Path
) -> None:
    trainer, _ = build(tmp_path, tiny_model, critic="separate", lora=True)
    plain = sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(tiny_model).parameters())
    model = cast(Any, trainer.model)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    assert frozen == plain
    assert trainer.ref_model is None
    adapters = {n.split(".")[-2] for n, p in model.named_parameters() if "lora_" in n}
    assert adapters == {"default", "critic"}


def test_the_critic_has_a_learning_rate_of_its_own(tiny_model: Path, tmp_path: Path) -> None:
    trainer, _ = build(tmp_path, tiny_model, critic_learning_rate=0.125, learning_rate=0.25)
    groups = trainer.create_optimizer().param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    named = dict(cast(Any, trainer.model).named_parameters())
    assert len(rates) == len(named)
    assert {n for n, p in named.items() if rates[id(p)] == 0.125} == {
        "critic.head.weight",
        "critic.head.bias",
    }


@pytest.mark.parametrize("critic", ["shared", "separate"])
def test_in_the_warm_up_the_critic_learns_alone(
    tiny_model: Path, tmp_path: Path, critic: str
) -> None:
    trainer, recorder = build(
        tmp_path, tiny_model, critic=critic, value_warmup_steps=2, weight_decay=0.5
    )
    before = {n: p.detach().clone() for n, p in cast(Any, trainer.model).named_parameters()}
    trainer.train()
    for step, (policy_moved, critic_moved) in enumerate(
        [(False, True), (False, True), (True, True)]
    ):
        now = recorder.weights[step]
        moved = {n for n, w in now.items() if not torch.equal(w, before[n])}
        assert any(not is_critics(name) for name in moved) == policy_moved, step
        assert any(map(is_critics, moved)) == critic_moved, step


def test_a_large_error_of_the_critic_does_not_shrink_the_policys_step(
    tiny_model: Path, tmp_path: Path
) -> None:
    trainer, recorder = build(
        tmp_path, tiny_model, critic="separate", vf_coef=1e4, max_grad_norm=0.5, max_steps=1
    )
    trainer.train()
    [gradients] = recorder.gradients

    def norm(of_critic: bool) -> float:
        parts = [g.norm() for n, g in gradients.items() if is_critics(n) == of_critic]
        return float(torch.stack(parts).norm())

    assert norm(of_critic=True) == pytest.approx(0.5, rel=1e-3)
    assert norm(of_critic=False) > 0.05


def test_the_kl_coefficient_adapts_and_is_remembered(tiny_model: Path, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"kl_target": 1e-6, "kl_horizon": 16, "save_strategy": "steps"}
    trainer, _ = build(tmp_path, tiny_model, save_steps=1, max_steps=3, **fields)
    trainer.train()
    logged = [row["kl_coef"] for row in trainer.state.log_history if "kl_coef" in row]
    # 16 samples at most of a horizon of 16: 20% or less a step, down from no KL at all at first
    assert logged[0] == 0.05
    assert logged[1] < 0.05 < 2 * logged[1]
    resumed, _ = build(tmp_path, tiny_model, save_steps=1, max_steps=3, **fields)
    resumed._load_from_checkpoint(str(tmp_path / "checkpoint-3"))
    assert resumed.kl_coef == trainer.kl_coef


@pytest.mark.parametrize("fields", KINDS)
def test_a_resumed_run_goes_on_where_the_other_stopped(
    tiny_model: Path, tmp_path: Path, fields: dict[str, Any]
) -> None:
    fields = {**fields, "scripted": False, "max_steps": 4, "save_strategy": "steps"}
    whole, whole_record = build(tmp_path / "whole", tiny_model, save_steps=2, **fields)
    whole.train()
    checkpoint = tmp_path / "whole" / "checkpoint-2"
    rest, record = build(tmp_path / "rest", tiny_model, save_steps=2, **fields)
    rest.train(resume_from_checkpoint=str(checkpoint))
    assert len(record.weights) == 2
    for name, weight in whole_record.weights[-1].items():
        assert torch.equal(weight, record.weights[-1][name]), name
    assert load_file(checkpoint / "critic.safetensors").keys() >= {"head.weight", "head.bias"}


def test_the_saved_model_is_a_plain_one_without_a_critic(tiny_model: Path, tmp_path: Path) -> None:
    trainer, _ = build(tmp_path, tiny_model, critic="separate", max_steps=1)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    names = load_file(tmp_path / "saved" / "model.safetensors").keys()
    assert names == load_file(tiny_model / "model.safetensors").keys()
    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", output_loading_info=True)
    info = loaded[1]
    assert not info["unexpected_keys"]
    assert not info["missing_keys"]


@pytest.mark.parametrize("fields", KINDS)
def test_vllm_is_sent_every_weight_of_the_model_and_none_of_the_critics(
    tiny_model: Path, tmp_path: Path, fields: dict[str, Any]
) -> None:
    trainer, _ = build(tmp_path, tiny_model, **fields)
    generation: Any = VLLMGeneration.__new__(VLLMGeneration)
    generation.model, generation._dist = trainer.model, trainer._dist
    sent = dict(without_critic(generation._iter_named_params)())
    plain = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert sent.keys() == dict(plain.named_parameters()).keys()


def test_a_critic_of_the_other_kind_is_not_loaded(tiny_model: Path, tmp_path: Path) -> None:
    trainer, _ = build(tmp_path, tiny_model, critic="shared", max_steps=1)
    trainer.save_model(str(tmp_path))
    other, _ = build(tmp_path, tiny_model, critic="separate", max_steps=1)
    with pytest.raises(InputError, match="another kind of critic"):
        other._load_from_checkpoint(str(tmp_path))


def test_several_passes_over_several_micro_batches_train(tiny_model: Path, tmp_path: Path) -> None:
    trainer, _ = build(
        tmp_path,
        tiny_model,
        per_device_train_batch_size=4,
        steps_per_generation=4,
        gradient_accumulation_steps=2,
        num_iterations=2,
        max_steps=4,
    )
    trainer.train()
    rows = [row for row in trainer.state.log_history if "value/loss" in row]
    assert len(rows) == 4
    assert all(math.isfinite(row["value/loss"]) for row in rows)


@pytest.mark.parametrize("fields", [KINDS[0], KINDS[1], KINDS[2]])
def test_it_trains_under_gradient_checkpointing(
    tiny_model: Path, tmp_path: Path, fields: dict[str, Any]
) -> None:
    plain, without = build(tmp_path / "a", tiny_model, max_steps=1, **fields)
    plain.train()
    saving, with_it = build(
        tmp_path / "b", tiny_model, max_steps=1, gradient_checkpointing=True, **fields
    )
    saving.train()
    for name, gradient in without.gradients[0].items():
        torch.testing.assert_close(gradient, with_it.gradients[0][name], rtol=1e-4, atol=1e-7)


def test_a_lora_critic_refuses_gradient_checkpointing(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gradient_checkpointing: false"):
        build(tmp_path, tiny_model, critic="separate", lora=True, gradient_checkpointing=True)


@pytest.mark.long
def test_two_processes_give_the_gradient_of_one(tiny_model: Path, tmp_path: Path) -> None:
    """Return gradients and weights of three updates, for each kind of critic, with and without
    LoRA.
    """
    runs = {kind.id: {**kind.values[0], "optim": "sgd", "max_grad_norm": 0.0} for kind in KINDS}
    halves = {name: {**run, "per_device_train_batch_size": 8} for name, run in runs.items()}
    launch = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    script = ["-m", "tests.trainer.scripted_ppo", str(tmp_path), str(tiny_model)]
    done = subprocess.run(
        [sys.executable, *launch, *script, json.dumps(halves)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name, run in runs.items():
        trainer, one = build(tmp_path / "one" / name, tiny_model, **run)
        trainer.train()
        two = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        for what, mine in (("gradients", one.gradients), ("weights", one.weights)):
            assert len(mine) == len(two[what]) == 3
            for update, other in zip(mine, two[what], strict=True):
                assert update.keys() == {key.removeprefix("module.") for key in other}
                for key, value in other.items():
                    torch.testing.assert_close(
                        value, update[key.removeprefix("module.")], rtol=1e-3, atol=1e-6
                    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"beta": 0.1}, "use kl_coef"),
        ({"critic": "none"}, "one of shared, separate"),
        ({"kl_estimator": "k2"}, "one of k1, k3"),
        ({"gae_lambda": 1.5}, "from 0 to 1"),
        ({"kl_coef": -1.0}, "must not be negative"),
        ({"vf_coef": 0.0}, "must be positive"),
        ({"value_clip": 0.0}, "null for no clipping"),
        ({"kl_target": 6.0, "kl_coef": 0.0}, "both must be positive"),
    ],
)
def test_what_cannot_work_is_refused(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        PPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **fields)
