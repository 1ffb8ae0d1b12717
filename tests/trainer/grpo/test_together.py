"""A failure on one rank ends all ranks with one line; dates and NaN are no failure."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import Dataset

from tests.checkout import ROOT
from tests.trainer.conftest import GrpoFlags
from tests.waiting import PATIENCE_S
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.data.kept_samples import KeptSample, SampleWriter, read_samples
from touchstone_rewards.trainer.data.rows import PromptArguments
from touchstone_rewards.trainer.errors import InputError, RunFailed
from touchstone_rewards.trainer.grpo.command import prepare_rows
from touchstone_rewards.trainer.rewards import RewardArguments, together

SCRIPT = """
from pathlib import Path
from types import SimpleNamespace
from accelerate import Accelerator
from touchstone_rewards.trainer.errors import RunFailed
from touchstone_rewards.trainer.grpo.learning import LearningArguments
from touchstone_rewards.trainer.grpo.trainer import GrpoTrainer
from touchstone_rewards.trainer.rewards import together

accelerator = Accelerator(cpu=True)
rank = accelerator.process_index
failure = ""
try:
    with together():
        if rank == 1:
            raise TypeError("no form for a Picture")
except RunFailed as error:
    failure = str(error)
trainer = SimpleNamespace(
    accelerator=accelerator,
    learning=LearningArguments(curriculum=True),
    samples=Path("samples" if rank == 0 else "elsewhere"),  # a disk of its own
    train_dataset={"id": ["a", "b"]},
)
trainer._known_rows = lambda epoch: GrpoTrainer._known_rows(trainer, epoch)
Path(f"{rank}.txt").write_text(f"{failure}\\n{GrpoTrainer._records(trainer, 1)}")
accelerator.state.destroy_process_group()
"""


def in_two_processes(folder: Path, script: str) -> list[str]:
    """Return the output of the script on each of two ranks."""
    (folder / "script.py").write_text(script)
    launch = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    done = subprocess.run(
        [sys.executable, *launch, "script.py"],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [(folder / f"{rank}.txt").read_text() for rank in (0, 1)]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """Return how each of two ranks failed, and its records of the rows; only rank 0 has samples."""
    folder = tmp_path_factory.mktemp("two_ranks")
    rewards = [("a", 1.0), ("a", 0.0)]
    samples = [
        KeptSample(f"{group}/{n}", "?", "!", reward, {}, 1, 0.5, group, None)
        for n, (group, reward) in enumerate(rewards)
    ]
    SampleWriter(folder / "samples").write_batch(1, samples)
    return [text.splitlines() for text in in_two_processes(folder, SCRIPT)]


@pytest.mark.long
def test_one_rank_that_fails_ends_both(said: list[list[str]]) -> None:
    assert [failure for failure, _ in said] == ["TypeError: no form for a Picture"] * 2


@pytest.mark.long
def test_ranks_without_a_shared_disk_choose_their_rows_by_the_same_samples(
    said: list[list[str]],
) -> None:
    assert [records for _, records in said] == ["[Record(mean=0.5, equal_in_a_row=0), None]"] * 2


def test_a_rank_alone_goes_on_or_says_what_failed() -> None:
    with together():
        pass
    with pytest.raises(RunFailed, match=r"^the key$"), together():
        raise RunFailed("the key")


def test_dates_and_nan_in_metadata_end_no_run(
    server: LiveServer, grpo_flags: GrpoFlags, tmp_path: Path
) -> None:
    rows = [
        {"id": str(n), "prompt": f"{n}+1=", "ground_truth": str(n), "difficulty": float("nan")}
        for n in range(4)
    ]
    rows = [row | {"made": date(2026, 11, 30)} for row in rows]
    Dataset.from_list(rows).to_parquet(tmp_path / "rows.parquet")
    columns = ["--metadata_columns", "difficulty", "made"]
    fields: dict[str, Any] = {"dataset_name": tmp_path / "rows.parquet", "max_steps": 1}
    assert main(["grpo", *grpo_flags(server.url, **fields), *columns]) == 0
    kept = list(read_samples(tmp_path / "run" / "samples"))
    assert len(kept) == 8
    assert all(each.metadata == {"difficulty": None, "made": "2026-11-30"} for each in kept)


def test_media_are_refused_before_the_run() -> None:
    features = datasets.Features(
        {name: datasets.Value("string") for name in ("id", "prompt", "ground_truth")}
        | {"picture": datasets.Image()}
    )
    row = {"id": "1", "prompt": "?", "ground_truth": "1", "picture": None}
    rows = Dataset.from_list([row], features=features)
    with pytest.raises(InputError, match="picture holds media"):
        prepare_rows(rows, PromptArguments(), RewardArguments(metadata_columns=["picture"]))
