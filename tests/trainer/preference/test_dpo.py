"""`trainer dpo`: held-out preferences rise, the reference policy stays, the metrics are correct."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer.dpo_config import DPOConfig

from tests.trainer.conftest import write_rows
from tests.trainer.sorting import Sorting, make_sorting
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.preference.dpo import policy_accuracy

LOSSES = (
    "sigmoid hinge ipo exo_pair nca_pair robust bco_pair sppo_hard aot aot_unpaired apo_zero "
    "apo_down discopop sft sigmoid_norm"
)


@pytest.fixture(scope="module")
def sorting(tmp_path_factory: pytest.TempPathFactory) -> Sorting:
    return make_sorting(tmp_path_factory.mktemp("sorting"))


@pytest.fixture(scope="module")
def undecided(sorting: Sorting, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a policy on the two sides of every pair, so that it writes both orders equally
    often."""
    folder = tmp_path_factory.mktemp("undecided")
    rows = [
        {"prompt": row["prompt"], "response": row[side]}
        for row in sorting.pairs
        for side in ("chosen", "rejected")
    ]
    path = write_rows(folder / "rows.jsonl", rows)
    fields = {"dataset_name": path, "learning_rate": 2e-3, "max_steps": 100}
    assert main(["sft", *sorting.flags(folder / "run", **fields)]) == 0
    return folder / "run"


def log_probability(model: Any, tokenizer: Any, prompt: str, response: str) -> float:
    """Sum the log-probabilities of the response and its end token, token by token."""
    start = len(tokenizer(prompt)["input_ids"])
    ids = torch.tensor(tokenizer(prompt + response + tokenizer.eos_token)["input_ids"])
    with torch.no_grad():
        logs = model(input_ids=ids[None]).logits[0].log_softmax(-1)
    return sum(logs[place - 1, ids[place]].item() for place in range(start, len(ids)))


def rate(model: Any, sorting: Sorting, count: int = 300) -> float:
    """Return the share of the first held-out pairs whose chosen side is more likely."""
    tokenizer = AutoTokenizer.from_pretrained(sorting.base)
    right = [
        log_probability(model, tokenizer, row["prompt"], row["chosen"])
        > log_probability(model, tokenizer, row["prompt"], row["rejected"])
        for row in sorting.held_out[:count]
    ]
    return sum(right) / len(right)


def history(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "trainer_state.json").read_text())["log_history"]


@pytest.mark.long
def test_held_out_pairs_are_preferred_more_often_and_by_the_reference_as_before(
    sorting: Sorting, undecided: Path, tmp_path: Path
) -> None:
    before = load_file(undecided / "model.safetensors")
    reference = rate(AutoModelForCausalLM.from_pretrained(undecided), sorting)
    assert 0.35 < reference < 0.65
    fields = {
        "model_name_or_path": undecided,
        "learning_rate": 5e-4,
        "max_steps": 80,
        "eval_strategy": "steps",
        "eval_steps": 80,
        "eval_dataset_name": sorting.test,
    }
    assert main(["dpo", *sorting.flags(tmp_path / "run", **fields)]) == 0
    after = rate(AutoModelForCausalLM.from_pretrained(tmp_path / "run"), sorting)
    assert after >= reference + 0.25
    [measured] = [row for row in history(tmp_path / "run") if "eval_loss" in row]
    assert measured["eval_logps/accuracies"] == pytest.approx(after, abs=0.01)
    assert measured["eval_rewards/accuracies"] >= 0.75
    unchanged = load_file(undecided / "model.safetensors")
    assert all(torch.equal(before[name], unchanged[name]) for name in before)
    assert rate(AutoModelForCausalLM.from_pretrained(undecided), sorting) == reference


@pytest.mark.long
def test_with_lora_the_reference_is_the_model_with_its_adapter_off(
    sorting: Sorting, undecided: Path, tmp_path: Path
) -> None:
    lora = {"use_peft": True, "lora_target_modules": "v_proj"}
    fields = {"model_name_or_path": undecided, "learning_rate": 5e-3, "max_steps": 50, **lora}
    assert main(["dpo", *sorting.flags(tmp_path / "run", **fields)]) == 0
    base = AutoModelForCausalLM.from_pretrained(undecided)
    reference = rate(base, sorting, 100)
    tuned = PeftModel.from_pretrained(base, str(tmp_path / "run"))
    assert rate(tuned, sorting, 100) > reference + 0.1
    with tuned.disable_adapter():
        assert rate(tuned, sorting, 100) == reference


def test_the_policys_own_accuracy_by_hand() -> None:
    # Two pairs: log-probabilities -3 against -4, and -5 against -1; a tie is not preferred.
    chosen = [[-1.0, -2.0], [-5.0, 0.0], [-1.0, -1.0]]
    rejected = [[-4.0, 0.0], [-0.5, -0.5], [-2.0, 0.0]]
    assert policy_accuracy(torch.tensor(chosen + rejected)).tolist() == [1.0, 0.0, 0.0]


@pytest.mark.long
def test_the_two_accuracies_differ_as_the_line_says(
    sorting: Sorting, undecided: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first update no pair has gained anything over the reference."""
    fields = {
        "model_name_or_path": undecided,
        "max_steps": 1,
        "eval_on_start": True,
        "eval_strategy": "steps",
        "eval_dataset_name": sorting.test,
    }
    assert main(["dpo", *sorting.flags(tmp_path / "run", **fields)]) == 0
    assert "logps/accuracies: share of pairs whose chosen side has" in capsys.readouterr().out
    first = next(row for row in history(tmp_path / "run") if "eval_loss" in row)
    assert first["eval_rewards/accuracies"] == 0
    expected = rate(AutoModelForCausalLM.from_pretrained(undecided), sorting)
    assert first["eval_logps/accuracies"] == pytest.approx(expected, abs=0.01)


@pytest.mark.long
def test_every_loss_of_trl_runs_and_the_other_names_of_the_sides_are_read(
    sorting: Sorting, tmp_path: Path
) -> None:
    rows = [
        {
            "prompt": row["prompt"],
            "chosen_response": row["chosen"],
            "rejected_response": row["rejected"],
        }
        for row in sorting.pairs[:16]
    ]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    fields = {"dataset_name": path, "max_steps": 1, "logging_steps": 1, "label_smoothing": 0.1}
    flags = sorting.flags(tmp_path / "run", per_device_train_batch_size=8, **fields)
    assert main(["dpo", *flags, "--loss_type", *LOSSES.split()]) == 0
    loss = history(tmp_path / "run")[0]["loss"]
    assert torch.isfinite(torch.tensor(loss))


def test_beta_is_a_tenth_unless_it_is_said_otherwise() -> None:
    assert DPOConfig.beta == 0.1


@pytest.mark.long
def test_training_goes_on_from_an_adapter_whose_reference_is_the_adapter_as_it_was(
    sorting: Sorting, undecided: Path, tmp_path: Path
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [dict(row) for row in sorting.pairs[:64]])
    fields = {"model_name_or_path": undecided, "dataset_name": rows, "learning_rate": 5e-3}
    lora = {"use_peft": True, "lora_target_modules": "v_proj"}
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["dpo", *sorting.flags(first, **fields, **lora, max_steps=10)]) == 0
    going_on = sorting.flags(second, **fields, max_steps=1, logging_steps=1)
    assert main(["dpo", *going_on, f"--adapter_name_or_path={first}"]) == 0
    assert history(first)[0]["logps/accuracies"] != history(second)[0]["logps/accuracies"]
    # The first batch, before any update: nothing is gained over the adapter that was gone on from.
    assert history(second)[0]["rewards/margins"] == pytest.approx(0, abs=1e-6)
    weights = [load_file(folder / "adapter_model.safetensors") for folder in (first, second)]
    assert weights[0].keys() == weights[1].keys()
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
