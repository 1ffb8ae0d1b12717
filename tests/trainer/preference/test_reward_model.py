"""`trainer rm`: learning, the position of the score, the run folder, refusals."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl.trainer.model_config import ModelConfig
from trl.trainer.reward_config import RewardConfig

from tests.trainer.conftest import write_rows
from tests.trainer.sorting import TREES, Sorting, make_sorting
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.preference.reward_folder import load_reward_model
from touchstone_rewards.trainer.preference.reward_head import (
    RewardModelOutput,
    disco_loss,
    last_positions,
    score_at_last_token,
)
from touchstone_rewards.trainer.preference.reward_model import (
    HeadArguments,
    build_trainer,
    predictions,
)

MEASURED = {"eval_strategy": "steps", "eval_steps": 50, "save_predictions": True}


@pytest.fixture(scope="module")
def sorting(tmp_path_factory: pytest.TempPathFactory) -> Sorting:
    return make_sorting(tmp_path_factory.mktemp("sorting"))


@pytest.fixture(scope="module")
def trained(sorting: Sorting, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a reward model for 150 updates."""
    return train(sorting, tmp_path_factory.mktemp("rm") / "run", max_steps=150)


def train(sorting: Sorting, output: Path, **fields: Any) -> Path:
    fields = {"learning_rate": 1e-3, "eval_dataset_name": sorting.test, **MEASURED, **fields}
    assert main(["rm", *sorting.flags(output, **fields)]) == 0
    return output


def predicted(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def ranked_right(lines: list[dict[str, Any]]) -> float:
    return sum(line["chosen"] > line["rejected"] for line in lines) / len(lines)


def bag_of_words_accuracy(sorting: Sorting) -> float:
    """Return the held-out accuracy of a logistic regression on differences of word counts."""

    def differences(rows: list[dict[str, str]]) -> torch.Tensor:
        counts = [
            (Counter(row["chosen"].split()), Counter(row["rejected"].split())) for row in rows
        ]
        return torch.tensor([[float(c[t] - r[t]) for t in TREES] for c, r in counts])

    seen, unseen = differences(sorting.pairs), differences(sorting.held_out)
    weights = torch.zeros(len(TREES), requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        torch.nn.functional.softplus(-(seen @ weights)).mean().backward()
        optimizer.step()
    return ((unseen @ weights) > 0).float().mean().item()


@pytest.mark.long
def test_it_ranks_held_out_pairs_that_a_bag_of_words_cannot(
    sorting: Sorting, trained: Path
) -> None:
    lines = predicted(trained)
    assert len(lines) == 300
    assert ranked_right(lines) >= 0.95
    assert 0.4 < bag_of_words_accuracy(sorting) < 0.6


@pytest.mark.long
def test_accuracy_and_margin_are_logged_in_training_and_evaluation(trained: Path) -> None:
    history = json.loads((trained / "trainer_state.json").read_text())["log_history"]
    for name in ("loss", "accuracy", "margin", "eval_loss", "eval_accuracy", "eval_margin"):
        assert any(name in row for row in history), name
    assert (trained / "report.html").is_file()
    assert (trained / "curves.png").is_file()


@pytest.mark.long
def test_the_folder_is_a_plain_classifier_with_the_same_scores(
    sorting: Sorting, trained: Path
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(trained).eval()
    tokenizer = AutoTokenizer.from_pretrained(trained)
    for row, line in zip(sorting.held_out[:20], predicted(trained), strict=False):
        for side in ("chosen", "rejected"):
            text = row["prompt"] + row[side] + tokenizer.eos_token
            with torch.no_grad():
                score = model(**tokenizer(text, return_tensors="pt")).logits.item()
            assert score == pytest.approx(line[side], abs=1e-5)


@pytest.mark.long
def test_the_folder_says_how_its_head_was_made(trained: Path) -> None:
    config = json.loads((trained / "config.json").read_text())
    assert config["reward_head"] == {
        "loss": "pairwise",
        "seed": 42,
        "max_length": 1024,
        "template": "plain",
        "append_eos": True,
    }
    assert config["dtype"] == "float32"
    assert config["architectures"] == ["Qwen2ForSequenceClassification"]
    assert config["pad_token_id"] == 0


def test_the_same_seed_draws_the_same_head_and_another_seed_another(sorting: Sorting) -> None:
    models: list[Any] = [load_reward_model(str(sorting.base), 1, seed) for seed in (1, 1, 2)]
    heads = [model.score.weight for model in models]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_the_last_token_is_found_in_sequences_padded_left_and_right() -> None:
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1], [1, 0, 0, 0], [0, 0, 0, 1]])
    assert last_positions(mask).tolist() == [1, 3, 3, 0, 3]


def test_left_and_right_padding_give_one_score_even_where_the_pad_token_ends_the_text(
    sorting: Sorting,
) -> None:
    model: Any = load_reward_model(str(sorting.base), 1, 0).eval()
    tokenizer = AutoTokenizer.from_pretrained(sorting.base)
    tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.eos_token_id
    score_at_last_token(model)
    texts = [f"Two trees{tokenizer.eos_token}", f"Two trees from A to Z{tokenizer.eos_token}"]
    scores = []
    for side in ("left", "right"):
        batch = tokenizer(texts, padding=True, padding_side=side, return_tensors="pt")
        with torch.no_grad():
            scores.append(model(**batch).logits)
            alone = [model(**tokenizer(text, return_tensors="pt")).logits for text in texts]
        assert torch.allclose(scores[-1], torch.cat(alone), atol=1e-5)
    ids = tokenizer(texts[0], return_tensors="pt")
    with torch.no_grad():
        hidden = model.model(**ids).last_hidden_state[0, -1]
    assert ids["input_ids"][0, -1] == tokenizer.eos_token_id
    assert scores[0][0].item() == pytest.approx((model.score.weight @ hidden).item(), abs=1e-5)


def test_the_distributional_loss_by_hand() -> None:
    output = RewardModelOutput(
        logits=torch.tensor([[2.0], [0.5], [1.0], [0.5]]),
        variance=torch.tensor([1.0, 2.0, 3.0, 2.0]),
    )
    # Means 2 and 1 with variances 1 and 3: z = 1/2, P = 0.691462. Equal means: P = 0.5.
    expected = -(torch.tensor(0.6914625).log() + torch.tensor(0.5).log()) / 2
    assert disco_loss(output).item() == pytest.approx(expected.item(), abs=1e-6)
    # A margin of 1 takes the first difference away as well; centring adds (3² + 1²)/2 · 0.1.
    loss = disco_loss(output, torch.tensor([1.0, 0.0]), 0.1)
    assert loss.item() == pytest.approx(torch.tensor(2.0).log().item() + 0.5, abs=1e-6)


def test_the_distributional_loss_of_a_hopeless_pair_still_has_a_gradient() -> None:
    logits = torch.tensor([[-500.0], [500.0]], requires_grad=True)
    loss = disco_loss(RewardModelOutput(logits=logits, variance=torch.full((2,), 1e-4)))
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert logits.grad[0] < 0 < logits.grad[1]
    assert torch.isfinite(logits.grad).all()


@pytest.mark.long
def test_a_distributional_head_ranks_as_well_and_says_how_sure_it_is(
    sorting: Sorting, tmp_path: Path
) -> None:
    lines = predicted(train(sorting, tmp_path / "run", max_steps=150, loss="disco"))
    assert ranked_right(lines) >= 0.95
    assert all(line["chosen_std"] > 0 and line["rejected_std"] > 0 for line in lines)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["id2label"] == {"0": "mean", "1": "raw_variance"}
    assert config["reward_head"]["variance_floor"] == 1e-4


def test_a_variance_never_falls_below_its_floor(sorting: Sorting) -> None:
    model: Any = load_reward_model(str(sorting.base), 2, 0)
    model.config.reward_head = {"variance_floor": 0.25}
    with torch.no_grad():
        model.score.weight.copy_(torch.stack([model.score.weight[0], model.score.weight[0]]) * 1e6)
    score_at_last_token(model)
    ids = torch.arange(2, 40).reshape(19, 2)
    output = model(input_ids=ids, attention_mask=torch.ones_like(ids))
    assert (output.logits < -1e3).any(), "a raw variance far below zero is what is tested"
    assert output.variance.min().item() == pytest.approx(0.25)


def trainer_for(sorting: Sorting, output: Path, **fields: Any) -> Any:
    rows = Dataset.from_list([{"id": str(n), **row} for n, row in enumerate(sorting.pairs[:8])])
    margin = fields.pop("margin", None)
    chosen = fields.pop("head", {})
    if margin is not None:
        rows = rows.add_column("margin", margin)  # pyright: ignore[reportCallIssue]
        chosen = {**chosen, "margin_column": "margin"}
    head = HeadArguments(**chosen)
    args = RewardConfig(
        str(output), use_cpu=True, bf16=False, gradient_checkpointing=False, **fields
    )
    return build_trainer(ModelConfig(str(sorting.base)), args, head, rows, None)


def test_margin_and_centring_go_into_the_loss(sorting: Sorting, tmp_path: Path) -> None:
    margins = [0.5 * number for number in range(8)]
    trainer = trainer_for(sorting, tmp_path, margin=margins, center_rewards_coefficient=0.1)
    batch = trainer.data_collator([trainer.train_dataset[place] for place in range(8)])
    assert batch["input_ids"].shape[0] == 16
    loss = trainer.compute_loss(trainer.model, dict(batch)).item()
    with torch.no_grad():
        scores = trainer.model(batch["input_ids"], batch["attention_mask"]).logits.squeeze(-1)
    chosen, rejected = scores[:8], scores[8:]
    ranked = -torch.nn.functional.logsigmoid(chosen - rejected - torch.tensor(margins)).mean()
    centred = 0.1 * ((chosen + rejected) ** 2).mean()
    assert loss == pytest.approx((ranked + centred).item(), abs=1e-6)


def test_predictions_are_what_the_model_in_training_gives(sorting: Sorting, tmp_path: Path) -> None:
    trainer = trainer_for(sorting, tmp_path)
    trainer.save_model(str(tmp_path))
    lines = list(predictions(tmp_path, trainer.train_dataset, 3, torch.device("cpu")))
    batch = trainer.data_collator([trainer.train_dataset[place] for place in range(8)])
    with torch.no_grad():
        scores = trainer.model(batch["input_ids"], batch["attention_mask"]).logits.squeeze(-1)
    assert [line["id"] for line in lines] == [str(number) for number in range(8)]
    assert [line["chosen"] for line in lines] == pytest.approx(scores[:8].tolist(), abs=1e-5)
    assert [line["rejected"] for line in lines] == pytest.approx(scores[8:].tolist(), abs=1e-5)


def test_a_process_that_saves_no_model_saves_no_config_either(
    sorting: Sorting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The config of such a process names the class of the base model."""
    trainer = trainer_for(sorting, tmp_path / "run")
    monkeypatch.setattr(RewardConfig, "should_save", False)
    trainer.save_model(str(tmp_path / "run"))
    assert not list(tmp_path.rglob("config.json"))


@pytest.mark.long
@pytest.mark.parametrize("loss", ["pairwise", "disco"])
def test_a_lora_run_ends_as_a_plain_folder_and_each_checkpoint_can_be_made_one(
    sorting: Sorting, tmp_path: Path, loss: str
) -> None:
    lora = {"use_peft": True, "lora_target_modules": "q_proj", "loss": loss}
    run = train(
        sorting, tmp_path / "run", max_steps=10, save_strategy="steps", save_steps=10, **lora
    )
    assert not (run / "adapter_config.json").exists()
    assert (run / "adapter" / "adapter_model.safetensors").is_file()
    base = load_file(sorting.base / "model.safetensors")["model.layers.0.self_attn.q_proj.weight"]
    tuned = load_file(run / "model.safetensors")["model.layers.0.self_attn.q_proj.weight"]
    assert not torch.equal(base, tuned)
    plain = tmp_path / "plain"
    assert main(["convert", f"--model={run / 'checkpoint-10'}", f"--output={plain}"]) == 0
    weights = [load_file(folder / "model.safetensors") for folder in (run, plain)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    configs = [json.loads((folder / "config.json").read_text()) for folder in (run, plain)]
    scale = {name: configs[0].pop(name) for name in ("mean", "std")}  # measured at the end
    assert scale["std"] > 0
    assert configs[0] == configs[1]
    assert configs[0]["reward_head"]["loss"] == loss


def test_training_goes_on_from_a_reward_model_with_its_own_head(
    sorting: Sorting, tmp_path: Path
) -> None:
    trainer = trainer_for(sorting, tmp_path / "a", seed=7)
    trainer.save_model(str(tmp_path / "a"))
    again: Any = load_reward_model(str(tmp_path / "a"), 1, seed=8)
    assert torch.equal(again.score.weight, trainer.model.score.weight)


CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"


@pytest.mark.long
def test_a_chat_goes_through_the_template_which_stays_with_the_model(
    sorting: Sorting, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(sorting.base, base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(base)
    row: dict[str, Any] = {
        "prompt": [{"role": "user", "content": "Two trees"}],
        "chosen": "ash birch",
        "rejected": "birch ash",
    }
    rows = write_rows(tmp_path / "chat.jsonl", [row] * 4)
    fields = {"dataset_name": rows, "model_name_or_path": base, "max_steps": 1}
    flags = sorting.flags(tmp_path / "run", **fields, save_predictions=True)
    assert main(["rm", *flags]) == 0
    assert AutoTokenizer.from_pretrained(tmp_path / "run").chat_template == CHAT
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run").eval()
    ids = tokenizer("<user>Two trees<assistant>ash birch", return_tensors="pt")
    with torch.no_grad():
        score = model(**ids).logits.item()
    assert predicted(tmp_path / "run")[0]["chosen"] == pytest.approx(score, abs=1e-5)
    assert model.config.reward_head["template"] == "chat"
    assert not model.config.reward_head["append_eos"]
