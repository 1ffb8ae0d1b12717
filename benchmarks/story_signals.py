"""How much more likely its own history makes a turn, with a real model: SmolLM2 and English
stories.

Peer: the same turn after the history of another story. A gain is the log-prob with a history less
the one without, in nats per token. It is reported for the first `LENGTHS` tokens, because the first
tokens of a turn gain the most: a ramp that names no length pays for being short. Rows: by length,
the mean gains on the test half, how well they tell the histories apart, and the ramp from the
tuning half (0 at the upper quartile of other histories' gains, 1 at the lowest twentieth of own
ones). Then, tried for catching hacks and in no profile, the gain sentence by sentence: of good
turns against canned text, a topic sentence followed by canned text, and a retold last turn.

Measurements are kept in `runs/story_signals`, so an interrupted run continues.
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
from touchstone_rewards.reward_server.scorers.story.text import sentences
from touchstone_rewards.reward_server.scorers.story.trials import canned_texts

RUNS = ROOT / "runs" / "story_signals"
LENGTHS = (24, 48, 96)
TURNS_A_HALF = 15
HACKS = ("canned", "topic", "retold")
# Of a sentence's gain on the tuning half: what nineteen of twenty sentences of good turns reach.
SENTENCES_BELOW = 0.05


def main() -> None:
    torch.set_num_threads(1)
    RUNS.mkdir(parents=True, exist_ok=True)
    found = measured(RUNS / "gains.jsonl")
    rows = [row_of(found, length) for length in LENGTHS]
    rows += [sentence_row(found, hack) for hack in HACKS]
    for row in rows:
        print(json.dumps(row), flush=True)
    record("story_signals", rows, peer="the history of another story", model="smollm2")


def measured(path: Any) -> list[dict[str, Any]]:
    """Return the gains of each story's texts; read those that the file has."""
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
    """Return the first stories of both halves, alternating."""
    english = [story for story in told_stories() if story.language == "English"]
    return english[: 2 * TURNS_A_HALF]


def gains_of(
    model: Any, tokenizer: Any, story: ToldStory, stories: Sequence[ToldStory]
) -> dict[str, list[list[float]]]:
    """Return, for each text, the gain of every token by sentence."""
    same = [one for one in stories if one.split == story.split]
    other = same[(same.index(story) + 1) % len(same)]
    canned = next(
        one.text
        for one in canned_texts()
        if (one.language, one.kind, one.split) == ("English", "suspense", story.split)
    )
    turn = f"{story.narrative} {story.utterance}".strip()
    topic = f"{sentences(story.narrative)[0]} {canned}"
    texts = {"own": turn, "canned": canned, "topic": topic, "retold": story.retold}
    pieces = {name: sentences(text) for name, text in texts.items()}
    own = logps(model, tokenizer, history(story, story), pieces)
    none = logps(model, tokenizer, history(story, None), pieces)
    alien = logps(model, tokenizer, history(story, other), {"own": pieces["own"]})
    gains = {name: less(own[name], none[name]) for name in pieces}
    return gains | {"other": less(alien["own"], none["own"])}


def less(ones: list[list[float]], others: list[list[float]]) -> list[list[float]]:
    return [
        [round(a - b, 4) for a, b in zip(one, other, strict=True)]
        for one, other in zip(ones, others, strict=True)
    ]


def history(story: ToldStory, told: ToldStory | None) -> list[dict[str, str]]:
    """Return the chat up to the user's turn, with this history or none."""
    chat = [{"role": "system", "content": story.setting}]
    if told is not None:
        chat.append({"role": "user", "content": told.asked})
        chat.append({"role": "assistant", "content": told.answered})
    return [*chat, {"role": "user", "content": story.now}]


def logps(
    model: Any, tokenizer: Any, chat: list[dict[str, str]], texts: dict[str, list[str]]
) -> dict[str, list[list[float]]]:
    """Return the log-probability in nats of every token of each text after the chat, by sentence.

    Texts are given as sentences. The chat is run once.
    """
    said = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    begun = tokenizer(said, add_special_tokens=False).input_ids
    found: dict[str, list[list[float]]] = {}
    with torch.inference_mode():
        read = model(torch.tensor([begun]), use_cache=True)
        for name, pieces in texts.items():
            joined = [one if n == 0 else f" {one}" for n, one in enumerate(pieces)]
            ids = [tokenizer(one, add_special_tokens=False).input_ids for one in joined]
            flat = [token for each in ids for token in each]
            after = model(torch.tensor([flat]), past_key_values=read.past_key_values).logits[0]
            read.past_key_values.crop(-len(flat))
            logits = torch.cat([read.logits[0, -1:], after[:-1]]).float()
            sure = logits.log_softmax(-1).gather(1, torch.tensor(flat)[:, None])[:, 0]
            found[name] = [each.tolist() for each in sure.split([len(each) for each in ids])]
    return found


def row_of(found: Sequence[dict[str, Any]], length: int) -> dict[str, Any]:
    """Return the figures of the first `length` tokens."""
    gains = {
        (kind, split): [
            float(np.mean([g for each in one[kind] for g in each][:length]))
            for one in found
            if one["split"] == split
        ]
        for kind in ("own", "other", "canned")
        for split in ("tuning", "test")
    }
    own, other = gains["own", "test"], gains["other", "test"]
    held_out = auc_interval([[g] for g in own], [[g] for g in other])
    return {
        "what": f"gain of its own history over the first {length} tokens, nats a token, test half",
        "ours": mean(own),
        "interval_ours": mean_interval(own),
        "peer": mean(other),
        "interval_peer": mean_interval(other),
        "ratio": round(mean(own) / mean(other), 3) if mean(other) else None,
        "canned": mean(gains["canned", "test"]),
        "auc": held_out["auc"],
        "interval": held_out["interval"],
        "zero_at": round(float(np.quantile(gains["other", "tuning"], 0.75)), 3),
        "one_at": round(float(np.quantile(gains["own", "tuning"], 0.05)), 3),
        "turns": len(own),
    }


def sentence_row(found: Sequence[dict[str, Any]], hack: str) -> dict[str, Any]:
    """Return how well the gain of sentences tells good turns from one hack on the test half: by
    the share of sentences that gain enough, and by the least of them."""
    enough = float(np.quantile(sentence_gains(found, "own", "tuning"), SENTENCES_BELOW))
    good, bad = (
        [[float(np.mean(each)) for each in one[kind]] for one in found if one["split"] == "test"]
        for kind in ("own", hack)
    )
    shares = [[float(np.mean([g >= enough for g in gains]))] for gains in good]
    others = [[float(np.mean([g >= enough for g in gains]))] for gains in bad]
    least = auc_interval([[min(gains)] for gains in good], [[min(gains)] for gains in bad])
    return {
        "what": f"share of sentences that gain {enough:.2f} nats a token, good turns and {hack}",
        "ours": mean([share for [share] in shares]),
        "peer": mean([share for [share] in others]),
        "ratio": None,
        "auc_sentence": auc_interval(good, bad),
        "auc_share": auc_interval(shares, others),
        "auc_least": least,
        "enough": round(enough, 3),
        "turns": len(good),
    }


def sentence_gains(found: Sequence[dict[str, Any]], kind: str, split: str) -> list[float]:
    return [float(np.mean(each)) for one in found if one["split"] == split for each in one[kind]]


def mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 3)


def mean_interval(values: Sequence[float]) -> list[float]:
    """Return the 95% interval of the mean, by the bootstrap over turns."""
    drawn = np.random.default_rng(0).choice(values, size=(2000, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return [round(float(low), 3), round(float(high), 3)]


if __name__ == "__main__":
    main()
