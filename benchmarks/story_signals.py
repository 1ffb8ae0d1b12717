"""How much more likely its own history makes a turn, with a real model: SmolLM2 and English
stories.

The peer is the same turn after the history of another story. A gain is the log-probability with a
history minus that without, in nats a token, over the first `LENGTHS` tokens of a turn. The first
tokens gain most, so a ramp that does not state its length rewards short responses. Reported by
length and half are the mean gains, the AUC, and the ramp from the tuning half: 0 at the upper
quartile of the other histories' gains, 1 at the 5% quantile of the own ones. Measurements are kept
in `runs/story_signals`, so an interrupted run continues.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks import ROOT, record
from touchstone_rewards.reward_server.models.fetchable import fetched_folder
from touchstone_rewards.reward_server.scorers.story.calibration import auc_interval
from touchstone_rewards.reward_server.scorers.story.stories import ToldStory, told_stories
from touchstone_rewards.reward_server.scorers.story.trials import canned_texts

RUNS = ROOT / "runs" / "story_signals"
LENGTHS = (24, 48, 96)
TURNS_A_HALF = 15
KINDS = ("own", "other", "canned")


def main() -> None:
    torch.set_num_threads(1)
    RUNS.mkdir(parents=True, exist_ok=True)
    found = measured(RUNS / "gains.jsonl")
    rows = [row_of(found, length) for length in LENGTHS]
    for row in rows:
        print(json.dumps(row), flush=True)
    record("story_signals", rows, peer="the history of another story", model="smollm2")


def measured(path: Any) -> list[dict[str, Any]]:
    """Return the gains of each turn; read those that the file has."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    found = [json.loads(line) for line in lines]
    stories = chosen()
    todo = stories[len(found) :]
    if not todo:
        return found
    folder = fetched_folder("smollm2")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    for story in todo:
        gains = gains_of(model, tokenizer, story, stories)
        found.append({"id": story.id, "split": story.split, **gains})
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found[-1]) + "\n")
    return found


def chosen() -> list[ToldStory]:
    """Return the first stories of each half, the halves alternating."""
    english = [story for story in told_stories() if story.language == "English"]
    return english[: 2 * TURNS_A_HALF]


def gains_of(
    model: Any, tokenizer: Any, story: ToldStory, stories: Sequence[ToldStory]
) -> dict[str, list[float]]:
    """Return the gains of each kind over the first `LENGTHS` tokens."""
    same = [one for one in stories if one.split == story.split]
    other = same[(same.index(story) + 1) % len(same)]
    turn = f"{story.narrative} {story.utterance}".strip()
    canned = next(one.text for one in canned_texts() if one.split == story.split)
    own, alien, none = (history(story, one) for one in (story, other, None))
    before = logps(model, tokenizer, none, turn)
    gains = {
        "own": logps(model, tokenizer, own, turn) - before,
        "other": logps(model, tokenizer, alien, turn) - before,
        "canned": logps(model, tokenizer, own, canned) - logps(model, tokenizer, none, canned),
    }
    return {name: [round(float(g[:n].mean()), 4) for n in LENGTHS] for name, g in gains.items()}


def history(story: ToldStory, told: ToldStory | None) -> list[dict[str, str]]:
    """Return the chat up to the user's turn, with this history or none."""
    chat = [{"role": "system", "content": story.setting}]
    if told is not None:
        chat.append({"role": "user", "content": told.asked})
        chat.append({"role": "assistant", "content": told.answered})
    return [*chat, {"role": "user", "content": story.now}]


def logps(model: Any, tokenizer: Any, chat: list[dict[str, str]], turn: str) -> torch.Tensor:
    """Return the log-probability of each of the turn's tokens after the chat, in nats; shape
    [tokens]."""
    said = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    begun = tokenizer(said, add_special_tokens=False).input_ids
    ids = tokenizer(turn, add_special_tokens=False).input_ids
    with torch.inference_mode():
        logits = model(torch.tensor([begun + ids])).logits[0, len(begun) - 1 : -1].float()
    return logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0]


def row_of(found: Sequence[dict[str, Any]], length: int) -> dict[str, Any]:
    """Return the figures of the first `length` tokens."""
    place = LENGTHS.index(length)
    gains = {
        (kind, split): [one[kind][place] for one in found if one["split"] == split]
        for kind in KINDS
        for split in ("tuning", "test")
    }
    held_out = auc_interval(
        [[g] for g in gains["own", "test"]], [[g] for g in gains["other", "test"]]
    )
    means = {kind: round(float(np.mean(gains[kind, "test"])), 3) for kind in KINDS}
    return {
        "what": f"gain of its own history over the first {length} tokens, nats a token, held out",
        "ours": means["own"],
        "peer": means["other"],
        "ratio": round(means["own"] / means["other"], 3) if means["other"] else None,
        "canned": means["canned"],
        "auc": held_out["auc"],
        "interval": held_out["interval"],
        "zero_at": round(float(np.quantile(gains["other", "tuning"], 0.75)), 3),
        "one_at": round(float(np.quantile(gains["own", "tuning"], 0.05)), 3),
        "turns": len(gains["own", "test"]),
    }


if __name__ == "__main__":
    main()
