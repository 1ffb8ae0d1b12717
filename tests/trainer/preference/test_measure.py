"""`trainer rm --eval`: pairs and RewardBench 2's rows, with our models and others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.reward_server.models import tiny
from tests.trainer.conftest import write_rows
from tests.trainer.sorting import Sorting, make_sorting
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.preference.reward_folder import load_reward_model
from touchstone_rewards.trainer.preference.reward_head import score_at_last_token

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|end|>{% endfor %}"


@pytest.fixture(scope="module")
def sorting(tmp_path_factory: pytest.TempPathFactory) -> Sorting:
    return make_sorting(tmp_path_factory.mktemp("sorting"))


@pytest.fixture(scope="module")
def folder(sorting: Sorting, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a reward model of `trainer rm` after no update: its head has the initial weights."""
    return save(sorting, tmp_path_factory.mktemp("ours"), template="plain", append_eos=True)


def save(sorting: Sorting, folder: Path, chat_template: str | None = None, **made: Any) -> Path:
    model: Any = load_reward_model(str(sorting.base), 1, seed=3)
    torch.nn.init.normal_(model.score.weight)
    if made:
        model.config.reward_head = {"loss": "pairwise", **made}
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(sorting.base)
    tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(folder)
    return folder


def by_hand(folder: Path, text: str) -> float:
    """Return the score of one complete text, computed alone."""
    model: Any = load_reward_model(str(folder), 1).eval()
    score_at_last_token(model)
    with torch.no_grad():
        ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
        return model(**ids).logits.item()


def evaluate(folder: Path, rows: Path, output: Path | None, *more: str) -> int:
    words = [f"--model_name_or_path={folder}", f"--eval_dataset_name={rows}", "--use_cpu=true"]
    words += ["--bf16=false", "--disable_tqdm=true", "--gradient_checkpointing=false"]
    words += [f"--output_dir={output}"] if output else []
    return main(["rm", "--eval", *words, *more])


def lines_of(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "predictions.jsonl").read_text().splitlines()]


def test_pairs_are_scored_one_by_one_and_counted(
    sorting: Sorting, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{**row, "subset": f"s{n % 2}"} for n, row in enumerate(sorting.held_out[:30])]
    data = write_rows(tmp_path / "pairs.jsonl", rows)
    assert evaluate(folder, data, tmp_path / "out") == 0
    shown = capsys.readouterr().out
    lines = lines_of(tmp_path / "out")
    for row, line in zip(rows[:5], lines, strict=False):
        for side in ("chosen", "rejected"):
            text = f"{row['prompt']}{row[side]}<|end|>"
            assert line[side] == pytest.approx(by_hand(folder, text), abs=1e-5)
    figures = json.loads((tmp_path / "out" / "ranking.json").read_text())
    right = sum(line["chosen"] > line["rejected"] for line in lines)
    assert figures["pairs"] == len(lines) == 30
    assert figures["accuracy"] == pytest.approx(right / 30)
    assert [row["pairs"] for row in figures["by_subset"]] == [15, 15]
    assert f"30 pairs: {right / 30:.1%}" in shown
    assert "expected calibration error" in shown


def test_training_prints_the_same_of_its_held_out_pairs(
    sorting: Sorting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = write_rows(tmp_path / "test.jsonl", sorting.held_out[:40])
    fields: dict[str, Any] = {"eval_dataset_name": test, "eval_strategy": "steps", "max_steps": 1}
    run = tmp_path / "run"
    assert main(["rm", *sorting.flags(run, **fields, save_predictions=True)]) == 0
    trained = capsys.readouterr().out
    assert "40 held-out pairs: " in trained
    assert evaluate(run, test, tmp_path / "out") == 0
    said = [line for line in trained.splitlines() if line.startswith(("  ", "by", "calib"))]
    assert len(said) > 5
    assert said == capsys.readouterr().out.splitlines()[-len(said) :]
    for one, other in zip(lines_of(run), lines_of(tmp_path / "out"), strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_rows_of_rewardbench_2_give_a_table_by_subset(
    sorting: Sorting, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt, pairs = sorting.held_out[0]["prompt"], sorting.held_out
    rows = [
        {
            "id": f"{subset}-{place}",
            "prompt": prompt,
            "chosen": [pairs[place]["chosen"]],
            "rejected": [row["rejected"] for row in pairs[place + 1 : place + 4]],
            "subset": subset,
            "num_correct": 1,
        }
        for subset in ("Math", "Focus")
        for place in range(6)
    ]
    trees = [{"id": "ref:0", "chosen": [" ash"]}, {"id": "tied:0", "chosen": [" ash", " oak"]}]
    rows += [
        {**each, "prompt": prompt, "rejected": [" 1"], "subset": "Ties", "num_correct": 2}
        for each in trees
    ]
    assert evaluate(folder, write_rows(tmp_path / "b.jsonl", rows), tmp_path / "out") == 0
    figures = json.loads((tmp_path / "out" / "ranking.json").read_text())["best_of"]
    lines = {line["id"]: line for line in lines_of(tmp_path / "out")}
    first = lines["Math-0"]
    texts = [*rows[0]["chosen"], *rows[0]["rejected"]]
    expected = [by_hand(folder, f"{prompt}{text}<|end|>") for text in texts]
    assert [*first["chosen"], *first["rejected"]] == pytest.approx(expected, abs=1e-5)
    maths = [lines[f"Math-{place}"] for place in range(6)]
    right = sum(max(line["chosen"]) > max(line["rejected"]) for line in maths)
    found = {row["subset"]: row for row in figures["subsets"]}
    assert found["Math"]["score"] == pytest.approx(right / 6)
    assert (found["Math"]["chance"], found["Ties"]["chance"]) == (0.25, None)
    assert figures["mean"] == pytest.approx(sum(row["score"] for row in found.values()) / 3)
    assert "14 prompts" in (shown := capsys.readouterr().out)
    assert "weighted score" in shown


def test_a_text_prompt_is_a_chat_to_a_model_that_was_trained_on_chats(
    sorting: Sorting, tmp_path: Path
) -> None:
    folder = save(sorting, tmp_path / "chat", TEMPLATE, template="chat", append_eos=False)
    data = write_rows(tmp_path / "pairs.jsonl", sorting.held_out[:3])
    assert evaluate(folder, data, tmp_path / "out") == 0
    row = sorting.held_out[0]
    text = f"<user>{row['prompt']}<|end|><assistant>{row['chosen']}<|end|>"
    found = lines_of(tmp_path / "out")[0]["chosen"]
    assert found == pytest.approx(by_hand(folder, text), abs=1e-5)


def test_a_model_of_others_is_read_as_transformers_reads_it(
    sorting: Sorting, tmp_path: Path
) -> None:
    folder = save(sorting, tmp_path / "theirs")
    config = json.loads((folder / "config.json").read_text())
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    config["pad_token_id"] = tokenizer.eos_token_id  # so that transformers reads one before it
    (folder / "config.json").write_text(json.dumps(config))
    data = write_rows(tmp_path / "pairs.jsonl", sorting.held_out[:20])
    assert evaluate(folder, data, tmp_path / "out") == 0
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for row, line in zip(sorting.held_out[:5], lines_of(tmp_path / "out"), strict=False):
        ids = tokenizer(f"{row['prompt']}{row['chosen']}<|end|>", return_tensors="pt")
        with torch.no_grad():
            assert line["chosen"] == pytest.approx(model(**ids).logits.item(), abs=1e-5)


def test_what_is_too_long_is_counted_and_not_ranked(
    sorting: Sorting, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*sorting.held_out[:3], {**sorting.held_out[3], "chosen": " ash" * 30}]
    data = write_rows(tmp_path / "pairs.jsonl", rows)
    assert evaluate(folder, data, tmp_path / "out", "--max_length=20") == 0
    assert len(lines_of(tmp_path / "out")) == 3
    assert "1 of 4 rows are too long: not ranked" in capsys.readouterr().out
    assert evaluate(folder, data, None, "--max_length=2") == 2
    assert "every row is longer than the model can read" in capsys.readouterr().err


def test_what_cannot_be_measured_is_refused_in_a_line(
    sorting: Sorting, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_rows(tmp_path / "pairs.jsonl", sorting.held_out[:3])
    output = tmp_path / "out"
    assert evaluate(folder, data, output) == 0
    assert evaluate(folder, data, output) == 2
    assert "already has ranking.json and predictions.jsonl" in capsys.readouterr().err
    assert evaluate(folder, data, output, "--overwrite=true") == 0
    assert evaluate(sorting.base, data, None) == 2
    assert "not a known reward model" in capsys.readouterr().err
    lora = LoraConfig(task_type="SEQ_CLS", target_modules=["q_proj"])
    model: Any = AutoModelForSequenceClassification.from_pretrained(sorting.base, num_labels=1)
    get_peft_model(model, lora).save_pretrained(str(tmp_path / "adapter"))
    assert evaluate(tmp_path / "adapter", data, None) == 2
    assert "make it plain with `trainer convert` first" in capsys.readouterr().err
    chats = [{"prompt": [{"role": "user", "content": "a"}], "chosen": "b", "rejected": "c"}]
    assert evaluate(folder, write_rows(tmp_path / "chats.jsonl", chats), None) == 2
    assert "the model reads plain texts, but the rows are conversations" in capsys.readouterr().err


@pytest.mark.parametrize("head", ["score", "value_head"])
def test_a_folder_of_openrlhf_is_measured_with_its_own_head_at_the_end_token(
    tmp_path: Path, head: str
) -> None:
    theirs = tiny.openrlhf(tmp_path / "theirs", head)
    prompt = [{"role": "user", "content": "Why?"}]
    rows = [{"prompt": prompt, "chosen": "Because.\n", "rejected": "No idea"}]
    assert evaluate(tmp_path / "theirs", write_rows(tmp_path / "r.jsonl", rows), tmp_path) == 0
    [line] = lines_of(tmp_path)
    for side in ("chosen", "rejected"):
        turns = [*prompt, {"role": "assistant", "content": rows[0][side]}]
        tokenizer: Any = tiny.chatml_tokenizer()
        text = tokenizer.apply_chat_template(turns, tokenize=False).rstrip("\n")
        ids = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            score = theirs(ids["input_ids"], ids["attention_mask"]).item()
        assert line[side] == pytest.approx(score, abs=1e-5)
