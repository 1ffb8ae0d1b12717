"""Row selection, group replacement and length penalty: by hand, and in training."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from tests.trainer.conftest import GrpoFlags
from tests.trainer.grpo.test_fields import (
    Recorded,
    assert_same,
    reference_gradient,
    rollout,
)
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.data.kept_samples import KeptSample, read_samples
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.grpo.advantages import zero_variance
from touchstone_rewards.trainer.grpo.config import GrpoArguments
from touchstone_rewards.trainer.grpo.learning import LearningArguments
from touchstone_rewards.trainer.grpo.refill import other_rows, rows_of_groups, with_groups
from touchstone_rewards.trainer.grpo.sampler import (
    Record,
    SeededEachEpoch,
    kept_rows,
    mixed_seed,
    records_of,
    rows_of_epoch,
    weight_of,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def kept(group: str, step: int, reward: float | None) -> KeptSample:
    return KeptSample(f"{group}/0", "", "", reward, {}, step, 0.0, group, None)


def test_a_row_s_record_is_the_mean_of_its_last_rollout_and_its_equal_ones_in_a_row() -> None:
    samples = [
        *(kept("a", 1, value) for value in (0.0, 1.0)),
        *(kept("a", 2, value) for value in (1.0, 1.0)),
        *(kept("a", 5, value) for value in (0.0, 0.0, None)),
        *(kept("b", 2, value) for value in (0.0, 0.0)),
        *(kept("b", 3, value) for value in (1.0, 0.0, 0.0, 0.0)),
        kept("c", 1, None),
    ]
    assert records_of(samples) == {"a": Record(0.0, 2), "b": Record(0.25, 0)}


def test_rows_are_passed_over_with_one_minus_retry_to_the_power_of_their_equal_rollouts() -> None:
    records = [Record(1.0, z) for z in (0, 1, 2, 3)] * 5000
    stays = Counter(int(row) % 4 for row in kept_rows(records, 1, 0.5, seeded()))
    assert stays[0] == 5000
    for z in (1, 2, 3):
        # Five standard deviations of a binomial share.
        assert stays[z] / 5000 == pytest.approx(0.5**z, abs=5 * (0.25 / 5000) ** 0.5)


def test_an_epoch_is_as_long_as_ever_and_a_rollout_has_each_row_once() -> None:
    learning = LearningArguments(skip_equal_retry=0.01)
    records = [Record(1.0, 9)] * 6 + [Record(0.5, 0)] * 5
    rollouts = rows_of_epoch(records, 2, learning, seeded())
    assert len(rollouts) == 5
    assert all(len(set(rows)) == 2 for rows in rollouts)
    assert {row for rows in rollouts for row in rows} <= set(range(6, 11))
    assert rollouts == rows_of_epoch(records, 2, learning, seeded())


def test_where_too_few_rows_are_left_the_least_hopeless_come_back() -> None:
    records = [Record(1.0, 40), Record(0.0, 30), Record(0.0, 35), None]
    assert kept_rows(records, 2, 0.5, seeded()).tolist() == [1, 3]


def test_no_seed_and_epoch_have_the_order_of_others() -> None:
    pairs = [(seed, epoch) for seed in range(20) for epoch in range(20)]
    assert len({mixed_seed(*pair) for pair in pairs}) == 400
    assert mixed_seed(0, 1) != mixed_seed(1, 0)
    assert mixed_seed(0, 1) == mixed_seed(0, 1)
    orders = {
        (seed, epoch): torch.randperm(50, generator=seeded(mixed_seed(seed, epoch))).tolist()
        for seed, epoch in ((0, 1), (1, 0))
    }
    assert orders[0, 1] != orders[1, 0]


def test_each_epochs_order_is_drawn_from_seed_and_epoch_both() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = RepeatSampler(list(range(30)), mini_repeat_count=1, shuffle=True, seed=seed)
        return list(SeededEachEpoch(sampler, seed, lambda: epoch))

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(1, 0)


def test_the_weight_of_a_row_is_p_times_one_minus_p() -> None:
    weights = [weight_of(Record(p, 0), 0.02) for p in (0.0, 0.25, 0.5, 0.9, 1.0)]
    assert weights == pytest.approx([0.02, 0.1875, 0.25, 0.09, 0.02])
    assert weight_of(None, 0.02) == 0.25


def test_rows_are_drawn_in_proportion_to_their_weights() -> None:
    records = [Record(0.5, 0), Record(0.1, 0), Record(1.0, 0), None] * 2
    learning = LearningArguments(curriculum=True, curriculum_floor=0.01)
    drawn: Counter[int] = Counter()
    for seed in range(2000):
        [*_, last] = rows_of_epoch(records, 1, learning, seeded(seed))
        drawn[last[0] % 4] += 1
    total = 0.25 + 0.09 + 0.01 + 0.25
    for row, weight in enumerate((0.25, 0.09, 0.01, 0.25)):
        assert drawn[row] / 2000 == pytest.approx(weight / total, abs=5 * (0.25 / 2000) ** 0.5)


def test_groups_are_put_in_the_place_of_others_with_the_padding_on_its_side() -> None:
    ones = torch.ones(4, dtype=torch.long)
    rollout = {
        "prompt_ids": torch.tensor([[1, 2], [1, 2], [3, 4], [3, 4]]),
        "completion_ids": torch.tensor([[5, 6], [5, 7], [8, 9], [8, 8]]),
        "old_per_token_logps": torch.full((4, 2), -1.0),
        "advantages": torch.tensor([0.0, 0.0, 1.0, -1.0]),
        "num_items_in_batch": torch.tensor(8),
    }
    other = {
        "prompt_ids": torch.tensor([[0, 7, 7], [0, 7, 7]]),
        "completion_ids": torch.tensor([[1], [2]]),
        "old_per_token_logps": torch.full((2, 1), -2.0),
        "advantages": torch.tensor([0.5, -0.5]),
        "num_items_in_batch": torch.tensor(2),
    }
    places = rows_of_groups(torch.tensor([0]), 2)
    new = with_groups(rollout, places, other, torch.tensor([0, 1]), pad_token=99)
    assert new["prompt_ids"].tolist() == [[0, 7, 7], [0, 7, 7], [99, 3, 4], [99, 3, 4]]
    assert new["completion_ids"].tolist() == [[1, 99], [2, 99], [8, 9], [8, 8]]
    assert new["old_per_token_logps"].tolist() == [[-2, 0], [-2, 0], [-1, -1], [-1, -1]]
    assert new["advantages"].tolist() == [0.5, -0.5, 1.0, -1.0]
    assert rollout["advantages"].tolist() == [0.0, 0.0, 1.0, -1.0]
    with pytest.raises(TypeError, match="pixels"):
        with_groups({"pixels": ones[:, None]}, places, {"pixels": torch.ones(2, 3)}, places, 0)


def test_new_rows_are_none_of_those_in_use() -> None:
    ids = ["a", "b", "c", "d"]
    assert sorted(other_rows({"b"}, ids, 3, seeded())) == [0, 2, 3]
    assert other_rows({"a", "b", "c"}, ids, 3, seeded()) == [3]


def reward(prompts: list[str], completion_ids: list[list[int]], **_: Any) -> list[float | None]:
    """Give one to every response to the first kind of prompt, none to the second, else between 0
    and 1."""
    fixed = {"easy": 1.0, "none": None}
    return [
        fixed.get(prompt[:4], (sum(ids) % 5) / 4)
        for prompt, ids in zip(prompts, completion_ids, strict=True)
    ]


def train(model: Path, folder: Path, prompts: list[str], **fields: Any) -> Recorded:
    args = GRPOConfig(
        str(folder),
        per_device_train_batch_size=8,
        gradient_accumulation_steps=2,
        num_generations=4,
        max_completion_length=9,
        max_steps=1,
        learning_rate=0.1,
        optim="sgd",
        max_grad_norm=1e9,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    learning = LearningArguments(**fields)
    learning.check(args, GrpoArguments())
    rows = [{"id": str(place), "prompt": prompt} for place, prompt in enumerate(prompts)]
    trainer = Recorded(
        str(model),
        reward_funcs=reward,
        args=args,
        train_dataset=Dataset.from_list(rows),
        rollout_func=rollout,
        learning=learning,
    )
    trainer.train()
    return trainer


def test_an_update_is_made_of_groups_that_teach_where_refills_find_them(
    tiny_model: Path, tmp_path: Path
) -> None:
    prompts = [f"easy {n} plus" for n in range(6)] + [f"{n} plus {n} plus {n} is" for n in range(6)]
    plain = train(tiny_model, tmp_path, prompts)
    assert zero_variance(plain.rollouts[0]["rewards"], 4).any()
    trainer = train(tiny_model, tmp_path, prompts, refill_groups=8)
    [batch] = trainer.rollouts
    assert not zero_variance(batch["rewards"], 4).any()
    [(weights, gradient)] = trainer.updates
    # Merged as it is, with responses of other lengths, it is a rollout like any other.
    assert_same(gradient, reference_gradient(tiny_model, weights, weights, batch, {}))


def test_refills_are_bounded_and_what_cannot_be_replaced_stays(
    tiny_model: Path, tmp_path: Path
) -> None:
    trainer = train(tiny_model, tmp_path, [f"easy {n} plus" for n in range(30)], refill_groups=2)
    [batch] = trainer.rollouts
    assert batch["rewards"].tolist() == [1.0] * 16
    row = trainer.state.log_history[0]
    assert (row["refill/groups"], row["refill/equal_left"]) == (0.0, 1.0)
    # Each rollout logs the share of equal groups: the first and two more.
    assert batch["num_items_in_batch"] == batch["completion_mask"].sum()


def test_a_long_response_costs_and_one_without_a_reward_stays_without(
    tiny_model: Path, tmp_path: Path
) -> None:
    prompts = ["easy 1 plus", "none 1 plus", "easy 2 plus", "none 2 plus"]
    trainer = train(tiny_model, tmp_path, prompts, overlong_cache_tokens=4)
    [batch] = trainer.rollouts
    # L_max 9, L_cache 4: nothing up to 5 tokens, a quarter for each token more.
    lengths = batch["completion_mask"].sum(dim=1)
    assert lengths.min() <= 5 < lengths.max()
    given = list(zip(lengths.tolist(), batch["rewards"].tolist(), strict=True))
    scored = [(length, value) for length, value in given if value == value]
    assert len(scored) == len(given) / 2
    assert all(value == 1 - max(0, length - 5) / 4 for length, value in scored)


def test_only_the_tokens_of_highest_entropy_are_learnt_from() -> None:
    class Alone:
        """The parts of a trainer that the method uses, for one process."""

        class accelerator:  # noqa: N801
            num_processes, process_index = 1, 0
            device = torch.device("cpu")

            @staticmethod
            def gather(value: torch.Tensor) -> torch.Tensor:
                return value

            @staticmethod
            def pad_across_processes(value: torch.Tensor, **_: Any) -> torch.Tensor:
                return value

    entropies = torch.tensor([[0.1, 0.9, 0.3, 9.0], [0.2, 0.8, 0.4, 0.5]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    alone: Any = Alone()
    # Seven tokens count; the quantile 0.7 of 0.1 0.2 0.3 0.4 0.5 0.8 0.9 lies at 0.56.
    chosen = GRPOTrainer.get_high_entropy_mask(alone, entropies, mask, 0.7)
    assert chosen.tolist() == [[False, True, False, False], [False, True, False, False]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"overlong_cache_tokens": 256}, "below max_completion_length"),
        ({"learning_samples": "runs/x/samples"}, "set one"),
    ],
)
def test_fields_that_could_do_nothing_are_refused(fields: dict[str, Any], message: str) -> None:
    args = GRPOConfig("", bf16=False, use_cpu=True, max_completion_length=256)
    with pytest.raises(InputError, match=message):
        LearningArguments(**fields).check(args, GrpoArguments())
    with pytest.raises(InputError, match="with advantage none"):
        LearningArguments(refill_groups=1).check(args, GrpoArguments(advantage="none"))


def test_a_run_that_chooses_its_rows_resumes_to_the_same_samples(
    server: LiveServer, grpo_flags: GrpoFlags, tmp_path: Path
) -> None:
    # Six rows, two a step: epochs of three steps; the resumed part begins inside the second.
    fields = {"max_steps": 8, "save_strategy": "steps", "save_steps": 4, "curriculum": True}
    fields |= {
        "skip_equal_retry": 0.5,
        "refill_groups": 1,
        "reward_profile": "format",
        "preflight": False,
    }
    assert main(["grpo", *grpo_flags(server.url, **fields)]) == 0
    samples = tmp_path / "run" / "samples"
    whole = list(read_samples(samples))
    assert max(Counter(each.id for each in whole if each.step == 1).values()) == 1
    flags = grpo_flags(server.url, **fields)
    again = f"--resume_from_checkpoint={tmp_path / 'run' / 'checkpoint-4'}"
    assert main(["grpo", *flags, again]) == 0
    assert list(read_samples(samples)) == whole
    other = grpo_flags(server.url, **{**fields, "output_dir": tmp_path / "other"})
    assert main(["grpo", *other, f"--learning_samples={samples}"]) == 0
