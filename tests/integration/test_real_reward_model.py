"""Reward models on a pretrained base behind a real server: the scores that transformers gives.

SmolLM2 pads with the token that ends every turn, renders chats with a system turn of its own, and
has 30 layers. Heads and adapters are drawn at random: what is held is how a text is read, not what
was learned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from tests.checkout import live_server
from tests.waiting import PATIENCE_S
from touchstone_rewards.reward_server.live_server import LiveServer

pytestmark = [pytest.mark.real, pytest.mark.long]
EXACT = 1e-5
Score = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
TEXT = """
scorers:
  reward_model:
    config: {{model: {folder}, name: {name}, layout: {layout}, dtype: float32, device: cpu}}
"""
CHATS: list[tuple[Any, str]] = [
    ("What is 12 + 7?", "The answer is 19."),
    ([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}], "Because."),
    (
        [
            {"role": "user", "content": "Name a tree."},
            {"role": "assistant", "content": "An oak."},
            {"role": "user", "content": "Another one, and why it is tall."},
        ],
        "A spruce stands above others where light is scarce. " * 12,
    ),
    ("用一句话说说东京。", "东京是日本的首都 — 人口约 1400 万。\n\n"),
    ("Write f(x) = x² in Python.", "```python\ndef f(x):\n\treturn x ** 2\n```"),
    ("Say nothing.", ""),
]


@pytest.fixture(scope="module")
def folders(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Make a classifier, an adapter of one on the fetched folder, and a value head beside it."""
    root = tmp_path_factory.mktemp("real")
    torch.manual_seed(1)
    model: Any = AutoModelForSequenceClassification.from_pretrained(smollm2, num_labels=1)
    model.save_pretrained(root / "classifier")
    AutoTokenizer.from_pretrained(smollm2).save_pretrained(root / "classifier")
    lora = LoraConfig(r=8, target_modules="all-linear", task_type="SEQ_CLS")
    adapted: Any = get_peft_model(model, lora)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    adapted.save_pretrained(str(root / "adapter"))
    beside = root / "value_head"
    beside.mkdir()
    for path in smollm2.iterdir():
        (beside / path.name).symlink_to(path)
    save_file(value_head(), beside / "value_head.safetensors", {"format": "pt"})
    return {name: root / name for name in ("classifier", "adapter", "value_head")}


def value_head() -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    weight = torch.randn(1, 576) / 50
    return {"v_head.summary.weight": weight, "v_head.summary.bias": torch.randn(1)}


@pytest.fixture(scope="module")
def live(
    folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    profiles = tmp_path_factory.mktemp("profiles")
    for name, folder in folders.items():
        for layout in ("packed", "padded") if name == "classifier" else ("packed",):
            about = {"folder": folder, "layout": layout, "name": f"{name}-{layout}"}
            (profiles / f"{name}-{layout}.yaml").write_text(TEXT.format(**about))
    server = live_server(profiles / "log", "--profiles_dir", str(profiles))
    server.start()
    yield server
    server.kill()


def served(live: LiveServer, profile: str) -> list[float]:
    samples = [
        {"id": str(place), "prompt": prompt, "response": response}
        for place, (prompt, response) in enumerate(CHATS)
    ]
    body = {"profile": profile, "samples": samples, "deadline_ms": 600_000}
    answer = httpx2.post(f"{live.url}/score", json=body, timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    return [result["reward"] for result in answer.json()["results"]]


def by_transformers(smollm2: Path, score: Score, side: str) -> list[float]:
    """Return the scores of all chats as one batch, padded on one side."""
    tokenizer: Any = AutoTokenizer.from_pretrained(smollm2)
    chats = []
    for prompt, response in CHATS:
        turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        turns = [*turns, {"role": "assistant", "content": response}]
        chats.append(tokenizer.apply_chat_template(turns, tokenize=False))
    batch = tokenizer(chats, padding=True, padding_side=side, return_tensors="pt")
    with torch.no_grad():
        found = score(batch["input_ids"], batch["attention_mask"]).flatten().tolist()
    assert len({round(each, 4) for each in found}) == len(CHATS)  # else this shows nothing
    return found


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_classifier_is_served_packed_and_padded_with_the_scores_of_transformers(
    smollm2: Path, folders: dict[str, Path], live: LiveServer, side: str
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(folders["classifier"]).eval()
    expected = by_transformers(smollm2, lambda ids, mask: model(ids, mask).logits, side)
    for profile in ("classifier-packed", "classifier-padded"):
        assert served(live, profile) == pytest.approx(expected, abs=EXACT), profile


def test_an_adapter_is_served_merged_with_the_scores_that_peft_gives_unmerged(
    smollm2: Path, folders: dict[str, Path], live: LiveServer
) -> None:
    base: Any = AutoModelForSequenceClassification.from_pretrained(smollm2, num_labels=1)
    model: Any = PeftModel.from_pretrained(base, str(folders["adapter"])).eval()

    def score(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return model(input_ids=ids, attention_mask=mask).logits

    expected = by_transformers(smollm2, score, "right")
    assert served(live, "adapter-packed") == pytest.approx(expected, abs=EXACT)


def test_a_value_head_is_served_with_the_scores_of_its_last_hidden_states(
    smollm2: Path, live: LiveServer
) -> None:
    causal: Any = AutoModelForCausalLM.from_pretrained(smollm2).eval()
    head = value_head()

    def score(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden = causal(ids, mask, output_hidden_states=True).hidden_states[-1]
        ends = (mask * torch.arange(mask.shape[1])).argmax(-1)
        last = hidden[torch.arange(len(ids)), ends]
        return last @ head["v_head.summary.weight"][0] + head["v_head.summary.bias"]

    expected = by_transformers(smollm2, score, "right")
    assert served(live, "value_head-packed") == pytest.approx(expected, abs=EXACT)
