"""Rollout settings that work on a machine without a GPU, and the prompts of a rollout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.conftest import GrpoFlags
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.data.kept_samples import read_samples


def log_of(run: Path) -> list[dict[str, Any]]:
    return json.loads((run / "trainer_state.json").read_text())["log_history"]


@pytest.mark.long
def test_continuous_batching_of_transformers_trains_on_a_cpu(
    server: LiveServer, grpo_flags: GrpoFlags, tmp_path: Path
) -> None:
    flags = grpo_flags(server.url, max_steps=2, use_transformers_continuous_batching=True)
    # Without it the cache takes half of the free memory, which other tests may be about to use.
    flags.append(
        '--transformers_continuous_batching_config={"num_blocks": 64, "max_batch_tokens": 256}'
    )
    assert main(["grpo", *flags]) == 0
    samples = list(read_samples(tmp_path / "run" / "samples"))
    assert len(samples) == 16
    assert len({sample.response for sample in samples}) > 4


def test_long_prompts_lose_their_left_part_and_are_counted(
    server: LiveServer, grpo_flags: GrpoFlags, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["grpo", *grpo_flags(server.url, max_steps=1, max_prompt_length=5)]) == 0
    assert "6 of 6 prompts are longer than 5 tokens: cut on the left" in capsys.readouterr().out
    first = log_of(tmp_path / "run")[0]
    assert first["prompts/truncated_frac"] == 1.0
    # Eight responses with five tokens of prompt each.
    assert first["num_tokens"] == pytest.approx(8 * (5 + first["completions/mean_length"]))
    # The server and the store have the whole prompt.
    assert all("User:" in each.prompt for each in read_samples(tmp_path / "run" / "samples"))


def test_long_prompts_can_be_left_out_but_not_all_of_them(
    server: LiveServer, grpo_flags: GrpoFlags, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = {"max_prompt_length": 5, "long_prompts": "filter"}
    assert main(["grpo", *grpo_flags(server.url, **fields)]) == 2
    assert "every prompt is longer than max_prompt_length (5 tokens)" in capsys.readouterr().err
    assert main(["grpo", *grpo_flags(server.url, **{**fields, "max_prompt_length": 500})]) == 0
    assert "0 of 6 prompts are longer than 500 tokens: left out" in capsys.readouterr().out
