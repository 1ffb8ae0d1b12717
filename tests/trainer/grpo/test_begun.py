"""A chat template and a begun turn of the assistant, in training as in evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from tests.trainer.conftest import GrpoFlags, write_rows
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.data.kept_samples import read_samples
from touchstone_rewards.trainer.evaluation.generation import encode
from touchstone_rewards.trainer.grpo.trainer import GrpoTrainer

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture
def chats(tmp_path: Path) -> dict[str, Any]:
    """Return fields for rows of questions that become chats with a begun answer."""
    rows = [{"id": f"q{n}", "question": f"What is {n} + 1?", "answer": n + 1} for n in range(6)]
    (tmp_path / "own.jinja").write_text(TEMPLATE)
    return {
        "dataset_name": write_rows(tmp_path / "questions.jsonl", rows),
        "ground_truth_column": "answer",
        "system_prompt": "Add.",
        "assistant_prefill": "The answer is",
        "chat_template": tmp_path / "own.jinja",
    }


def test_training_reads_the_prompts_that_evaluation_reads_and_keeps_what_follows(
    server: LiveServer,
    grpo_flags: GrpoFlags,
    chats: dict[str, Any],
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[Any, list[list[int]]]] = []
    tokenize = GrpoTrainer._tokenize_prompts

    def watched(self: GrpoTrainer, prompts: list[Any]) -> Any:
        made = tokenize(self, prompts)
        seen.append((prompts, made[0]))
        return made

    monkeypatch.setattr(GrpoTrainer, "_tokenize_prompts", watched)
    assert main(["grpo", *grpo_flags(server.url, **chats, max_steps=1)]) == 0
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = TEMPLATE
    [(prompts, ids)] = seen
    assert ids == [encode(tokenizer, prompt, None) for prompt in prompts]
    text = tokenizer.decode(ids[0])
    assert text.endswith("+ 1?\n<assistant>The answer is")
    for sample in read_samples(tmp_path / "run" / "samples"):
        assert sample.prompt[-1] == {"role": "assistant", "content": "The answer is"}
        assert not sample.response.startswith("The answer is")
    saved = AutoTokenizer.from_pretrained(tmp_path / "run")
    assert saved.chat_template == TEMPLATE


def test_eval_begins_the_answer_too_and_starts_its_own_server(
    chats: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    fields = {name: value for name, value in chats.items() if name != "dataset_name"}
    fields |= {"model": tiny_model, "dataset": chats["dataset_name"], "max_new_tokens": 4}
    fields["output"] = tmp_path / "eval"
    flags = [f"--{name}={value}" for name, value in fields.items()]
    assert main(["eval", *flags, "--serve"]) == 0
    lines = (tmp_path / "eval" / "results.jsonl").read_text().splitlines()
    results = [json.loads(line) for line in lines]
    assert len(results) == 6
    assert all(result["prompt"][-1]["content"] == "The answer is" for result in results)
    assert all(result["reward"] is not None for result in results)
    assert (tmp_path / "eval" / "server.log").is_file()


def test_a_template_that_is_not_there_is_refused(
    server: LiveServer, grpo_flags: GrpoFlags, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["grpo", *grpo_flags(server.url, chat_template="nosuch")]) == 2
    assert "no chat template 'nosuch'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--serve", "--reward_url=http://127.0.0.1:9"], "leave out reward_url"),
        (["--serve_profiles=x"], "need serve: true"),
    ],
)
def test_a_server_of_its_own_and_another_are_refused_together(
    grpo_flags: GrpoFlags, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [flag for flag in grpo_flags("x") if not flag.startswith("--reward_url")]
    assert main(["grpo", *flags, *words]) == 2
    assert said in capsys.readouterr().err


def test_a_server_that_does_not_start_ends_the_command_in_a_line(
    grpo_flags: GrpoFlags, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "bad.yaml").write_text("scorers: {nosuch: {}}\n")
    flags = [flag for flag in grpo_flags("x") if not flag.startswith("--reward_url")]
    assert main(["grpo", *flags, "--serve", f"--serve_profiles={tmp_path / 'profiles'}"]) == 1
    error = capsys.readouterr().err
    assert "the reward server ended with 2" in error
    assert "nosuch" in error
