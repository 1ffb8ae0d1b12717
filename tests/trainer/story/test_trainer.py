"""The signals inside a GRPO run: real passes of a small model, a real server, a few updates."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from datasets import Dataset
from jinja2 import Template
from peft import LoraConfig
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.kernels import chunked_logprob
from trl.trainer.grpo_config import GRPOConfig

from tests.checkout import ROOT
from tests.trainer.conftest import write_rows
from touchstone_rewards.reward_server.live_server import LiveServer
from touchstone_rewards.trainer.__main__ import main
from touchstone_rewards.trainer.data.kept_samples import read_samples
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.story import tiny
from touchstone_rewards.trainer.story.convert import story_rows
from touchstone_rewards.trainer.story.signals import SignalArguments, information_flow
from touchstone_rewards.trainer.story.trainer import (
    WITHOUT_HISTORY,
    HistoryTrainer,
    history_rows,
    without_history,
)

NAMES = {
    "logprob_gain",
    "cre",
    "exp_neg_cre",
    "mean_entropy_with",
    "mean_entropy_without",
    "info_flow",
    "history_tokens",
}
CONFIGS = ROOT / "trainer" / "configs"
SHARES = {"logprob_gain": 0.6, "length": 0.2, "repetition": 0.2}
ANSWERS = [" You lift the red stone.", " You see nothing at all", " red", " I look for the key."]


@pytest.fixture(scope="session")
def told() -> list[dict[str, Any]]:
    """Write eight rows: the first and the second turn of four stories."""
    rng = random.Random(0)
    stories = [tiny.draw_story(rng) for _ in range(4)]
    conversations = [tiny.conversation(each, tiny.found(each.colour)) for each in stories]
    return list(story_rows(conversations, Template(tiny.FORMAT), "tiny", []))


@pytest.fixture(scope="session")
def storyteller(tmp_path_factory: pytest.TempPathFactory, told: list[dict[str, Any]]) -> Path:
    texts = [turn["content"] for row in told for turn in row["prompt"]]
    return tiny.make_storyteller(tmp_path_factory.mktemp("story"), [*texts, *ANSWERS], seed=0)


@pytest.fixture
def trainer_of(
    storyteller: Path, told: list[dict[str, Any]], tmp_path: Path
) -> Callable[..., HistoryTrainer]:
    """Make a trainer on the rows, for its signals and not to train."""

    def make(peft: LoraConfig | None = None, **fields: Any) -> HistoryTrainer:
        chosen = {"num_generations": 2, "per_device_train_batch_size": 4, "temperature": 0.7}
        fixed = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "report_to": "none"}
        return HistoryTrainer(
            model=str(storyteller),
            reward_funcs=lambda completions, **columns: [0.0] * len(completions),
            args=GRPOConfig(**cast(Any, {**fixed, **chosen, **fields})),
            train_dataset=history_rows(Dataset.from_list(told)),
            signals=SignalArguments(),
            peft_config=peft,
        )

    return make


def asked(trainer: HistoryTrainer, rows: list[dict[str, Any]], answers: list[str]) -> list[Any]:
    """Return the signals of given responses."""
    rows = [{**row, WITHOUT_HISTORY: without_history(row["prompt"])} for row in rows]
    ids = [trainer.processing_class(text)["input_ids"] for text in answers]  # pyright: ignore
    trainer._tokenize_prompts([row["prompt"] for row in rows])
    return trainer.signals_of(rows, ids)


def alone(storyteller: Path, row: dict[str, Any], answer: str, heat: float) -> dict[str, float]:
    """Return the same from the model's own logits, one unpadded text at a time."""
    tokenizer = AutoTokenizer.from_pretrained(storyteller)
    model = AutoModelForCausalLM.from_pretrained(storyteller).eval()
    ids = tokenizer(answer)["input_ids"]
    logps, entropies, hidden = [], [], None
    for prompt in (row["prompt"], without_history(row["prompt"])):
        text = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        whole = [*tokenizer(text)["input_ids"], *ids]
        with torch.no_grad():
            output = model(torch.tensor([whole]), output_hidden_states=True)
        table = (output.logits[0, -len(ids) - 1 : -1] / heat).log_softmax(-1)
        logps.append(table[torch.arange(len(ids)), torch.tensor(ids)].mean().item())
        entropies.append(-(table.exp() * table).sum(-1).mean().item())
        hidden = hidden if hidden is not None else output.hidden_states[-1][:, -len(ids) :]
    assert hidden is not None
    return {
        "logprob_gain": logps[0] - logps[1],
        "mean_entropy_with": entropies[0],
        "mean_entropy_without": entropies[1],
        "info_flow": information_flow(hidden, torch.ones(1, len(ids)).bool()).mean().item(),
    }


def test_the_signals_are_those_of_one_text_at_a_time(
    trainer_of: Callable[..., HistoryTrainer], storyteller: Path, told: list[dict[str, Any]]
) -> None:
    rows = told[1::2]
    found = asked(trainer_of(), rows, ANSWERS)
    for row, answer, signals in zip(rows, ANSWERS, found, strict=True):
        assert set(signals) == NAMES
        expected = alone(storyteller, row, answer, heat=0.7)
        assert {name: signals[name] for name in expected} == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("fields", [{}, {"pad_to_multiple_of": 64}])
def test_neighbours_and_padding_change_no_signal(
    trainer_of: Callable[..., HistoryTrainer], told: list[dict[str, Any]], fields: dict[str, Any]
) -> None:
    rows = told[1::2]
    rows[0] = {**rows[0], "prompt": [*rows[0]["prompt"][:-1], *rows[2]["prompt"]]}  # far longer
    trainer = trainer_of(**fields)
    together = asked(trainer, rows, ANSWERS)
    for row, answer, signals in zip(rows, ANSWERS, together, strict=True):
        assert signals == pytest.approx(asked(trainer, [row], [answer])[0], abs=1e-5)


def test_an_adapter_that_does_nothing_yet_changes_no_signal(
    trainer_of: Callable[..., HistoryTrainer], told: list[dict[str, Any]]
) -> None:
    adapted = asked(trainer_of(peft=LoraConfig(task_type="CAUSAL_LM")), told[1::2], ANSWERS)
    for found, plain in zip(adapted, asked(trainer_of(), told[1::2], ANSWERS), strict=True):
        assert found == pytest.approx(plain, abs=1e-5)


def test_a_first_turn_gains_nothing_and_says_so(
    trainer_of: Callable[..., HistoryTrainer], told: list[dict[str, Any]]
) -> None:
    first, second = asked(trainer_of(), told[:2], ANSWERS[:2])
    assert (first["logprob_gain"], first["history_tokens"]) == (0.0, 0)
    assert second["history_tokens"] > 10
    assert second["logprob_gain"] != 0.0


class Logits(TorchDispatchMode):
    """Note the number of positions of every tensor as wide as the vocabulary."""

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.weights, self.positions = weights, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in result if isinstance(result, tuple | list) else [result]:
            if (
                isinstance(each, torch.Tensor)
                and each.dim()
                and each.shape[-1] == len(self.weights)
            ):
                held = each.untyped_storage().data_ptr()
                if held != self.weights.untyped_storage().data_ptr():
                    self.positions = max(self.positions, each.numel() // len(self.weights))
        return result


def test_logits_are_held_for_a_tile_of_positions_at_a_time(
    trainer_of: Callable[..., HistoryTrainer],
    told: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chunked_logprob, "TOKEN_CHUNK_SIZE", 8)
    trainer = trainer_of()
    weights = cast(Any, trainer.model).get_input_embeddings().weight
    with Logits(weights) as seen:
        asked(trainer, told[1::2], [" stone" * 40] * 4)
    assert seen.positions == 8


def test_the_pass_that_trl_makes_for_its_ratio_is_not_made_again(
    trainer_of: Callable[..., HistoryTrainer], told: list[dict[str, Any]]
) -> None:
    """Aligned: two passes of ours. Else TRL's and the one without history, with the same result."""
    counts, means = [], []
    for steps in (1, 2):
        trainer = trainer_of(
            steps_per_generation=steps,
            gradient_accumulation_steps=1,
            per_device_train_batch_size=4 // steps,
            beta=0.0,
            max_completion_length=6,
        )
        passes = []
        policy = cast(Any, trainer.model).train()
        policy.base_model.register_forward_hook(
            lambda module, inputs, output, passes=passes: passes.append(output)
        )
        rows: Any = [row for row in trainer.train_dataset for _ in range(2)]  # pyright: ignore
        torch.manual_seed(0)
        trainer._generate_and_score_completions(rows[2:4] * 2)
        scoring = [each for each in passes if each.past_key_values is None]
        counts.append(len(scoring))
        means.append(trainer._metrics["train"]["signals/cre"][-1])
        assert trainer.own_pass is None
    # Batches of 4, then of 2 rows: 2 passes of 1 batch; (TRL's + ours) of 2 batches.
    assert counts == [2, 4]
    assert means[0] == pytest.approx(means[1], abs=1e-5)


def test_prompts_of_text_need_their_own_column() -> None:
    with pytest.raises(InputError, match=WITHOUT_HISTORY):
        history_rows(Dataset.from_list([{"prompt": "text"}]))
    given = Dataset.from_list([{"prompt": "a b", WITHOUT_HISTORY: "b"}])
    assert history_rows(given)[0][WITHOUT_HISTORY] == "b"


def test_a_run_is_rewarded_for_its_signals_and_keeps_them(
    start_server: Callable[..., LiveServer],
    grpo_flags: Any,
    storyteller: Path,
    told: list[dict[str, Any]],
    tmp_path: Path,
) -> None:
    """Make two updates of the small study: its profile, its config, its rows."""
    server = start_server("--profiles_dir", str(CONFIGS / "profiles"))
    flags = grpo_flags(
        server.url,
        config=CONFIGS / "story_tiny_grpo.yaml",
        model_name_or_path=storyteller,
        dataset_name=write_rows(tmp_path / "rows.jsonl", told),
        reward_profile="story_tiny",
        max_steps=2,
    )
    assert main(["grpo", *flags]) == 0
    kept = list(read_samples(tmp_path / "run" / "samples"))
    assert len(kept) == 16
    for sample in kept:
        assert sample.reward is not None
        assert set(sample.signals) == NAMES
        assert all(math.isfinite(value) for value in sample.signals.values())
        history = sample.metadata["conversation_history"]
        assert (sample.signals["history_tokens"] > 0) == bool(history)
        expected = sum(SHARES[name] * (sample.scores[name] or 0) for name in SHARES)
        assert sample.reward == pytest.approx(expected)
    log = json.loads((tmp_path / "run" / "trainer_state.json").read_text())["log_history"]
    assert {"signals/logprob_gain", "scores/story_tiny/logprob_gain", "kl"} <= set(log[0])
    assert json.loads((tmp_path / "run" / "run.json").read_text())["signals"]["enabled"] is True


def test_only_the_history_tells_which_answer_is_right() -> None:
    rng = random.Random(1)
    for _ in range(50):
        story = tiny.draw_story(rng)
        [prompt] = tiny.second_prompts([story])
        assert tiny.is_right(tiny.found(story.colour), story.colour)
        assert story.colour in prompt[1]["content"]
        assert not any(story.colour in turn["content"] for turn in without_history(prompt))
    assert not tiny.is_right("You lift the red stone, or the blue one.", "red")
    assert not tiny.is_right("You see nothing.", "red")


def test_a_third_of_the_lessons_is_right_and_some_have_no_history() -> None:
    rng = random.Random(0)
    lessons = [tiny.lesson(rng) for _ in range(2000)]
    right = [
        tiny.is_right(told["conversations"][-1]["value"], story.colour) for story, told in lessons
    ]
    untold = [len(told["conversations"]) == 2 for _, told in lessons]
    # told and right .7 * .4, by chance another (.3 + .3 * .4) / 8
    assert sum(right) / 2000 == pytest.approx(0.7 * (0.4 + 0.3 / 8) + 0.3 * 0.7 / 8, abs=0.04)
    assert sum(untold) / 2000 == pytest.approx(0.3, abs=0.04)
