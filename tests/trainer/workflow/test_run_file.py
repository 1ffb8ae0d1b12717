"""`trainer run FILE.yaml`: a LLaMA-Factory file trains by the stage that it names."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from tests.trainer.conftest import write_rows
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.config import parse_config
from touchstone_rewards.trainer.data.chat_templates import PROMPTS, chat_template_file
from touchstone_rewards.trainer.data.kept_samples import read_samples
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.sft import SftConfigs
from touchstone_rewards.trainer.workflow.run_file import nested, pairs_of, translated

QUICK = {"max_steps": 1, "logging_steps": 1, "report_to": "none", "use_cpu": True}


def file_of(folder: Path, **content: Any) -> str:
    path = folder / "file.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return str(path)


@pytest.fixture
def their_data(tmp_path: Path) -> Path:
    """Make a folder `data` with a registry: answers and pairs."""
    folder = tmp_path / "data"
    folder.mkdir()
    answers = [
        {"id": f"a{n}", "instruction": f"{n} + 1?", "input": "", "output": str(n + 1)}
        for n in range(4)
    ]
    pairs = [{"q": f"{n} + 1?", "good": str(n + 1), "bad": "no"} for n in range(4)]
    write_rows(folder / "answers.jsonl", answers)
    write_rows(folder / "pairs.jsonl", pairs)
    columns = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    entries = {
        "answers": {"file_name": "answers.jsonl"},
        "pairs": {"file_name": "pairs.jsonl", "ranking": True, "columns": columns},
    }
    (folder / "dataset_info.json").write_text(json.dumps(entries))
    return folder


def test_what_the_file_leaves_out_means_what_it_means_there(tmp_path: Path) -> None:
    given = {"stage": "sft", "model_name_or_path": "m", "dataset": "a", "bf16": False}
    done = translated({**given, "lora_rank": 4}, "f.yaml")
    words = [word for word in done.words if not word.startswith("--use_cpu")]
    configs = parse_config(SftConfigs, [*words, "--use_cpu=true"], "trainer sft")
    found = {name: value for config in configs for name, value in vars(config).items()}
    expected = {
        "use_peft": True,
        "lora_r": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.0,
        "lora_target_modules": "all-linear",
        "max_length": 2048,
        "learning_rate": 5e-5,
        "per_device_train_batch_size": 8,
        "num_train_epochs": 3.0,
        "logging_steps": 500,
        "gradient_checkpointing": True,
        "dataset_dir": "data",
    }
    assert {name: found[name] for name in expected} == expected


def test_what_it_says_in_either_project_s_words_takes_the_place_of_a_default() -> None:
    given = {"stage": "sft", "max_length": 7, "gradient_checkpointing": False, "use_peft": False}
    words = translated(given, "f.yaml").words
    assert {"--max_length=7", "--gradient_checkpointing=false", "--use_peft=false"} <= set(words)
    assert "--max_length=2048" not in words


def test_what_other_stages_read_is_said_and_changes_nothing() -> None:
    given = {
        "stage": "sft",
        "temperature": 0.5,
        "ppo_epochs": 4,
        "num_generations": 2,
        "dataset": "a",
    }
    done = translated(given, "f.yaml")
    assert done.said == [
        "ppo_epochs: no action needed (only `trainer ppo` reads it)",
        "temperature: no action needed (only `trainer ppo` reads it)",
        "num_generations: no action needed (only `trainer ppo` reads it)",
    ]
    assert not any(word.startswith(("--temp", "--num_gen", "--num_it")) for word in done.words)


def test_an_adapter_that_is_gone_on_with_gets_no_second_one() -> None:
    given = {"stage": "dpo", "adapter_name_or_path": "a", "lora_rank": 3}
    words = translated(given, "f.yaml").words
    assert "--adapter_name_or_path=a" in words
    assert not any(word.startswith(("--use_peft", "--lora_")) for word in words)


def test_keys_of_a_section_reach_it_from_the_file_and_the_command_line() -> None:
    given = {
        "stage": "ppo",
        "limr": {"enabled": True, "reward_type": "rule"},
        "limr.enabled": False,
    }
    assert nested(given)["limr"] == {"enabled": False, "reward_type": "rule"}
    words = translated(given, "f.yaml").words
    assert {"--limr.enabled=false", "--limr.reward_type=rule"} <= set(words)
    assert pairs_of(["a=1e-4", "--b", "x", "--c=true", "--d", "1", "2"]) == {
        **{"a": "1e-4", "b": "x", "c": True, "d": "1 2"},
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"stage": "kto"}, "stage: kto is not supported; use dpo, on pairs"),
        ({"stage": "pt"}, "stage: pt is not supported; use sft on rows of `text`"),
        ({"stage": "sftt"}, "stage must be one of sft, rm, dpo, ppo, grpo, not 'sftt'"),
        ({"learning_rate": 1}, "has no stage, which must be one of sft"),
        ({"export_dir": "x"}, "exports a model: use `trainer merge`"),
        ({"infer_backend": "vllm"}, "serves a model"),
        (
            {"stage": "sft", "use_badam": True, "pissa_init": True},
            "use_badam: true.*\n.*pissa_init",
        ),
        ({"stage": "ppo", "reward_model": "nowhere"}, "reward_model: no folder at nowhere"),
    ],
)
def test_what_is_not_here_is_named_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: dict[str, Any], reason: str
) -> None:
    assert main(["run", file_of(tmp_path, **content)]) == 2
    assert re.search(reason, capsys.readouterr().err)


def test_a_file_and_nothing_before_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run"]) == 2
    assert "usage: trainer run FILE.yaml" in capsys.readouterr().err
    with pytest.raises(InputError, match="expected --key value"):
        pairs_of(["word"])
    assert main(["run", "--help"]) == 0
    assert "usage: trainer run FILE.yaml [--key value ...]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("stage", "dataset", "made"),
    [
        ("sft", "answers", "adapter_model.safetensors"),
        ("dpo", "pairs", "adapter_model.safetensors"),
        ("rm", "pairs", "model.safetensors"),
    ],
)
def test_a_file_of_each_stage_trains(
    tiny_model: Path, their_data: Path, tmp_path: Path, stage: str, dataset: str, made: str
) -> None:
    content = {
        **{"stage": stage, "model_name_or_path": str(tiny_model), "dataset": dataset},
        **{"dataset_dir": str(their_data), "template": "qwen", "do_train": True, "lora_rank": 2},
        **{"plot_loss": True, "overwrite_cache": True, "output_dir": str(tmp_path / "run")},
    }
    assert main(["run", file_of(tmp_path, **content, **QUICK), "learning_rate=1e-2"]) == 0
    weights = load_file(tmp_path / "run" / made)
    assert all(value.isfinite().all() for value in weights.values())
    template = (tmp_path / "run" / "chat_template.jinja").read_text()
    assert template.strip() == Path(chat_template_file("qwen")).read_text().strip()
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    assert state["log_history"][0]["learning_rate"] == 1e-2


def test_ppo_learns_from_a_reward_model_of_a_folder(
    tiny_model: Path, their_data: Path, tmp_path: Path
) -> None:
    policy = tmp_path / "policy"
    shutil.copytree(tiny_model, policy)
    shutil.copy(PROMPTS / "chatml.jinja", policy / "chat_template.jinja")
    shared = {"model_name_or_path": str(policy), "dataset_dir": str(their_data), **QUICK}
    judge = {"stage": "rm", "dataset": "pairs", "finetuning_type": "full", **shared}
    judge["output_dir"] = str(tmp_path / "judge")
    assert main(["run", file_of(tmp_path, **judge)]) == 0
    ppo = {
        **{"stage": "ppo", "dataset": "answers", "reward_model": str(tmp_path / "judge"), **shared},
        **{"reward_model_type": "full", "finetuning_type": "full", "max_new_tokens": 4},
        **{"per_device_train_batch_size": 4, "num_generations": 2, "ground_truth_column": "id"},
        **{"output_dir": str(tmp_path / "ppo"), "ppo_epochs": 1},
    }
    assert main(["run", file_of(tmp_path, **ppo)]) == 0
    samples = list(read_samples(tmp_path / "ppo" / "samples"))
    assert len(samples) == 4
    rewards = [sample.reward for sample in samples]
    assert all(isinstance(reward, float) for reward in rewards)
    assert samples[0].prompt[0]["role"] == "user"


def test_the_limr_workflow_is_one_file_and_three_commands(tiny_model: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy"
    shutil.copytree(tiny_model, policy)
    shutil.copy(PROMPTS / "chatml.jinja", policy / "chat_template.jinja")
    rows = [{"id": f"p{n}", "prompt": f"{n} plus 1 is", "answer": str(n + 1)} for n in range(4)]
    prompts = str(write_rows(tmp_path / "prompts.jsonl", rows))
    content = {
        **{"stage": "ppo", "do_train": True, "model_name_or_path": str(policy), **QUICK},
        **{"dataset": prompts, "finetuning_type": "full", "reward_model_type": "limr"},
        **{"per_device_train_batch_size": 8, "num_generations": 2, "ppo_epochs": 1},
        **{"max_new_tokens": 4, "temperature": 1.0, "top_p": 1.0, "top_k": 0},
        **{"output_dir": str(tmp_path / "1_ppo"), "ground_truth_column": "answer"},
        "limr": {
            **{"enabled": True, "reward_type": "rule", "ground_truth_dataset": prompts},
            **{"save_samples_path": str(tmp_path / "samples"), "save_every_n_steps": 1},
        },
    }
    file = file_of(tmp_path, **content)
    assert main(["run", file]) == 0
    assert len(list(read_samples(tmp_path / "samples"))) == 8
    selection = tmp_path / "2_lim"
    words = ["--train_samples_path", str(tmp_path / "samples"), "--output_path", str(selection)]
    assert main(["lim", *words, "--method", "random", "--keep", "2"]) == 0
    # Nothing was right, so that there is nothing to imitate: rows as the selection writes them.
    rows = [{"prompt": row["prompt"], "response": row["answer"]} for row in rows[:2]]
    chosen = write_rows(tmp_path / "sft.jsonl", rows)
    words = ["--stage", "sft", "--dataset", str(chosen), "--output_dir", str(tmp_path / "3_sft")]
    words += ["--limr.enabled", "false", "--learning_rate", "1e-3", "--num_train_epochs", "1"]
    assert main(["run", file, *words]) == 0
    assert (tmp_path / "3_sft" / "model.safetensors").is_file()
