"""A stage continues only with its original settings, whenever it was stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.toy.word_problems import make_word_problems
from touchstone_rewards.trainer.workflow import stages
from touchstone_rewards.trainer.workflow.inputs import inputs_of
from touchstone_rewards.trainer.workflow.stages import Stage, mark_done, run_stage


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    for name in ("rows.jsonl", "truths.jsonl"):
        (tmp_path / name).write_text("{}\n")
    base = tmp_path / "base"
    base.mkdir()
    (base / "model.safetensors").write_text("weights")
    fields: dict[str, Any] = {
        "model_name_or_path": str(base),
        "dataset_name": str(tmp_path / "rows.jsonl"),
        "learning_rate": 1e-5,
        "limr": {"ground_truth_dataset": str(tmp_path / "truths.jsonl"), "reward_correct": 1.0},
    }
    return Stage("1_ppo", "ppo", fields, makes=("model.safetensors",))


@pytest.fixture
def killed(tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the output of a stage that was killed while it trained."""

    def interrupted(stage: Stage, words: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "run_here", interrupted)
    output = tmp_path / "out"
    output.mkdir()
    with pytest.raises(KeyboardInterrupt):
        run_stage(output, stage)
    (output / "1_ppo" / "checkpoint-4").mkdir()

    def whole(stage: Stage, words: list[str]) -> int:
        (output / stage.name / "model.safetensors").write_text("trained")
        return 0

    monkeypatch.setattr(stages, "run_here", whole)
    return output


def test_a_killed_stage_goes_on_with_the_same_settings(killed: Path, stage: Stage) -> None:
    folder = run_stage(killed, stage)
    assert (folder / "checkpoint-4").is_dir()
    assert (folder / "done.json").is_file()
    run_stage(killed, stage)


@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"learning_rate": 1e-4}, r"\(learning_rate\)"),
        ({"limr": {"reward_correct": 2.0}}, r"\(limr, content of limr.ground_truth_dataset\)"),
        ({"new": 1}, r"\(new\)"),
        ("rows.jsonl", r"\(content of dataset_name\)"),
        ("truths.jsonl", r"\(content of limr.ground_truth_dataset\)"),
        ("base/model.safetensors", r"\(content of model_name_or_path\)"),
        ("base/tokenizer.json", r"\(content of model_name_or_path\)"),
    ],
)
def test_a_stage_that_is_edited_is_refused_by_name(
    killed: Path, stage: Stage, change: dict[str, Any] | str, said: str, complete: bool
) -> None:
    if complete:
        run_stage(killed, stage)
    if isinstance(change, str):
        (killed.parent / change).write_text('{"another": 1}\n')
        changed = stage
    else:
        changed = replace(stage, fields={**stage.fields, **change})
    with pytest.raises(InputError, match=f"other settings or data {said}"):
        run_stage(killed, changed)
    assert (killed / "1_ppo" / "checkpoint-4").is_dir()
    folder = run_stage(killed, changed, restart_changed=True)
    assert not (folder / "checkpoint-4").exists()
    run_stage(killed, changed)
    if changed is not stage:
        with pytest.raises(InputError, match="other settings"):
            run_stage(killed, stage)


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        ({"dataset_id": "rows.jsonl"}, "content of dataset_id"),
        ({"data_path": "rows.jsonl"}, "content of data_path"),
        ({"model_id": "base"}, "content of model_id"),
        ({"dataset_name": ["rows.jsonl", "truths.jsonl"]}, "content of dataset_name"),
        ({"dataset_name": "*.jsonl"}, "content of dataset_name"),
        ({"adapter_name_or_path": "base"}, "content of adapter_name_or_path"),
        ({"reward_model": "base"}, "content of reward_model"),
        ({"some_file": "rows.jsonl"}, "content of some_file"),
        ({"a": {"b": ["rows.jsonl"]}}, "content of a.b"),
    ],
)
def test_a_changed_input_is_seen_under_whatever_name_it_was_given(
    tmp_path: Path, fields: dict[str, Any], changed: str
) -> None:
    def named(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: named(each) for key, each in value.items()}
        each = [str(tmp_path / one) for one in ([value] if isinstance(value, str) else value)]
        return each if isinstance(value, list) else each[0]

    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "truths.jsonl").write_text("{}\n")
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "adapter_model.safetensors").write_text("weights")
    before = inputs_of(named(fields))
    assert before.keys() == {changed}
    (tmp_path / "rows.jsonl").write_text('{"new": 1}\n')
    (tmp_path / "base" / "adapter_model.safetensors").write_text("others")
    assert inputs_of(named(fields)) != before


def test_a_changed_data_set_of_a_registry_is_seen(tmp_path: Path) -> None:
    info = {"mine": {"file_name": "mine.json"}, "other": {"file_name": "other.json"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    for name in ("mine", "other"):
        (tmp_path / f"{name}.json").write_text("[]")
    fields = {"ppo": {"dataset": "mine, absent", "dataset_dir": str(tmp_path)}}
    before = inputs_of(fields)
    assert before.keys() == {"content of ppo.dataset_dir"}
    (tmp_path / "other.json").write_text("[1]")
    assert inputs_of(fields) == before
    (tmp_path / "mine.json").write_text("[1]")
    assert inputs_of(fields) != before


def test_what_a_stage_writes_is_none_of_its_inputs(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text("made by the stage")
    assert not inputs_of({"output_dir": str(path), "save_samples_path": str(path)})
    assert not inputs_of({"output_file": str(path), "learning_rate": 1e-5, "report_to": "none"})


def test_what_a_run_leaves_beside_a_base_model_changes_nothing(killed: Path, stage: Stage) -> None:
    base = killed.parent / "base"
    (base / "run.json").write_text("{}")
    (base / "checkpoint-2").mkdir()
    (base / "checkpoint-2" / "model.safetensors").write_text("older")
    (killed.parent / "rows.jsonl").touch()
    run_stage(killed, stage)


def test_a_hidden_field_changes_nothing(killed: Path, stage: Stage) -> None:
    run_stage(killed, replace(stage, hidden={"reward_url": ["http://other"]}))


def test_a_saved_data_set_is_known_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    fields = {"dataset_name": str(tmp_path / "rows"), "reward_profile": str(tmp_path)}
    before = inputs_of(fields)
    (tmp_path / "rows" / "data-0.arrow").write_text("x")
    assert before.keys() == {"content of dataset_name"}
    assert inputs_of(fields) != before


def test_word_problems_of_another_seed_are_not_taken_for_these(tmp_path: Path) -> None:
    mark_done(tmp_path, "3")
    make_word_problems(tmp_path, 3)
    with pytest.raises(InputError, match="other settings or data"):
        make_word_problems(tmp_path, 4)
