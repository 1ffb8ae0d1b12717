from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from tests.trainer.conftest import write_rows
from touchstone_rewards.trainer import sft
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.config import parse_config
from touchstone_rewards.trainer.data.rows import PromptArguments, with_prompts
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.evaluation.generation import Generation, generate
from touchstone_rewards.trainer.running.provenance import write_provenance
from touchstone_rewards.trainer.toy.arithmetic import Problem, plain_response


@pytest.fixture
def sft_flags(tiny_model: Path, problems: list[Problem], tmp_path: Path) -> list[str]:
    rows = [{"prompt": each.prompt, "response": plain_response(each)} for each in problems]
    fields: dict[str, Any] = {
        "model_name_or_path": tiny_model,
        "dataset_name": write_rows(tmp_path / "lessons.jsonl", rows),
        "output_dir": tmp_path / "sft",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    return [f"--{name}={value}" for name, value in fields.items()]


def test_a_few_steps_teach_the_form_of_an_answer(sft_flags: list[str], tmp_path: Path) -> None:
    config = tmp_path / "sft.yaml"
    config.write_text("learning_rate: 2e-2\nmax_steps: 1\nper_device_train_batch_size: 16\n")
    assert main(["sft", "--config", str(config), *sft_flags, "--max_steps=60"]) == 0
    prompt = (
        "User: Tom has 3 pens and gets 2 more. How many pens are there now?\nAssistant: <think>"
    )
    [(_, [[response]])] = generate(str(tmp_path / "sft"), [prompt], Generation(max_new_tokens=24))
    assert "answer is" in response
    assert (tmp_path / "sft" / "report.html").is_file()


def test_an_adapter_is_trained_by_config_and_can_be_evaluated(
    sft_flags: list[str], tmp_path: Path
) -> None:
    lora = ["--use_peft=true", "--lora_r=4", "--lora_target_modules", "q_proj", "v_proj"]
    assert main(["sft", *sft_flags, *lora, "--max_steps=2"]) == 0
    files = {path.name for path in (tmp_path / "sft").iterdir()}
    assert "adapter_model.safetensors" in files
    assert "model.safetensors" not in files
    assert list(generate(str(tmp_path / "sft"), ["1+1="], Generation(max_new_tokens=2)))


def test_rows_that_are_no_lessons_are_refused(
    sft_flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(tmp_path / "other.jsonl", [{"word": "1+1?", "meaning": "2"}])
    assert main(["sft", *sft_flags, f"--dataset_name={data}"]) == 2
    assert "prompt and response" in capsys.readouterr().err


def test_only_fields_that_were_changed_are_written_down_and_no_token(tmp_path: Path) -> None:
    flags = ["--bf16=false", f"--output_dir={tmp_path}", "--learning_rate=7", "--hub_token=secret"]
    args = parse_config(sft.SftConfigs, flags, "trainer sft").args
    write_provenance(tmp_path, "trainer sft", [args])
    content = (tmp_path / "run.json").read_text()
    fields = json.loads(content)["fields"]
    assert fields["learning_rate"] == 7
    assert "max_length" not in fields
    assert "secret" not in content


def test_questions_and_answers_are_lessons_and_a_template_makes_the_prompts_of_grpo(
    sft_flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"question": f"{n} + 1?", "answer": f"{n + 1}"} for n in range(8)]
    data = write_rows(tmp_path / "questions.jsonl", rows)
    flags = [*sft_flags, f"--dataset_name={data}", "--max_steps=1"]
    assert main(["sft", *flags]) == 0
    assert "data: question and answer, as they stand; 8 rows" in capsys.readouterr().out
    asked = ["--prompt_template=r1_zero", f"--output_dir={tmp_path / 'second'}"]
    assert main(["sft", *flags, *asked]) == 0
    assert "data: prompt and response, as they stand; 8 rows" in capsys.readouterr().out


def test_the_template_of_a_lesson_is_that_of_a_rollout() -> None:
    rows = Dataset.from_list([{"question": "1 + 1?", "solution": "2", "level": 1}])
    prompts = PromptArguments(prompt_template="boxed")
    [made] = sft.templated(prompts, rows).to_list()
    prompt = with_prompts(rows, prompts)[0]["prompt"]
    assert made == {"id": "row-0", "prompt": prompt, "response": "2"}
    plain = Dataset.from_list([{"question": "1 + 1?"}])
    with pytest.raises(InputError, match="no column with the response, one of response"):
        sft.templated(prompts, plain)
    with pytest.raises(InputError, match="needs prompt_template or system_prompt"):
        sft.templated(PromptArguments(assistant_prefill="x"), rows)
