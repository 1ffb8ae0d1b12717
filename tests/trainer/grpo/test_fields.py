"""Every field of GRPO against a slow reference: the same rollout gives the same gradient."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM
from trl.trainer.grpo_config import GRPOConfig

from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.grpo.advantages import advantages_of, zero_variance
from touchstone_rewards.trainer.grpo.config import GrpoArguments, RolloutArguments
from touchstone_rewards.trainer.grpo.trainer import GrpoTrainer

PROMPTS = [f"{a} plus {b} is" for a, b in ((1, 2), (3, 4), (5, 6), (7, 8))]
GROUP, LONGEST = 4, 9


def rollout(prompts: list[str], trainer: Any) -> dict[str, Any]:
    """Return responses of 3 to 7 tokens that depend only on the prompt and the place in its
    group."""
    tokenizer = trainer._tokenizer
    responses = []
    for place, prompt in enumerate(prompts):
        digest = hashlib.sha256(f"{prompt} {place % trainer.num_generations}".encode()).digest()
        responses.append([*(2 + byte % 60 for byte in digest[1 : 3 + digest[0] % 5]), 1])
        responses[-1][-1] = tokenizer.eos_token_id
    ids = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    return {"prompt_ids": ids, "completion_ids": responses, "logprobs": None}


def reward(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
    return [None if sum(ids) % 7 == 0 else (sum(ids) % 5) / 2 for ids in completion_ids]


class Recorded(GrpoTrainer):
    """Keep each rollout, and for every update the weights before it and the gradients."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rollouts: list[dict[str, Any]] = []
        self.updates: list[tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]] = []

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        batch = super()._generate_and_score_completions(inputs)
        self.rollouts.append({**batch, "rewards": self.rewards_here})
        return batch

    def _clip_grad_norm(self, model: Any) -> Any:
        named = dict(model.named_parameters())
        weights = {name: each.detach().clone() for name, each in named.items()}
        self.updates.append((weights, {name: p.grad.clone() for name, p in named.items()}))
        return super()._clip_grad_norm(model)


def train(model: Path, folder: Path, ours: Mapping[str, Any], **trls: Any) -> Recorded:
    settings = GrpoArguments(**ours)
    fields = {"per_device_train_batch_size": 16, "max_steps": 2, "learning_rate": 0.05} | trls
    args = GRPOConfig(
        str(folder),
        num_generations=GROUP,
        max_completion_length=LONGEST,
        optim="sgd",
        max_grad_norm=1e9,
        lr_scheduler_type="constant",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        **fields,
    )
    settings.apply(args)
    rows = Dataset.from_list([{"prompt": prompt} for prompt in PROMPTS])
    trainer = Recorded(
        str(model),
        reward_funcs=reward,
        args=args,
        train_dataset=rows,
        rollout_func=rollout,
        settings=settings,
    )
    trainer.train()
    return trainer


# The reference: one response at a time, float64, nothing shared with the code above.


def reference_advantages(rewards: list[float], kind: str, eps: float) -> list[float]:
    result: list[float] = []
    for start in range(0, len(rewards), GROUP):
        group = rewards[start : start + GROUP]
        known = [each for each in group if each == each]
        mean = sum(known) / max(1, len(known))
        var = sum((each - mean) ** 2 for each in known) / max(1, len(known) - 1)
        for each in group:
            by_kind = {"none": each, "group_mean": each - mean}
            by_kind["group_std"] = (each - mean) / (var**0.5 + eps)
            others = (sum(known) - each) / max(1, len(known) - 1)
            by_kind["leave_one_out"] = each - others if len(known) > 1 else 0.0
            result.append(by_kind[kind] if each == each else 0.0)
    return result


def token_logps(model: Any, batch: Mapping[str, Any], row: int) -> torch.Tensor:
    prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
    response = batch["completion_ids"][row][batch["completion_mask"][row].bool()]
    ids = torch.cat([prompt, response])[None]
    logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(1, response[:, None])[:, 0]


def reference_loss(
    model: Any, old: Any, batch: Mapping[str, Any], fields: Mapping[str, Any]
) -> torch.Tensor:
    rewards = batch["rewards"].tolist()
    eps = fields.get("advantage_eps", 1e-4)
    advantages = reference_advantages(rewards, fields.get("advantage", "group_std"), eps)
    sums, lengths = [], []
    for row, advantage in enumerate(advantages):
        with torch.no_grad():
            before = token_logps(old, batch, row)
        ratio = (token_logps(model, batch, row) - before).exp()
        gain = ratio * advantage
        if fields.get("clip", True):
            gain = torch.minimum(gain, ratio.clamp(1 - 0.2, 1 + 0.2) * advantage)
        sums.append(-gain.sum())
        lengths.append(len(ratio))
    by_length = {
        "masked_mean": [total / length for total, length in zip(sums, lengths, strict=True)],
        "masked_normalize": [total / max(lengths) for total in sums],
        "constant": [total / LONGEST for total in sums],
        "token_mean": [total * len(sums) / sum(lengths) for total in sums],
    }
    return torch.stack(by_length[fields.get("length_normalization", "token_mean")]).mean()


def reference_gradient(
    path: Path,
    weights: Mapping[str, torch.Tensor],
    old: Mapping[str, torch.Tensor],
    batch: Mapping[str, Any],
    fields: Mapping[str, Any],
) -> dict[str, torch.Tensor]:
    models = []
    for state in (weights, old):
        model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).double()
        model.load_state_dict({name: each.double() for name, each in state.items()}, strict=False)
        models.append(model.train())
    reference_loss(models[0], models[1], batch, fields).backward()
    return {name: each.grad for name, each in models[0].named_parameters()}


def assert_same(ours: Mapping[str, torch.Tensor], reference: Mapping[str, torch.Tensor]) -> None:
    assert ours.keys() == reference.keys()
    largest = max(float(each.abs().max()) for each in reference.values())
    assert largest > 1e-3, "a gradient of nothing proves nothing"
    for name, each in reference.items():
        assert float((ours[name].double() - each).abs().max()) < 1e-5 * max(1.0, largest), name


FIELDS: list[dict[str, Any]] = [
    {},
    {"advantage": "group_std", "advantage_eps": 1e-6},
    {"advantage": "group_std", "advantage_eps": 0.5},
    {"advantage": "group_mean"},
    {"advantage": "none"},
    {"advantage": "leave_one_out", "length_normalization": "constant"},
    {"length_normalization": "masked_mean"},
    {"length_normalization": "masked_normalize"},
    {"length_normalization": "token_mean"},
    {"length_normalization": "constant"},
    {"advantage": "none", "length_normalization": "masked_normalize"},
    {"advantage": "group_mean", "length_normalization": "masked_mean"},
]


def name_of(fields: Mapping[str, Any]) -> str:
    return " ".join(f"{value}" for value in fields.values()) or "trl"


@pytest.mark.parametrize("micro_batches", [1, 4])
@pytest.mark.parametrize("fields", FIELDS, ids=name_of)
def test_the_gradient_of_an_update_is_the_references(
    tiny_model: Path, tmp_path: Path, fields: dict[str, Any], micro_batches: int
) -> None:
    batches = {
        "per_device_train_batch_size": 16 // micro_batches,
        "gradient_accumulation_steps": micro_batches,
    }
    trainer = train(tiny_model, tmp_path, fields, **batches)
    for (weights, gradient), batch in zip(trainer.updates, trainer.rollouts, strict=True):
        assert_same(gradient, reference_gradient(tiny_model, weights, weights, batch, fields))


@pytest.mark.parametrize("micro_batches", [1, 4])
@pytest.mark.parametrize("clip", [True, False])
def test_later_epochs_over_a_rollout_hold_the_policy_against_the_one_that_drew_it(
    tiny_model: Path, tmp_path: Path, clip: bool, micro_batches: int
) -> None:
    fields = {"clip": clip, "epochs_per_rollout": 3, "length_normalization": "masked_mean"}
    batches = {
        "per_device_train_batch_size": 16 // micro_batches,
        "gradient_accumulation_steps": micro_batches,
        "max_steps": 3,
        "learning_rate": 0.5,
    }
    trainer = train(tiny_model, tmp_path, fields, **batches)
    [batch] = trainer.rollouts
    drew = trainer.updates[0][0]
    for weights, gradient in trainer.updates:
        assert_same(gradient, reference_gradient(tiny_model, weights, drew, batch, fields))
    other = {**fields, "clip": not clip}
    weights, gradient = trainer.updates[-1]
    with pytest.raises(AssertionError):
        assert_same(gradient, reference_gradient(tiny_model, weights, drew, batch, other))


def test_advantages_by_hand() -> None:
    rewards = torch.tensor([1.0, 0.0, 0.0, 1.0, 2.0, torch.nan, 0.0, 1.0])
    mean = advantages_of(rewards, 4, "group_mean", 0.0)
    assert mean.tolist() == [0.5, -0.5, -0.5, 0.5, 1.0, 0.0, -1.0, 0.0]
    std = advantages_of(rewards, 4, "group_std", 0.0)
    # Variances with n - 1: 4 * 0.25 / 3 and (1 + 1 + 0) / 2.
    assert std.tolist() == pytest.approx([0.866025, -0.866025, -0.866025, 0.866025, 1, 0, -1, 0])
    assert advantages_of(rewards, 4, "none", 0.0).tolist() == [1, 0, 0, 1, 2, 0, 0, 1]
    others = advantages_of(rewards, 4, "leave_one_out", 0.0)
    # 1 - 1/3 and 0 - 2/3; of three rewards 2 - 1/2, 0 - 3/2 and 1 - 2/2.
    assert others.tolist() == pytest.approx([2 / 3, -2 / 3, -2 / 3, 2 / 3, 1.5, 0, -1.5, 0])
    alone = torch.tensor([1.0, torch.nan])
    assert advantages_of(alone, 2, "leave_one_out", 0.0).tolist() == [0.0, 0.0]


# TRL's losses by the fields that choose them; GSPO is its `grpo` with one ratio a response.
LOSSES = [
    {"loss_type": name} for name in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "vespo")
]
LOSSES += [
    {"loss_type": name, "importance_sampling_level": "sequence"} for name in ("grpo", "luspo")
]


@pytest.mark.parametrize("fields", LOSSES, ids=lambda fields: " ".join(fields.values()))
def test_each_of_trl_s_nine_losses_makes_an_update(
    tiny_model: Path, tmp_path: Path, fields: dict[str, Any]
) -> None:
    trainer = train(tiny_model, tmp_path, {}, max_steps=1, **fields)
    [(_, gradient)] = trainer.updates
    largest = max(float(each.abs().max()) for each in gradient.values())
    assert 1e-6 < largest < 1e6


def test_a_group_without_rewards_has_no_advantages_and_is_not_one_of_equal_rewards() -> None:
    rewards = torch.tensor([torch.nan] * 3 + [1.0] * 3 + [1.0, 1.0, torch.nan] + [0.0, 1.0, 1.0])
    assert zero_variance(rewards, 3).tolist() == [False, True, True, False]
    assert advantages_of(rewards, 3, "group_std", 1e-6)[:9].tolist() == [0.0] * 9


@pytest.mark.parametrize(
    ("ours", "given", "message"),
    [
        ({"advantage": "none"}, "scale_rewards", "advantage and scale_rewards"),
        ({"length_normalization": "constant"}, "loss_type", "length_normalization and loss_type"),
        ({"clip": False}, "epsilon_high", "clip and epsilon_high"),
        ({"epochs_per_rollout": 2}, "num_iterations", "epochs_per_rollout and num_iterations"),
    ],
)
def test_a_field_of_ours_and_trls_for_the_same_thing_are_refused(
    ours: dict[str, Any], given: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        GrpoArguments(**ours).apply(GRPOConfig("", bf16=False, use_cpu=True), {given})


@pytest.mark.parametrize(
    ("ours", "trls"),
    [
        ({"clip": False}, {"loss_type": "cispo"}),
        ({"advantage": "group_mean", "advantage_eps": 1e-6}, {}),
        ({"advantage_eps": 1e-6}, {"scale_rewards": "batch"}),
    ],
)
def test_a_field_that_could_change_nothing_is_refused(
    ours: dict[str, Any], trls: dict[str, Any]
) -> None:
    with pytest.raises(InputError):
        GrpoArguments(**ours).apply(GRPOConfig("", bf16=False, use_cpu=True, **trls))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"top_p": 0.9}, "top_p"),
        ({"top_k": 50}, "top_k"),
        ({"min_p": 0.05}, "min_p"),
        ({"generation_kwargs": {"top_p": 0.9}}, "top_p"),
    ],
)
def test_sampling_that_biases_the_correction_is_refused_unless_forced(
    fields: dict[str, Any], named: str
) -> None:
    args = GRPOConfig("", bf16=False, use_cpu=True, use_vllm=True, **fields)
    with pytest.raises(InputError, match=f"{named} is"):
        RolloutArguments().check_sampling(args)
    RolloutArguments(force_sampling=True).check_sampling(args)
    args.vllm_importance_sampling_correction = False
    RolloutArguments().check_sampling(args)


def test_neutral_sampling_passes() -> None:
    args = GRPOConfig("", bf16=False, use_cpu=True, use_vllm=True, top_p=1.0, top_k=0, min_p=0.0)
    RolloutArguments().check_sampling(args)


def test_every_field_says_its_formula() -> None:
    for name, symbol in itertools.chain(
        (("advantage", "A_i ="), ("length_normalization", "sum_t"), ("clip", "l_it = ")),
        (("advantage_eps", "std"), ("epochs_per_rollout", "rho_it")),
    ):
        assert symbol in GrpoArguments.__dataclass_fields__[name].metadata["help"]
