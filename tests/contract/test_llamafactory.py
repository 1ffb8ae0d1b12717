"""LLaMA-Factory's own files and prompts, from a checkout, and our readings of them.

Set TOUCHSTONE_CONTRACT to a folder that holds the checkout as `LLaMA-Factory`.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from tests.contract.peers import run_script
from touchstone_rewards.trainer.__main__ import MODULES, main
from touchstone_rewards.trainer.config import parse_config, read_yaml
from touchstone_rewards.trainer.data.chat_templates import chat_template_file, template_names
from touchstone_rewards.trainer.errors import InputError, RunFailed
from touchstone_rewards.trainer.running import run as running
from touchstone_rewards.trainer.toy.arithmetic import draw_problems, plain_response, split_sums
from touchstone_rewards.trainer.toy.tiny_model import make_model
from touchstone_rewards.trainer.workflow.run_file import translated

CHATS = [
    [("user", "What's 2+2?\n"), ("assistant", " 4")],
    [
        ("system", "Be 'brief'."),
        *(("user", "a"), ("assistant", "b"), ("user", "c "), ("assistant", "d\n")),
    ],
    [("user", "q"), ("assistant", "<think>\nx\n</think>\n\ny")],
    [("user", "你好"), ("assistant", "再见"), ("user", "{{ c }}"), ("assistant", "d")],
]
# Of their examples, those that run here as they are: text, LoRA or full, sft, rm or dpo.
RUN = {
    "ascend/qwen3_5_full_sft_fsdp2.yaml",
    "ascend/qwen3_5moe_lora_sft_fsdp2.yaml",
    "ascend/qwen3_full_sft_fsdp2.yaml",
    "ascend/qwen3moe_full_sft_fsdp.yaml",
    "extras/dft/qwen2_full_sft.yaml",
    "extras/fsdp_qlora/llama3_lora_sft.yaml",
    "train_full/qwen3_full_sft.yaml",
    "train_lora/qwen3_lora_dpo.yaml",
    "train_lora/qwen3_lora_reward.yaml",
    "train_lora/qwen3_lora_sft.yaml",
    "train_lora/qwen3_lora_sft_ds3.yaml",
    "train_qlora/llama3_lora_sft_aqlm.yaml",
    "train_qlora/llama3_lora_sft_awq.yaml",
    "train_qlora/llama3_lora_sft_gptq.yaml",
    "train_qlora/qwen3_lora_sft_bnb_npu.yaml",
    "train_qlora/qwen3_lora_sft_otfq.yaml",
}
NOT_ON_A_CPU = ("--deepspeed", "--fsdp")
LONG_ENOUGH = 32_768  # positions: their longest prompt has 10,708 of the small tokenizer's tokens


@pytest.fixture(scope="module")
def checkout() -> Path:
    folder = os.environ.get("TOUCHSTONE_CONTRACT")
    if not folder:
        pytest.skip("TOUCHSTONE_CONTRACT names no folder of trainers' checkouts")
    path = Path(folder) / "LLaMA-Factory"
    if not path.is_dir():
        pytest.skip(f"there is no checkout of LLaMA-Factory in {folder}")
    return path


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    problems = draw_problems(split_sums(0).train, 48, 0)
    texts = [each.prompt + plain_response(each) for each in problems]
    folder = make_model(tmp_path_factory.mktemp("small"), texts, hidden_size=32, layers=2)
    config = json.loads((folder / "config.json").read_text())
    config["max_position_embeddings"] = LONG_ENOUGH
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def theirs(checkout: Path, **asked: Any) -> Any:
    return run_script(sys.executable, "llamafactory_templates", str(checkout), json.dumps(asked))


def rendered(name: str, messages: list[dict[str, str]], *, asks: bool) -> str:
    template = Path(chat_template_file(name)).read_text(encoding="utf-8")
    special: Any = {"bos_token": "<s>", "eos_token": "</s>"}
    whole: Any = render_jinja_template(
        [messages], chat_template=template, add_generation_prompt=asks, **special
    )
    return whole[0][0]


def test_our_templates_write_what_theirs_write(checkout: Path) -> None:
    chats = [[{"role": role, "content": text} for role, text in chat] for chat in CHATS]
    found = theirs(checkout, names=template_names(), chats=chats)
    for name in template_names():
        for chat, pairs in zip(chats, found[name], strict=True):
            first = 1 if chat[0]["role"] == "system" else 0
            assert len(pairs) == (len(chat) - first) // 2
            before = ""
            for turn, (prompt, response) in enumerate(pairs):
                answered = first + 2 * turn + 1
                assert rendered(name, chat[:answered], asks=True) == before + prompt
                before += prompt + response
                assert rendered(name, chat[: answered + 1], asks=False) == before


def examples(checkout: Path) -> list[Path]:
    files = sorted((checkout / "examples").rglob("*.yaml"))
    return [path for path in files if "stage" in read_yaml(str(path))]


def test_their_examples_are_understood_or_every_key_in_the_way_is_named(checkout: Path) -> None:
    understood = set()
    paths = examples(checkout)
    assert len(paths) >= 50
    for path in paths:
        content, name = read_yaml(str(path)), path.relative_to(checkout / "examples")
        try:
            done = translated(content, str(path))
        except InputError as error:
            for line in str(error).removeprefix(f"{path}: ").splitlines():
                key, colon, why = line.partition(": ")
                assert key in content
                assert colon
                assert "is not supported" in why or why.startswith("no chat template")
            continue
        module = import_module(f"touchstone_rewards.trainer.{MODULES[done.command]}")
        words = [word for word in done.words if not word.startswith(NOT_ON_A_CPU)]
        parse_config(module.OPTIONS, words, f"trainer {done.command}")
        understood.add(str(name))
    assert understood >= RUN


def in_their_folder(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to a folder where the examples' relative paths lead to LLaMA-Factory's data."""
    (tmp_path / "data").symlink_to(checkout / "data")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("example", "made"),
    [
        ("qwen3_lora_sft", "adapter_model.safetensors"),
        ("qwen3_lora_dpo", "adapter_model.safetensors"),
        ("qwen3_lora_reward", "model.safetensors"),
    ],
)
def test_their_examples_train(
    checkout: Path,
    small_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    example: str,
    made: str,
) -> None:
    in_their_folder(checkout, tmp_path, monkeypatch)
    path = checkout / "examples" / "train_lora" / f"{example}.yaml"
    # One step on few rows: on a CPU, bfloat16 takes half a minute a step.
    words = [f"model_name_or_path={small_model}", "max_steps=1", "max_samples=4"]
    assert main(["run", str(path), *words, "gradient_accumulation_steps=1"]) == 0
    assert (tmp_path / str(read_yaml(str(path))["output_dir"]) / made).is_file()


@pytest.mark.parametrize("template", ["qwen3_nothink", "qwen", "llama3", "mistral", "default"])
@pytest.mark.parametrize(
    ("example", "dataset"),
    [("sft", "alpaca_en_demo"), ("dpo", "dpo_en_demo"), ("reward", "dpo_en_demo")],
)
def test_the_model_reads_the_tokens_that_it_would_read_there(
    checkout: Path,
    small_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    example: str,
    dataset: str,
    template: str,
) -> None:
    in_their_folder(checkout, tmp_path, monkeypatch)
    trainers: list[Any] = []

    def stop(trainer: Any, *_: Any) -> None:
        trainers.append(trainer)
        raise RunFailed("the rows are there")

    monkeypatch.setattr(running, "train_and_finish", stop)
    path = checkout / "examples" / "train_lora" / f"qwen3_lora_{example}.yaml"
    words = [f"model_name_or_path={small_model}", f"dataset={dataset}", f"template={template}"]
    more = ["max_samples=3", "cutoff_len=30000", "preprocessing_num_workers=1", "bf16=false"]
    assert main(["run", str(path), *words, *more]) == 1
    tokenizer = trainers[0].processing_class

    def text(ids: list[int]) -> str:
        return tokenizer.decode(ids)

    found = theirs(checkout, dataset=dataset, template=template, rows=3)
    for row, texts in zip(trainers[0].train_dataset, found, strict=True):
        special = {"<s>": tokenizer.bos_token or "", "</s>": tokenizer.eos_token}
        for mark, own in special.items():
            texts = [each.replace(mark, own) for each in texts]
        prompt, *responses = texts
        if example == "sft":
            masked = sum(label == -100 for label in row["labels"])
            assert text(row["input_ids"][:masked]) == prompt
            assert text(row["input_ids"][masked:]) == responses[0]
        elif example == "dpo":
            assert text(row["prompt_ids"]) == prompt
            assert [text(row["chosen_ids"]), text(row["rejected_ids"])] == responses
        else:
            both = [text(row["chosen_ids"]), text(row["rejected_ids"])]
            assert both == [prompt + each for each in responses]
