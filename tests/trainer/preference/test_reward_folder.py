"""Reward models in the value-head layout: written as in LLaMA-Factory, and read with equal
scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from tests.trainer.sorting import Sorting, make_sorting
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.preference.reward_folder import VALUE_HEAD, load_reward_model
from touchstone_rewards.trainer.preference.reward_head import score_at_last_token

TEXTS = ["Two trees from A to Z: ash birch<|end|>", "Two trees from A to Z: willow<|end|>"]


@pytest.fixture(scope="module")
def sorting(tmp_path_factory: pytest.TempPathFactory) -> Sorting:
    return make_sorting(tmp_path_factory.mktemp("sorting"))


@pytest.fixture(scope="module")
def plain(sorting: Sorting, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    model = load_reward_model(str(sorting.base), 1, seed=3)
    model.config.reward_head = {"loss": "pairwise", "seed": 3}
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(sorting.base).save_pretrained(folder)
    return folder


def ours(folder: Path) -> list[float]:
    model: Any = load_reward_model(str(folder), 1).eval()
    score_at_last_token(model)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        outputs = [model(**tokenizer(text, return_tensors="pt")) for text in TEXTS]
    return [output.logits.item() for output in outputs]


def theirs(causal: Any, head: dict[str, torch.Tensor], tokenizer: Any) -> list[float]:
    """Compute a value-head model step by step: last hidden state, linear layer with a bias."""
    scores = []
    for text in TEXTS:
        with torch.no_grad():
            states = causal(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
        hidden = states.hidden_states[-1][0, -1]
        score = head["v_head.summary.weight"] @ hidden + head["v_head.summary.bias"]
        scores.append(score.item())
    return scores


def write_theirs(base: Path, folder: Path, *, lora: bool) -> list[float]:
    """Return a checkpoint as LLaMA-Factory's trainer writes it, and its scores."""
    torch.manual_seed(5)
    causal: Any = AutoModelForCausalLM.from_pretrained(base)
    if lora:
        causal = get_peft_model(
            causal, LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM")
        )
        for name, weight in causal.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.2)
    causal.eval().save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.save_pretrained(folder)
    head = {"v_head.summary.weight": torch.randn(1, 64), "v_head.summary.bias": torch.randn(1)}
    save_file(head, folder / VALUE_HEAD)
    return theirs(causal, head, tokenizer)


def convert(folder: Path, output: Path) -> Path:
    assert main(["convert", f"--model={folder}", f"--output={output}"]) == 0
    return output


def test_what_we_write_scores_the_same_when_it_is_read_as_theirs(
    plain: Path, tmp_path: Path
) -> None:
    folder = convert(plain, tmp_path / "theirs")
    head = load_file(folder / VALUE_HEAD)
    assert {name: tuple(tensor.shape) for name, tensor in head.items()} == {
        "v_head.summary.weight": (1, 64),
        "v_head.summary.bias": (1,),
    }
    assert all(tensor.dtype == torch.float32 for tensor in head.values())
    causal = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert type(causal).__name__ == "Qwen2ForCausalLM"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert theirs(causal, head, tokenizer) == pytest.approx(ours(plain), abs=1e-5)


def test_there_and_back_again_changes_no_weight(plain: Path, tmp_path: Path) -> None:
    back = convert(convert(plain, tmp_path / "theirs"), tmp_path / "back")
    weights = [load_file(folder / "model.safetensors") for folder in (plain, back)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_theirs_is_read_with_its_bias(sorting: Sorting, tmp_path: Path, lora: bool) -> None:
    expected = write_theirs(sorting.base, tmp_path / "theirs", lora=lora)
    assert ours(tmp_path / "theirs") == pytest.approx(expected, abs=1e-5)
    folder = convert(tmp_path / "theirs", tmp_path / "plain")
    assert ours(folder) == pytest.approx(expected, abs=1e-5)
    without_bias = AutoModelForSequenceClassification.from_pretrained(folder)
    bias = without_bias.config.reward_head["bias"]
    ids = AutoTokenizer.from_pretrained(folder)(TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        score = without_bias.eval()(**ids).logits.item()
    assert score + bias == pytest.approx(expected[0], abs=1e-5)


@pytest.mark.long
def test_training_goes_on_from_theirs_with_lora_and_keeps_what_they_had(
    sorting: Sorting, tmp_path: Path
) -> None:
    expected = write_theirs(sorting.base, tmp_path / "theirs", lora=True)
    fields = {"model_name_or_path": tmp_path / "theirs", "max_steps": 1, "learning_rate": 1e-12}
    lora = {"use_peft": True, "lora_target_modules": "v_proj"}
    assert main(["rm", *sorting.flags(tmp_path / "run", **fields, **lora)]) == 0
    assert ours(tmp_path / "run") == pytest.approx(expected, abs=1e-4)


def test_a_distributional_head_has_no_single_value_to_export(
    sorting: Sorting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_reward_model(str(sorting.base), 2).save_pretrained(tmp_path / "two")
    words = ["convert", f"--model={tmp_path / 'two'}", f"--output={tmp_path / 'out'}"]
    assert main(words) == 2
    assert "has a head with 2 outputs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output=x"], "--model is missing"),
        (["--model={plain}"], "--output is missing"),
        (["--model={plain}", "--output={plain}"], "exists already"),
        (["--model={plain}/no", "--output=x"], "no model folder at"),
    ],
)
def test_what_cannot_be_converted_is_refused(
    plain: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", *[word.format(plain=plain) for word in words]]) == 2
    assert message in capsys.readouterr().err
