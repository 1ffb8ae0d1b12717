"""The three stages as one command with real parts: killed, resumed, skipped, refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.checkout import ROOT
from tests.trainer.conftest import GrpoFlags, write_rows
from tests.waiting import kill_when_there
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.config import parse_config
from touchstone_rewards.trainer.data.kept_samples import read_samples
from touchstone_rewards.trainer.data.rows import PromptArguments, load_rows, with_prompts
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.limr.command import (
    COMPARED,
    LimrConfigs,
    LimrPlan,
    WorkflowArguments,
    make_plan,
    ppo_stage,
    selection_stage,
    third_stage,
)
from touchstone_rewards.trainer.toy.arithmetic import Problem
from touchstone_rewards.trainer.workflow.stages import Stage, run_stage

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def limr_flags(grpo_flags: GrpoFlags, rows_file: Path) -> list[str]:
    """Flags of a PPO run with rewards by rule; the profile dummy gives rewards of every size."""
    chosen = [flag for flag in grpo_flags("") if not flag.startswith("--reward_url")]
    rule = ["--limr.enabled=true", f"--limr.ground_truth_dataset={rows_file}"]
    return [*chosen, *rule, "--critic_learning_rate=1e-2"]


def test_ppo_by_rule_asks_no_server_and_keeps_every_sample(
    limr_flags: list[str], tmp_path: Path
) -> None:
    assert main(["ppo", *limr_flags]) == 0
    samples = list(read_samples(tmp_path / "run" / "samples"))
    assert Counter(sample.step for sample in samples) == {1: 8, 2: 8, 3: 8}
    assert all(sample.reward is not None and -1 <= sample.reward <= 1 for sample in samples)
    assert {sample.group for sample in samples} <= {f"a{n}" for n in range(6)}
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["fingerprints"] == {"dummy": samples[0].fingerprint}
    assert (tmp_path / "run" / "critic.safetensors").is_file()


def test_samples_go_where_it_says_and_every_second_step_only(
    limr_flags: list[str], tmp_path: Path
) -> None:
    store = tmp_path / "elsewhere"
    more = [f"--limr.save_samples_path={store}", "--limr.save_every_n_steps=2", "--max_steps=4"]
    assert main(["ppo", *limr_flags, *more]) == 0
    assert {sample.step for sample in read_samples(store)} == {2, 4}


def test_where_nothing_could_be_scored_policy_and_critic_stay_as_they_are(
    limr_flags: list[str], tiny_model: Path, tmp_path: Path
) -> None:
    """No ground truth can be read, so two updates with weight decay do not change a bit."""
    truths = write_rows(tmp_path / "t.jsonl", [{"id": f"a{n}", "answer": ""} for n in range(6)])
    flags = [f"--limr.ground_truth_dataset={truths}", "--reward_profile=math", "--max_steps=2"]
    assert main(["ppo", *limr_flags, *flags, "--weight_decay=0.5"]) == 0
    samples = list(read_samples(tmp_path / "run" / "samples"))
    assert {sample.reward for sample in samples} == {None}
    assert {(sample.error or {})["code"] for sample in samples} == {"bad_ground_truth"}
    before = load_file(tiny_model / "model.safetensors")
    after = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    critic = load_file(tmp_path / "run" / "critic.safetensors")
    assert all(float(each.abs().max()) == 0 for each in critic.values())


def test_a_run_killed_after_its_last_update_makes_no_update_more(
    limr_flags: list[str], tmp_path: Path
) -> None:
    """Run two of the three updates of an epoch; transformers would continue with the third."""
    flags = [*limr_flags, "--max_steps=2", "--save_strategy=steps", "--save_steps=2"]
    assert main(["ppo", *flags]) == 0
    (tmp_path / "run" / "model.safetensors").unlink()
    assert main(["ppo", *flags, "--resume_from_checkpoint=true"]) == 0
    assert {sample.step for sample in read_samples(tmp_path / "run" / "samples")} == {1, 2}
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    assert state["global_step"] == 2
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_a_checkpoint_that_was_only_half_written_is_not_resumed_from(
    limr_flags: list[str], tmp_path: Path
) -> None:
    flags = [*limr_flags, "--save_strategy=steps", "--save_steps=1"]
    assert main(["ppo", *flags, "--max_steps=2"]) == 0
    (tmp_path / "run" / "checkpoint-2" / "trainer_state.json").write_text('{"global_st')
    assert main(["ppo", *flags, "--max_steps=3", "--resume_from_checkpoint=true"]) == 0
    steps = Counter(sample.step for sample in read_samples(tmp_path / "run" / "samples"))
    assert steps == {1: 8, 2: 8, 3: 8}


def test_remote_rewards_come_from_the_url_of_the_section(
    server: LiveServer, grpo_flags: GrpoFlags, tmp_path: Path
) -> None:
    flags = [flag for flag in grpo_flags("") if not flag.startswith("--reward_url")]
    config = tmp_path / "ppo.yaml"
    section = {"enabled": True, "reward_type": "remote", "reward_url": server.url}
    config.write_text(yaml.safe_dump({"limr": section}))
    assert main(["ppo", "--config", str(config), *flags]) == 0
    assert len(list(read_samples(tmp_path / "run" / "samples"))) == 24


def test_without_the_section_rewards_come_from_a_server(
    server: LiveServer, grpo_flags: GrpoFlags, tmp_path: Path
) -> None:
    assert main(["ppo", *grpo_flags(server.url), "--limr.enabled=false"]) == 0
    assert len(list(read_samples(tmp_path / "run" / "samples"))) == 24


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--limr.ground_truth_dataset="], "needs limr.ground_truth_dataset"),
        (["--limr.reward_type=remote"], "remote needs limr.reward_url"),
        (["--limr.reward_url=http://127.0.0.1:1"], "rule uses no server"),
        (["--limr.reward_type=best"], "must be rule or remote"),
        (["--limr.reward_correct=-1"], "must be more than limr.reward_incorrect"),
        (["--limr.save_every_n_steps=0"], "must be at least 1"),
        (["--reward_url=http://127.0.0.1:1"], "leave out reward_url"),
        (["--limr.reward_typ=rule"], "did you mean 'reward_type'"),
        (["--eval_strategy=steps"], "has no answers for evaluation rows"),
        (
            ["--limr.reward_type=remote", "--limr.reward_url=http://127.0.0.1:1"],
            "ground_truth_dataset has no effect with limr.reward_type remote",
        ),
    ],
)
def test_combinations_that_cannot_work_refuse_to_start_and_say_why(
    limr_flags: list[str], flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ppo", *limr_flags, *flags]) == 2
    assert message in capsys.readouterr().err


def test_a_training_row_without_a_ground_truth_refuses_to_start(
    limr_flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truths = write_rows(tmp_path / "some.jsonl", [{"id": f"a{n}", "answer": "1"} for n in range(5)])
    assert main(["ppo", *limr_flags, f"--limr.ground_truth_dataset={truths}"]) == 2
    assert "no answer for 1 of 6 training rows, such as id 'a5'" in capsys.readouterr().err


@pytest.fixture
def workflow(tmp_path: Path, tiny_model: Path, problems: list[Problem]) -> dict[str, Any]:
    """Eight prompts, of which two are drawn per step: an epoch is four steps."""
    rows = [
        {"id": f"a{n}", "prompt": each.prompt, "ground_truth": each.ground_truth}
        for n, each in enumerate(problems[:8])
    ]
    data = str(write_rows(tmp_path / "train.jsonl", rows))
    return {
        "output": str(tmp_path / "limr"),
        "num_devices": 1,
        "ppo": {
            "model_name_or_path": str(tiny_model),
            "dataset_name": data,
            "reward_profile": "dummy",
            "limr": {"enabled": True, "ground_truth_dataset": data, "reward_incorrect": 0.0},
            "per_device_train_batch_size": 8,
            "num_generations": 4,
            "max_completion_length": 4,
            "max_steps": 7,
            "save_steps": 2,
            "learning_rate": 1e-3,
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "report_to": "none",
            "disable_tqdm": True,
        },
        "lim": {"value": "reward", "keep": 4, "min_coverage": 0.0},
        "third": {"max_steps": 3, "save_steps": 2},
        "eval": {"dataset": data, "profile": "dummy", "max_new_tokens": 4},
    }


def start(config: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "touchstone_rewards.trainer", "limr", "--config", str(config)],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_when(config: Path, *there: Path) -> None:
    """Run the workflow until these files exist, then `kill -9` the main process only, as the kernel
    would."""
    kill_when_there(start(config), *there)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_workflow_goes_on_after_kills_and_skips_what_is_complete(
    workflow: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Kill the run in the middle of PPO, then in the middle of the third stage."""
    output, config = Path(workflow["output"]), tmp_path / "limr.yaml"
    config.write_text(yaml.safe_dump(workflow))
    kill_when(config, output / "1_ppo" / "checkpoint-4" / "trainer_state.json")
    assert not (output / "1_ppo" / "done.json").exists()
    kill_when(config, output / "3_lim" / "checkpoint-2" / "trainer_state.json")
    assert not (output / "3_lim" / "done.json").exists()
    assert main(["limr", "--config", str(config)]) == 0
    said = capfd.readouterr().out
    assert "What this means:" in said
    assert "this is not evidence about LIM" in said.replace("\n", " ")
    assert "1_ppo: complete, skipped" in said
    assert "2_lim: complete, skipped" in said
    steps = Counter(sample.step for sample in read_samples(output / "1_ppo" / "samples"))
    assert steps == dict.fromkeys(range(1, 8), 8)  # none lost, none twice
    state = json.loads((output / "1_ppo" / "trainer_state.json").read_text())
    assert state["global_step"] == 7
    table = json.loads((output / "table.json").read_text())
    assert table.keys() == {"start", "full", "lim"}
    kept = (output / "2_lim" / "selected.jsonl").read_text().splitlines()
    assert len(kept) == 4
    used = {sample.group for sample in read_samples(output / "3_lim" / "samples")}
    assert used <= {json.loads(line)["id"] for line in kept}
    assert main(["limr", "--config", str(config)]) == 0
    assert capfd.readouterr().out.count("complete, skipped") == 6


@pytest.mark.parametrize("name", ["random", "linear"])
def test_what_a_selection_is_compared_with_has_its_size(
    workflow: dict[str, Any], tmp_path: Path, name: str
) -> None:
    store = tmp_path / "1_ppo" / "samples"
    store.mkdir(parents=True)
    lines = [
        {"id": f"a{n}/0", "group": f"a{n}", "reward": float(n > 3 - e), "step": 1, "epoch": e}
        for n in range(8)
        for e in range(4)
    ]
    write_rows(store / "samples_step_1.jsonl", lines)
    lim = {"threshold": 0.9, "method": "lim"}
    plan = LimrPlan(WorkflowArguments(output=str(tmp_path)), tmp_path, workflow["ppo"], lim, {}, {})
    folder = run_stage(tmp_path, selection_stage(plan, name, {**COMPARED[name], "keep": 3}))
    assert len((folder / "selected.jsonl").read_text().splitlines()) == 3


def test_a_selection_is_made_anew_where_the_samples_have_changed(
    workflow: dict[str, Any], tmp_path: Path
) -> None:
    store = tmp_path / "1_ppo" / "samples"
    store.mkdir(parents=True)
    line = {"id": "a0/0", "group": "a0", "reward": 1.0, "step": 1, "epoch": 0}
    write_rows(store / "samples_step_1.jsonl", [line])
    lim = {"method": "mean_reward", "threshold": 0.5}
    plan = LimrPlan(WorkflowArguments(output=str(tmp_path)), tmp_path, workflow["ppo"], lim, {}, {})
    run_stage(tmp_path, selection_stage(plan, "lim", {}))
    write_rows(store / "samples_step_2.jsonl", [{**line, "step": 2}])
    with pytest.raises(InputError, match=r"\(content of samples\)"):
        run_stage(tmp_path, selection_stage(plan, "lim", {}))


def test_the_third_stage_has_the_first_ones_model_with_its_lora(
    workflow: dict[str, Any], tmp_path: Path
) -> None:
    lora = {"use_peft": True, "lora_r": 4, "lora_target_modules": ["q_proj"], "dtype": "float32"}
    ppo = {**workflow["ppo"], **lora, "learning_rate": 1.0}
    ppo["model_id"] = ppo.pop("model_name_or_path")
    theirs = {"finetuning_type": "lora", "lora_rank": 8, "lora_target": "q_proj"}
    whole = LimrPlan(
        WorkflowArguments(output=str(tmp_path), third_stage="sft"),
        tmp_path,
        ppo | theirs,
        *[{}] * 3,
    )
    assert theirs.items() <= third_stage(whole, "lim", tmp_path / "2_lim").fields.items()
    arguments = WorkflowArguments(output=str(tmp_path), third_stage="sft")
    stage = third_stage(LimrPlan(arguments, tmp_path, ppo, {}, {}, {}), "lim", tmp_path / "2_lim")
    assert lora.items() <= stage.fields.items()
    assert stage.fields["model_name_or_path"] == ppo["model_id"]
    assert "learning_rate" not in stage.fields
    assert "num_generations" not in stage.fields
    going_on = {"adapter_name_or_path": str(tmp_path / "1_ppo")}
    plan = LimrPlan(arguments, tmp_path, ppo, {}, going_on, {})
    assert "use_peft" not in third_stage(plan, "lim", tmp_path / "2_lim").fields
    rl = LimrPlan(WorkflowArguments(output=str(tmp_path)), tmp_path, ppo, {}, {}, {})
    assert lora.items() <= third_stage(rl, "lim", tmp_path / "2_lim").fields.items()


def test_where_a_selection_has_prompts_as_sampled_they_are_not_made_again(
    workflow: dict[str, Any], tmp_path: Path
) -> None:
    """For a hub dataset the selection keeps the samples' own data, with whole prompts."""
    made = {"system_prompt": "Think.", "question_column": "question", "ground_truth_column": "a"}
    arguments = WorkflowArguments(output=str(tmp_path))
    for name, there in ((workflow["ppo"]["dataset_name"], True), ("hub/data", False)):
        ppo = {**workflow["ppo"], **made, "dataset_name": name}
        plan = LimrPlan(arguments, tmp_path, ppo, {}, {}, {})
        fields = third_stage(plan, "lim", tmp_path / "2_lim").fields
        assert (made.items() <= fields.items()) is there
        assert ("system_prompt" in fields) is there


def limr_plan(*flags: str) -> LimrPlan:
    config = ["--config", str(ROOT / "trainer" / "configs" / "limr.yaml"), *flags]
    return make_plan(*parse_config(LimrConfigs, config, "trainer limr"))


def test_limrs_own_file_is_asked_as_limr_asks(shared_data: Path) -> None:
    data = str(shared_data / "limr_math_8k.json")
    plan = limr_plan("--data", data)
    fields = ppo_stage(plan).fields
    assert fields["dataset_name"] == fields["limr"]["ground_truth_dataset"] == data
    prompts = PromptArguments(
        question_column=fields["question_column"], system_prompt=fields["system_prompt"]
    )
    rows = with_prompts(load_rows(data), prompts)
    source = json.loads(Path(data).read_text())
    assert len(rows) == len(set(rows["id"])) == 8523
    box = r"Please reason step by step, and put your final answer within \boxed{}."
    assert rows[7]["prompt"] == [
        {"role": "system", "content": box},
        {"role": "user", "content": source[7]["prompt"]},
    ]
    assert selection_stage(plan, "lim", {}).fields["dataset"] == data


def test_where_limrs_file_is_missing_it_says_where_it_comes_from() -> None:
    with pytest.raises(InputError, match=r"give --data the path of your copy.*GAIR-NLP/LIMR"):
        limr_plan()


def test_a_typo_in_a_later_stage_stops_before_the_first(
    workflow: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workflow["third"]["learning_rat"] = 1e-5
    config = tmp_path / "limr.yaml"
    config.write_text(yaml.safe_dump(workflow))
    assert main(["limr", "--config", str(config)]) == 2
    assert "3_lim: unknown key 'learning_rat'" in capsys.readouterr().err
    assert not (tmp_path / "limr").exists()


@pytest.mark.long
def test_the_third_stage_may_be_sft_on_the_right_responses(
    workflow: dict[str, Any], tmp_path: Path
) -> None:
    chosen = tmp_path / "2_lim"
    chosen.mkdir()
    rows = [{"id": "a0", "prompt": "1 plus 1 is", "response": " 2."}] * 4
    write_rows(chosen / "sft.jsonl", rows)
    third = {"max_steps": 2, "learning_rate": 1e-3, "max_length": 32, "save_strategy": "no"}
    plan = LimrPlan(
        WorkflowArguments(output=str(tmp_path), third_stage="sft", num_devices=1),
        tmp_path,
        workflow["ppo"],
        {},
        {**third, "per_device_train_batch_size": 2},
        {},
    )
    stage = third_stage(plan, "lim", chosen)
    assert stage.command == "sft"
    folder = run_stage(tmp_path, stage)
    assert json.loads((folder / "trainer_state.json").read_text())["global_step"] == 2
    facts = json.loads((folder / "run.json").read_text())
    assert facts["fields"]["dataset_name"] == [str(chosen / "sft.jsonl")]
    assert facts["fields"]["model_name_or_path"] == workflow["ppo"]["model_name_or_path"]


@pytest.mark.long
def test_on_several_devices_a_stage_is_launched_on_all_and_keeps_the_samples_of_all(
    workflow: dict[str, Any], tmp_path: Path
) -> None:
    """Two processes of one prompt each; a process counts as a device."""
    fields = {**workflow["ppo"], "per_device_train_batch_size": 4, "max_steps": 2}
    fields |= {"output_dir": str(tmp_path / "1_ppo"), "save_strategy": "no"}
    made = ("model.safetensors",)
    run_stage(tmp_path, Stage("1_ppo", "ppo", fields, makes=made, trains=True, devices=2))
    samples = list(read_samples(tmp_path / "1_ppo" / "samples"))
    assert Counter(sample.step for sample in samples) == {1: 8, 2: 8}
    assert len({(sample.step, sample.id) for sample in samples}) == 16


@pytest.mark.long
def test_a_stage_of_other_settings_is_not_taken_for_this_one(
    workflow: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(workflow["output"]) / "1_ppo"
    folder.mkdir(parents=True)
    (folder / "done.json").write_text('{"digest": "of something else"}')
    config = tmp_path / "limr.yaml"
    config.write_text(yaml.safe_dump(workflow))
    assert main(["limr", "--config", str(config)]) == 2
    assert "was made with other settings or data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output=x", "--third_stage=dpo"], "must be rl or sft"),
        (["--output=x", "--compare", "best"], "may contain random, linear"),
        (["--output=x"], "needs a section ppo"),
        (["--ppo.max_steps=1"], "--output is missing"),
    ],
)
def test_a_workflow_that_cannot_work_is_refused(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["limr", *flags]) == 2
    assert message in capsys.readouterr().err
