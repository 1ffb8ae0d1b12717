"""Several rewards at once: weights, columns, GDPO's normalization, the stored samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, cast

import pytest
import torch
from msgspec.structs import replace

from tests.trainer.conftest import GrpoFlags, write_rows
from touchstone_rewards.clients import ScoreResult
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.config import parse_config, require
from touchstone_rewards.trainer.data.kept_samples import SampleWriter, read_samples
from touchstone_rewards.trainer.data.rows import load_rows
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.grpo import command as grpo
from touchstone_rewards.trainer.grpo.advantages import with_penalties
from touchstone_rewards.trainer.grpo.trainer import GrpoTrainer
from touchstone_rewards.trainer.reward_arguments import RewardArguments
from touchstone_rewards.trainer.several_rewards import (
    RewardPart,
    SeveralRewards,
    column_functions,
    parts_of,
    weighted_sum,
)


def result(reward: float | None, profile: str = "p", **scores: float | None) -> ScoreResult:
    status = "ok" if reward is not None else "error"
    return ScoreResult(
        id="a", status=status, reward=reward, scores=scores, profile=profile, fingerprint=profile
    )


def several(results: dict[str, Any], *parts: RewardPart) -> tuple[SeveralRewards, list[Any]]:
    made = SeveralRewards(lambda samples, profile: results[profile], parts)
    return made, made.score([None] * len(results[parts[0].profile]), "p")


def test_weights_go_to_the_scores_then_to_the_further_profiles() -> None:
    wanted = RewardArguments(
        reward_profile="math", reward_scores=["math", "format"], also_reward_profile=["short"]
    )
    assert parts_of(wanted, [1.0, 0.5, 0.25]) == [
        RewardPart("math", "math", "math", 1.0),
        RewardPart("format", "math", "format", 0.5),
        RewardPart("short", "short", None, 0.25),
    ]
    assert parts_of(RewardArguments(), None) == [RewardPart("math", "math", None, 1.0)]
    with pytest.raises(InputError, match="2 numbers for 3 rewards: math, format, short"):
        parts_of(wanted, [1.0, 2.0])
    with pytest.raises(InputError, match="may be named once"):
        parts_of(RewardArguments(reward_profile="x", also_reward_profile=["x"]), None)


def test_the_reward_is_the_weighted_sum_of_the_scores_by_hand() -> None:
    parts = RewardPart("math", "p", "math", 2.0), RewardPart("format", "p", "format", 0.5)
    rewards, [first, second] = several(
        {"p": [result(1.0, math=1.0, format=0.5), result(0.0, math=0.0, format=1.0)]}, *parts
    )
    assert (first.reward, second.reward) == (2.25, 0.5)
    assert rewards.columns == [[1.0, 0.0], [0.5, 1.0]]


def test_a_sample_that_one_profile_could_not_score_has_no_reward_from_any() -> None:
    parts = RewardPart("p", "p"), RewardPart("q", "q")
    rewards, [first, second, third] = several(
        {"p": [result(1.0), result(1.0), None], "q": [result(0.5, "q"), result(None, "q"), None]},
        *parts,
    )
    assert (first.reward, second.reward, third) == (1.5, None, None)
    assert second.status == "error"
    assert rewards.columns == [[1.0, None, None], [0.5, None, None]]


def test_a_score_that_does_not_apply_to_a_row_is_left_out_of_its_sum() -> None:
    parts = RewardPart("math", "p", "math"), RewardPart("code", "p", "code", 3.0)
    rewards, [only] = several({"p": [result(1.0, math=1.0, code=None)]}, *parts)
    assert only.reward == 1.0
    assert rewards.columns == [[1.0], [None]]
    assert weighted_sum([None, None], [1.0, 1.0]) is None


def test_scores_of_two_profiles_are_kept_apart_under_one_name() -> None:
    _, [only] = several(
        {"p": [result(1.0, math=1.0)], "q": [result(0.5, "q", math=0.5)]},
        RewardPart("p", "p"),
        RewardPart("q", "q"),
    )
    assert only.scores == {"math": 1.0, "q/math": 0.5}
    assert only.fingerprint == "p+q"


def test_trl_gets_one_function_a_reward_and_the_server_is_asked_once() -> None:
    parts = RewardPart("math", "p", "math"), RewardPart("format", "p", "format")
    rewards, _ = several({"p": [result(1.0, math=1.0, format=0.5)]}, *parts)
    asked: list[Any] = []
    functions = column_functions(lambda *a, **k: asked.append(a), rewards)
    assert [each.__name__ for each in functions] == ["math", "format"]
    assert [each("prompts") for each in functions] == [[1.0], [0.5]]
    assert len(asked) == 1


def test_a_penalty_changes_the_weighted_sum_by_itself_whatever_the_weights() -> None:
    rewards = torch.tensor([[1.0, 0.5], [0.0, torch.nan], [torch.nan, torch.nan]])
    weights, penalties = torch.tensor([2.0, -1.0]), torch.tensor([-0.5, -0.25, -1.0])
    changed = with_penalties(rewards, weights, penalties)
    sums = (changed * weights).nansum(dim=1)
    assert sums[:2].tolist() == pytest.approx([2.0 - 0.5 - 0.5, -0.25])
    assert changed[1:].isnan().tolist() == [[False, True], [True, True]]
    alone = with_penalties(torch.tensor([[0.75]]), torch.tensor([1.0]), torch.tensor([-0.5]))
    assert alone.tolist() == [[0.25]]


def test_scores_of_a_profile_are_weighed_from_the_command_line(
    server: LiveServer, grpo_flags: GrpoFlags, tmp_path: Path
) -> None:
    flags = grpo_flags(server.url, reward_profile="r1_zero", preflight=False, max_steps=1)
    flags += ["--also_reward_profile", "dummy", "--reward_scores", "format", "math"]
    flags += ["--reward_weights", "0.25", "1.0", "2.0"]
    assert main(["grpo", *flags]) == 0
    samples = list(read_samples(tmp_path / "run" / "samples"))
    assert len(samples) == 8
    for sample in samples:
        scores: Any = sample.scores
        expected = 0.25 * scores["format"] + scores["math"] + 2 * scores["dummy"]
        assert sample.reward == pytest.approx(expected)
    log = json.loads((tmp_path / "run" / "trainer_state.json").read_text())["log_history"][0]
    assert log["reward"] == pytest.approx(fmean(sample.reward or 0.0 for sample in samples))
    dummy = fmean(sample.scores["dummy"] or 0.0 for sample in samples)
    assert log["rewards/dummy/mean"] == pytest.approx(dummy)


def by_length(samples: list[Any], profile: str, **options: Any) -> list[ScoreResult]:
    """Return two different scores of each response, from its text alone."""
    found = []
    for sample in samples:
        size = len(sample.response.encode())
        scores: Any = {"long": float(size), "even": size % 3 / 2}
        found.append(replace(result(1.0, **scores), id=sample.id))
    return found


def test_gdpo_normalises_each_reward_in_its_group_before_the_sum_by_hand(
    grpo_flags: GrpoFlags, tmp_path: Path
) -> None:
    weights = ["--reward_weights", "1.0", "0.5", "--temperature=2.0"]
    gdpo = "--multi_objective_aggregation=normalize_then_sum"
    flags = [*grpo_flags("http://127.0.0.1:9"), *weights, gdpo]
    data, _, rewards, *_, args, model, _ = parse_config(grpo.GrpoConfigs, flags, "trainer grpo")
    rows = load_rows(require(data.dataset_name, "dataset_name"))
    parts = RewardPart("long", "p", "long", 1.0), RewardPart("even", "p", "even", 0.5)
    scoring, writer = SeveralRewards(by_length, parts), SampleWriter(tmp_path / "samples")
    trainer = grpo.build_trainer(GrpoTrainer, model, args, rewards, scoring, writer, rows, None)
    cast(Any, trainer.model).train()
    inputs = [dict(rows[place]) for place in (0, 1) for _ in range(4)]
    batch = trainer._generate_and_score_completions(inputs)
    long, even = scoring.columns
    sums = [normalised(long, place) + 0.5 * normalised(even, place) for place in range(len(inputs))]
    expected = [(each - fmean(sums)) / (stdev(sums) + 1e-4) for each in sums]
    assert batch["advantages"].tolist() == pytest.approx(expected, abs=1e-4)
    assert max(expected) > 0.5


def normalised(column: Sequence[float | None], place: int) -> float:
    """Normalize values by their group's mean and deviation; groups of four."""
    first = place // 4 * 4
    values = [value or 0.0 for value in column[first : first + 4]]
    return (values[place - first] - fmean(values)) / (stdev(values) + 1e-4)


def test_what_cannot_work_together_is_refused(
    server: LiveServer, grpo_flags: GrpoFlags, capsys: pytest.CaptureFixture[str]
) -> None:
    gdpo = {"multi_objective_aggregation": "normalize_then_sum"}
    for fields, said in (
        ({"reward_scores": "nosuch"}, "profile dummy has no score 'nosuch'; it has dummy"),
        ({"reward_weights": "1.0", "also_reward_profile": "math"}, "1 numbers for 2 rewards"),
        ({"also_reward_profile": "nosuch"}, "no profile 'nosuch' on the server"),
        ({**gdpo, "overlong_cache_tokens": 2}, "choose one"),
        ({**gdpo, "advantage_eps": 1e-6}, "leave out advantage_eps"),
    ):
        assert main(["grpo", *grpo_flags(server.url, **fields)]) == 2
        assert said in capsys.readouterr().err
    flags = grpo_flags(server.url, multi_objective_aggregation="normalize_then_sum")
    assert main(["ppo", *flags]) == 2
    assert "PPO has no groups" in capsys.readouterr().err


def rows_without_truths(folder: Path, rows_file: Path) -> Path:
    rows = [json.loads(line) for line in rows_file.read_text().splitlines()]
    kept = [{key: row[key] for key in ("id", "prompt")} for row in rows]
    return write_rows(folder / "without.jsonl", kept)


def test_ground_truths_are_asked_for_only_where_the_profile_reads_them(
    server: LiveServer,
    grpo_flags: GrpoFlags,
    rows_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = rows_without_truths(tmp_path, rows_file)
    assert main(["grpo", *grpo_flags(server.url, dataset_name=data, max_steps=1)]) == 0
    assert "preflight: skipped, no row has a ground_truth" in capsys.readouterr().out
    samples = list(read_samples(tmp_path / "run" / "samples"))
    assert len(samples) == 8
    assert all(each.ground_truth is None and each.reward is not None for each in samples)
    fields = {"reward_profile": "math", "output_dir": tmp_path / "second"}
    assert main(["grpo", *grpo_flags(server.url, dataset_name=data, **fields)]) == 2
    said = capsys.readouterr().err
    assert (
        "no column 'ground_truth' (ground_truth_column) in the data: profile math reads it" in said
    )
