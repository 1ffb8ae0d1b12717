"""A run is overwritten only on request, and its replacement leaves none of its files behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.trainer.conftest import write_rows
from tests.trainer.sorting import Sorting, make_sorting
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.running.earlier_run import claim_output, remove_run

LORA = {"use_peft": True, "lora_target_modules": "q_proj"}


@pytest.fixture(scope="module")
def sorting(tmp_path_factory: pytest.TempPathFactory) -> Sorting:
    return make_sorting(tmp_path_factory.mktemp("sorting"))


def earlier(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    return folder


def claim(output: Path, *reads: str, resuming: bool = False, overwrite: bool = False) -> None:
    claim_output(output, reads, resuming=resuming, overwrite=overwrite)


@pytest.mark.parametrize(
    "left",
    [
        "model.safetensors",
        "adapter_config.json",
        "pytorch_model.bin",
        "checkpoint-5/trainer_state.json",
        "samples/samples_step_1.jsonl",
    ],
)
def test_what_a_run_is_lost_with_is_refused_unless_it_is_gone_on_with_or_replaced(
    tmp_path: Path, left: str
) -> None:
    folder = earlier(tmp_path / "run", left, "run.json")
    with pytest.raises(InputError, match="replace it with --overwrite true, or choose another"):
        claim(folder)
    claim(folder, resuming=True)
    claim(folder, overwrite=True)
    assert (folder / left).exists()  # a command may still be refused: nothing is lost by then
    remove_run(folder)
    assert not list(folder.rglob("*.*"))


def test_only_what_runs_write_is_removed(tmp_path: Path) -> None:
    mine = ("notes.txt", "eval/results.jsonl", "data.jsonl", "lm_eval.json")
    folder = earlier(tmp_path / "run", "run.json", "model.safetensors", "tokenizer.json", *mine)
    remove_run(folder)
    left = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert left == set(mine)


def test_a_model_that_no_run_wrote_and_what_a_run_starts_from_are_never_replaced(
    tmp_path: Path,
) -> None:
    model = earlier(tmp_path / "model", "config.json", "model.safetensors")
    with pytest.raises(InputError, match="no run of `trainer` wrote it"):
        claim(model, overwrite=True)
    with pytest.raises(InputError, match="is an input of the run"):
        claim(model, str(model), overwrite=True)
    run = earlier(tmp_path / "run", "run.json", "checkpoint-5/model.safetensors")
    with pytest.raises(InputError, match="would be overwritten, but it is an input of the run"):
        claim(run, str(run / "checkpoint-5"), overwrite=True)


def test_a_crash_before_anything_was_learnt_does_not_stand_in_the_way(tmp_path: Path) -> None:
    claim(earlier(tmp_path / "run", "run.json", "config.json"))


@pytest.mark.parametrize("command", ["sft", "dpo", "rm"])
def test_a_full_run_over_a_lora_run_is_refused_then_leaves_no_adapter(
    sorting: Sorting, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    rows: list[dict[str, Any]] = [
        {**row, "response": row["chosen"]} if command == "sft" else dict(row)
        for row in sorting.pairs[:8]
    ]
    data = write_rows(tmp_path / "rows.jsonl", rows)
    out = tmp_path / "out"
    fields = {"dataset_name": data, "max_steps": 1, "per_device_train_batch_size": 4}
    if command == "rm":
        fields["save_predictions"] = True
    assert main([command, *sorting.flags(out, **fields, **LORA)]) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert any(path.name == "adapter_config.json" for path in before)
    assert main([command, *sorting.flags(out, **fields)]) == 2
    assert "holds an earlier run" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert main([command, *sorting.flags(out, **fields, overwrite=True)]) == 0
    assert (out / "model.safetensors").is_file()
    assert not list(out.rglob("adapter*"))
