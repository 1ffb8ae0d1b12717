"""Reward models from `trainer rm` behind a real server give the scores of training over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import httpx2
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from tests.checkout import live_server
from tests.trainer.conftest import write_rows
from tests.trainer.sorting import Sorting, make_sorting
from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.reward_server.models import load as load_model
from touchstone_rewards.reward_server.models.config import RewardModelConfig
from touchstone_rewards.reward_server.models.text import Text
from touchstone_rewards.reward_server.scorers.reward_model import RewardModelScorer
from touchstone_rewards.trainer.__main__ import main

TESTED = 60
PROFILES = {
    "pairwise": "pairwise, template: plain, append_eos: true",
    "normalised": "pairwise, name: normalised, template: plain, append_eos: true, normalize: true",
    "value_head": "value_head, template: plain, append_eos: true",
    "adapter": "lora/checkpoint-10, name: adapter, template: plain, append_eos: true",
    "merged": "lora, template: plain, append_eos: true",
    "disco": "disco, template: plain, append_eos: true",
    "careful": "disco, template: plain, append_eos: true, lower_bound_stds: 2.0",
    "chat": "chat, template: chat",
}
TEXT = """
scorers:
  preference:
    scorer: reward_model
    config: {{model: {folder}/{model}, dtype: float32, device: cpu}}
"""
LORA = {"use_peft": True, "lora_target_modules": "q_proj", "save_strategy": "steps"}
RUNS: dict[str, dict[str, Any]] = {
    "pairwise": {},
    # Many tokenizers pad with the token that ends every text: the score must stay at that end.
    "disco": {"loss": "disco", "pad_token": "<|end|>"},
    "lora": {**LORA, "save_steps": 10},
    "chat": {},
}
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|end|>{% endfor %}"


@pytest.fixture(scope="module")
def sorting(tmp_path_factory: pytest.TempPathFactory) -> Sorting:
    return make_sorting(tmp_path_factory.mktemp("sorting"))


def data(sorting: Sorting, folder: Path, *, chat: bool) -> dict[str, Path]:
    """Write a file to train on and one to measure on, with prompts as texts or as chats."""
    files = {}
    for name, rows in (("dataset_name", sorting.pairs), ("eval_dataset_name", sorting.held_out)):
        made = [{**row, "prompt": prompt_of(row, chat)} for row in rows[:TESTED]]
        files[name] = write_rows(folder / f"{name}_{chat}.jsonl", made)
    return files


def prompt_of(row: dict[str, str], chat: bool) -> Any:
    return [{"role": "user", "content": row["prompt"]}] if chat else row["prompt"]


@pytest.fixture(scope="module")
def folder(sorting: Sorting, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train four reward models for ten updates, one of them also in the value-head layout."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "chat.jinja").write_text(TEMPLATE)
    common = {"learning_rate": 1e-3, "max_steps": 10, "save_predictions": True}
    for name, fields in RUNS.items():
        fields = {**common, **fields, "eval_strategy": "steps"}
        if name == "chat":
            fields["chat_template_path"] = folder / "chat.jinja"
        fields |= data(sorting, folder, chat=name == "chat")
        assert main(["rm", *sorting.flags(folder / name, **fields)]) == 0
    words = [f"--model={folder / 'pairwise'}", f"--output={folder / 'value_head'}"]
    assert main(["convert", *words]) == 0
    (folder / "profiles").mkdir()
    for name, model in PROFILES.items():
        text = TEXT.format(folder=folder, model=model)
        (folder / "profiles" / f"{name}.yaml").write_text(text)
    return folder


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[LiveServer]:
    server = live_server(folder / "log", "--profiles_dir", str(folder / "profiles")).start()
    yield server
    server.kill()


def ask(live: LiveServer, sorting: Sorting, profile: str, side: str) -> list[Any]:
    samples = [
        {"id": str(number), "prompt": prompt_of(row, profile == "chat"), "response": row[side]}
        for number, row in enumerate(sorting.held_out[:TESTED])
    ]
    body = {"profile": profile, "samples": samples, "explain": True}
    answer = httpx2.post(f"{live.url}/score", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def predicted(folder: Path, run: str) -> list[dict[str, float]]:
    lines = (folder / run / "predictions.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.long
@pytest.mark.parametrize("side", ["chosen", "rejected"])
@pytest.mark.parametrize(
    ("profile", "run"),
    [
        ("pairwise", "pairwise"),
        ("value_head", "pairwise"),
        ("merged", "lora"),
        ("adapter", "lora"),
        ("disco", "disco"),
        ("chat", "chat"),
    ],
)
def test_a_served_score_is_the_score_of_training(
    live: LiveServer, sorting: Sorting, folder: Path, profile: str, run: str, side: str
) -> None:
    results = ask(live, sorting, profile, side)
    expected = [line[side] for line in predicted(folder, run)]
    assert len(expected) == TESTED
    assert len(set(expected)) > TESTED / 3
    assert [result["reward"] for result in results] == pytest.approx(expected, abs=1e-5)


@pytest.mark.long
def test_normalize_is_the_scale_that_training_measured_over_the_held_out_pairs(
    live: LiveServer, sorting: Sorting, folder: Path
) -> None:
    lines = predicted(folder, "pairwise")
    scores = [line[side] for line in lines for side in ("chosen", "rejected")]
    mean, std = fmean(scores), stdev(scores)
    config = json.loads((folder / "pairwise" / "config.json").read_text())
    assert (config["mean"], config["std"]) == pytest.approx((mean, std))
    results = [
        *ask(live, sorting, "normalised", "chosen"),
        *ask(live, sorting, "normalised", "rejected"),
    ]
    expected = [(line[side] - mean) / std for side in ("chosen", "rejected") for line in lines]
    assert [result["reward"] for result in results] == pytest.approx(expected, abs=1e-4)


@pytest.mark.long
def test_a_distributional_model_says_how_sure_it_is_and_can_be_asked_for_a_lower_bound(
    live: LiveServer, sorting: Sorting, folder: Path
) -> None:
    expected = predicted(folder, "disco")
    for result, line in zip(ask(live, sorting, "disco", "chosen"), expected, strict=True):
        told = result["explanation"]["preference"]
        assert told["std"] == pytest.approx(line["chosen_std"], abs=1e-5)
        assert told["mean"] == pytest.approx(line["chosen"], abs=1e-5)
    for result, line in zip(ask(live, sorting, "careful", "chosen"), expected, strict=True):
        bound = line["chosen"] - 2 * line["chosen_std"]
        assert result["reward"] == pytest.approx(bound, abs=1e-5)
        assert result["explanation"]["preference"]["mean"] == pytest.approx(
            line["chosen"], abs=1e-5
        )
    plain = ask(live, sorting, "pairwise", "chosen")[0]["explanation"]["preference"]
    assert "std" not in plain


@pytest.mark.long
def test_a_model_that_is_asked_about_other_tokens_than_it_was_trained_on_is_refused(
    folder: Path,
) -> None:
    said = "was trained with template: plain, append_eos: true"
    config = RewardModelConfig(model=str(folder / "pairwise"), dtype="float32", template="plain")
    with pytest.raises(ConfigError, match=said):
        load_model(config)


@pytest.mark.long
def test_a_lower_bound_needs_a_model_that_says_how_sure_it_is(folder: Path) -> None:
    model = str(folder / "pairwise")
    with pytest.raises(ConfigError, match="gives no standard deviation"):
        RewardModelScorer(model=model, lower_bound_stds=1.0)


def test_a_model_that_trls_own_trainer_saved_is_served_with_the_scores_of_its_evaluation(
    sorting: Sorting, tmp_path: Path
) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(sorting.base)
    tokenizer.chat_template = TEMPLATE
    turns = [("chosen", "ash birch"), ("rejected", "willow elm fir"), ("chosen", "oak pine " * 9)]
    row = {
        side: [{"role": "user", "content": "Two"}, {"role": "assistant", "content": text}]
        for side, text in turns[:2]
    }
    longer = [row["chosen"][0], {"role": "assistant", "content": turns[2][1]}]
    rows = Dataset.from_list([row, {**row, "chosen": longer}])
    model: Any = AutoModelForSequenceClassification.from_pretrained(sorting.base, num_labels=1)
    quiet: dict[str, Any] = {"use_cpu": True, "bf16": False, "report_to": "none", "max_steps": 1}
    args = RewardConfig(str(tmp_path), **quiet, learning_rate=1e-3, save_strategy="no")
    trainer = RewardTrainer(model, args=args, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    trainer.save_model()
    kept: Any = trainer.train_dataset
    batch = trainer.data_collator([kept[0], kept[1]])
    with torch.no_grad():
        expected = model.eval()(**batch).logits.flatten().tolist()
    served = load_model(RewardModelConfig(model=str(tmp_path), dtype="float32", device="cpu"))
    order = [turns[0][1], turns[2][1], turns[1][1], turns[1][1]]
    found = served.run(served.prepare([Text("Two", text) for text in order]))
    assert len({round(each, 4) for each in expected}) == 3  # else this shows nothing
    assert [each.score for each in found] == pytest.approx(expected, abs=1e-5)
