"""PPO with other features: a critic from a reward model, normalized scores, long prompts."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from tests.trainer.conftest import GrpoFlags
from tests.trainer.ppo.test_trainer import batch_of
from tests.trainer.scripted_ppo import build
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.data.kept_samples import read_samples
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.ppo.config import PPOConfig
from touchstone_rewards.trainer.ppo.core import RunningScores
from touchstone_rewards.trainer.ppo.reward_start import check_tokenizers
from touchstone_rewards.trainer.preference.reward_folder import load_reward_model
from touchstone_rewards.trainer.preference.reward_head import score_at_last_token
from touchstone_rewards.trainer.toy.tiny_model import make_model

FROM_REWARD = {"critic": "separate"}


@pytest.fixture(scope="module")
def reward_folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a reward model on the policy's base, with a bias, a mean and a deviation."""
    folder = tmp_path_factory.mktemp("reward")
    model: Any = load_reward_model(str(tiny_model), 1, seed=7)
    torch.nn.init.normal_(model.score.weight, std=0.5)
    model.config.reward_head = {"loss": "pairwise", "bias": 0.25}
    model.config.mean, model.config.std = 0.5, 2.0
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


def one_by_one(folder: Path, batch: dict[str, Any], tokens: int) -> list[float]:
    """Return the reward model's scores of the first row's prompt followed by 0, 1, 2 ... tokens."""
    model: Any = load_reward_model(str(folder), 1).eval()
    score_at_last_token(model)
    prompt = batch["prompt_ids"][0][batch["prompt_mask"][0].bool()]
    scores = []
    for count in range(tokens):
        ids = torch.cat([prompt, batch["completion_ids"][0][:count]])[None]
        with torch.no_grad():
            scores.append(model(ids, torch.ones_like(ids)).logits.item())
    return scores


@pytest.mark.parametrize("lora", [False, True])
def test_a_critic_from_a_reward_model_says_at_first_what_that_one_says(
    tiny_model: Path, reward_folder: Path, tmp_path: Path, lora: bool
) -> None:
    fields: Any = {**FROM_REWARD, "critic_model_name_or_path": str(reward_folder), "lora": lora}
    trainer, _ = build(tmp_path, tiny_model, **fields)
    batch = batch_of(trainer)
    tokens = int(batch["completion_mask"][0].sum())
    expected = one_by_one(reward_folder, batch, tokens)
    assert batch["old_values"][0, :tokens].tolist() == pytest.approx(expected, abs=1e-5)
    assert statistics.pstdev(expected) > 0.01


def test_its_values_are_scaled_as_the_served_scores_are(
    tiny_model: Path, reward_folder: Path, tmp_path: Path
) -> None:
    fields: Any = {**FROM_REWARD, "critic_model_name_or_path": str(reward_folder)}
    trainer, _ = build(tmp_path, tiny_model, **fields, critic_normalize=True)
    batch = batch_of(trainer)
    tokens = int(batch["completion_mask"][0].sum())
    expected = [(each - 0.5) / 2.0 for each in one_by_one(reward_folder, batch, tokens)]
    assert batch["old_values"][0, :tokens].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("lora", [False, True])
def test_that_critic_learns_is_saved_and_is_resumed(
    tiny_model: Path, reward_folder: Path, tmp_path: Path, lora: bool
) -> None:
    fields: dict[str, Any] = {**FROM_REWARD, "critic_model_name_or_path": str(reward_folder)}
    fields |= {"lora": lora, "score_norm": True, "whiten_rewards": True, "save_steps": 2}
    fields |= {"save_strategy": "steps", "max_steps": 3}
    whole, _ = build(tmp_path / "whole", tiny_model, **fields)
    before = {name: each.clone() for name, each in whole.critic.state_dict().items()}
    whole.train()
    changed = [
        name for name, each in whole.critic.state_dict().items() if (each != before[name]).any()
    ]
    assert "head.weight" in changed
    assert any(name.startswith("trunk.") for name in changed)
    resumed, _ = build(tmp_path / "resumed", tiny_model, **fields)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert resumed.running_scores == whole.running_scores
    for name, each in whole.critic.state_dict().items():
        assert torch.equal(resumed.critic.state_dict()[name], each), name


def test_a_critic_with_another_tokenizer_or_without_a_scale_is_refused(
    tiny_model: Path, reward_folder: Path, tmp_path: Path
) -> None:
    other = make_model(tmp_path / "other", ["quite other words"], hidden_size=32, layers=2)
    policy = AutoTokenizer.from_pretrained(other)
    with pytest.raises(InputError, match="does not have the policy's tokenizer"):
        check_tokenizers(policy, str(reward_folder))
    check_tokenizers(AutoTokenizer.from_pretrained(tiny_model), str(reward_folder))
    with pytest.raises(InputError, match=r"no reward model at \./nosuch"):
        check_tokenizers(policy, "./nosuch")
    fields: Any = {**FROM_REWARD, "critic_model_name_or_path": str(tiny_model)}
    with pytest.raises(InputError, match="no numbers `mean` and `std`"):
        build(tmp_path, tiny_model, **fields, critic_normalize=True)


def test_what_contradicts_itself_is_refused() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"critic_model_name_or_path": "x"}, "needs critic: separate"),
        ({"critic_normalize": True}, "needs critic_model_name_or_path"),
        ({"score_clip": 0.0}, "score_clip must be positive"),
        ({"multi_objective_aggregation": "normalize_then_sum"}, "no groups"),
    ]
    for fields, said in cases:
        with pytest.raises(ValueError, match=said):
            PPOConfig(output_dir="x", bf16=False, **fields)


def test_scores_are_normalised_by_all_that_came_so_far_and_clipped_after(
    tiny_model: Path, tmp_path: Path
) -> None:
    trainer, _ = build(tmp_path, tiny_model, score_norm=True, score_clip=1.0, kl_coef=0.0)
    batch = batch_of(trainer)
    seen = [each for each in trainer.rewards_here.tolist() if not math.isnan(each)]
    mean, std = statistics.fmean(seen), statistics.stdev(seen)
    assert trainer.running_scores.count == len(seen)
    for row, reward in enumerate(trainer.rewards_here.tolist()):
        tokens = int(batch["completion_mask"][row].sum())
        if math.isnan(reward):
            assert tokens == 0
            continue
        # With lambda 0.95, values of 0 and no KL the last token's return is the score.
        expected = max(-1.0, min(1.0, (reward - mean) / std))
        assert batch["returns"][row, tokens - 1].item() == pytest.approx(expected, abs=1e-5)
    batch_of(trainer)
    assert trainer.running_scores.count == 2 * len(seen)


def test_whitened_rewards_have_the_spread_one_over_the_batch(
    tiny_model: Path, tmp_path: Path
) -> None:
    trainer, _ = build(tmp_path, tiny_model, whiten_rewards=True, kl_coef=0.0, gae_lambda=0.0)
    batch = batch_of(trainer)
    # Values of 0 and lambda 0: the return of a token is its reward.
    rewards = batch["returns"][batch["completion_mask"].bool()].tolist()
    raw = [each for each in trainer.rewards_here.tolist() if not math.isnan(each)]
    assert statistics.stdev(rewards) == pytest.approx(1.0, abs=1e-3)
    assert statistics.fmean(rewards) == pytest.approx(sum(raw) / len(rewards), abs=1e-4)


def test_the_state_of_an_older_checkpoint_without_running_scores_is_read(
    tiny_model: Path, tmp_path: Path
) -> None:
    trainer, _ = build(
        tmp_path / "run", tiny_model, max_steps=1, save_strategy="steps", save_steps=1
    )
    trainer.train()
    checkpoint = tmp_path / "run" / "checkpoint-1"
    (checkpoint / "ppo_state.json").write_text('{"kl_coef": 0.125}\n')
    trainer._load_from_checkpoint(str(checkpoint))
    assert trainer.kl_coef == 0.125
    assert trainer.running_scores == RunningScores()


@pytest.mark.long
def test_one_response_a_prompt_is_enough_for_ppo(
    server: LiveServer, grpo_flags: GrpoFlags, tmp_path: Path
) -> None:
    fields: dict[str, Any] = {"num_generations": 1, "per_device_train_batch_size": 3}
    fields |= {"max_steps": 2, "score_norm": True, "max_prompt_length": 12}
    fields |= {"overlong_cache_tokens": 4, "overlong_penalty_factor": 2.0, "score_clip": 5.0}
    assert main(["ppo", *grpo_flags(server.url, **fields)]) == 0
    samples = list(read_samples(tmp_path / "run" / "samples"))
    assert [sample.id.rpartition("/")[2] for sample in samples] == ["0"] * 6
    assert len({sample.group for sample in samples}) == 6
    log = json.loads((tmp_path / "run" / "trainer_state.json").read_text())["log_history"]
    assert log[0]["prompts/truncated_frac"] == 1.0
    assert all(math.isfinite(entry["loss"]) for entry in log if "loss" in entry)
    assert -2.0 <= log[0]["overlong_penalty"] <= 0.0


def test_what_needs_a_group_is_refused_where_there_is_none(
    grpo_flags: GrpoFlags, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = "http://127.0.0.1:9"
    for fields, said in (
        ({"refill_groups": 1}, "groups of equal rewards do teach"),
        ({"skip_equal_retry": 0.5, "num_generations": 1}, "one response is always equal"),
        ({"num_generations": 0}, "num_generations must be 1 or more, not 0"),
    ):
        assert main(["ppo", *grpo_flags(nowhere, **fields)]) == 2
        assert said in capsys.readouterr().err
