"""How much more likely its own history makes a turn, with a real model: SmolLM2 and our 60 English
stories.

Peer: the same turn after the history of another story. A gain is the log-prob with a history less
the one without, in nats per token. The first tokens of a turn gain the most, so texts are compared
by their first tokens. Rows:

- by number of tokens (`LENGTHS`): the gains on the test half, how well they tell the histories
  apart, and the ramp from the tuning half: half of others' turns score 0, half of own ones 1;
- by text (`TEXTS`): the gain of good turns and of hacks, over `COMPARED` tokens and sentence by
  sentence;
- the ramp against retellings, set as that of `novelty` in `calibration.py`: a retold history gains
  more than good turns.

Measurements are kept in `runs/story_signals`, so an interrupted run continues. With
`STORY_POLICY=FOLDER` the model of that folder is measured, and its rows are only printed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks import RESULTS, ROOT, _tables, record
from touchstone_rewards.reward_server.models.fetchable import fetched_folder
from touchstone_rewards.reward_server.models.files import folder_digest
from touchstone_rewards.reward_server.scorers.story.calibration import (
    COPIES_ABOVE_0,
    auc_interval,
)
from touchstone_rewards.reward_server.scorers.story.rules import ramp
from touchstone_rewards.reward_server.scorers.story.stories import ToldStory, told_stories
from touchstone_rewards.reward_server.scorers.story.text import sentences
from touchstone_rewards.reward_server.scorers.story.trials import canned_texts

RUNS = ROOT / "runs" / "story_signals"
LENGTHS = (24, 48, 96)
COMPARED = 48
TEXTS = ("own", "another", "canned", "topic", "retold", "copied")
PAGES = (ROOT / "docs" / "story.md", ROOT / "docs" / "zh" / "story.md")
PLACE = _tables.places("signals")
# In English and in Chinese.
NAMED = {
    "own": ("good turn", "好回答"),
    "another": ("another story's turn", "别的故事的一轮"),
    "canned": ("text that fits any story", "套话"),
    "topic": ("a good turn's first sentence, then such text", "好回答的第一句，再接套话"),
    "retold": ("the last turn retold", "复述上一轮"),
    "copied": ("the last turn copied", "照抄上一轮"),
}
Story = dict[str, Any]


def main() -> None:
    torch.set_num_threads(1)
    RUNS.mkdir(parents=True, exist_ok=True)
    policy = os.environ.get("STORY_POLICY")
    folder = Path(policy) if policy else fetched_folder("smollm2")
    if not (folder / "config.json").is_file():
        raise SystemExit(f"STORY_POLICY: {folder} has no config.json; name a model's folder")
    found = measured(RUNS / f"{folder_digest(folder)}.jsonl", folder)
    rows = [length_row(found, length) for length in LENGTHS]
    rows += [text_row(found, text) for text in TEXTS]
    rows.append(retold_row(found))
    for row in rows:
        print(json.dumps(row), flush=True)
    if policy:
        return
    record("story_signals", rows, peer="the history of another story", model="smollm2")
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")


def measured(path: Path, folder: Path) -> list[Story]:
    """Return the gains of each story's texts with the model of a folder; read those that the file
    at `path` has."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    found = [json.loads(line) for line in lines]
    stories = [story for story in told_stories() if story.language == "English"]
    todo = stories[len(found) :]
    if not todo:
        return found
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    for story in todo:
        gains = gains_of(model, tokenizer, story, stories)
        found.append({"id": story.id, "split": story.split, **gains})
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found[-1]) + "\n")
    return found


def gains_of(
    model: Any, tokenizer: Any, story: ToldStory, stories: Sequence[ToldStory]
) -> dict[str, list[list[float]]]:
    """Return, for each text, the gain of every token by sentence."""
    same = [one for one in stories if one.split == story.split]
    place = same.index(story)
    other = same[(place + 1) % len(same)]
    fits_any = [
        one.text
        for one in canned_texts()
        if (one.language, one.split) == ("English", story.split) and one.kind != "list"
    ]
    canned = fits_any[place % len(fits_any)]
    texts = {
        "own": turn_of(story),
        "canned": canned,
        "topic": f"{sentences(story.narrative)[0]} {canned}",
        "another": turn_of(other),
        "retold": story.retold,
        "copied": story.answered,
    }
    pieces = {name: sentences(text) for name, text in texts.items()}
    own = logps(model, tokenizer, history(story, story), pieces)
    none = logps(model, tokenizer, history(story, None), pieces)
    alien = logps(model, tokenizer, history(story, other), {"own": pieces["own"]})
    gains = {name: less(own[name], none[name]) for name in pieces}
    return gains | {"other": less(alien["own"], none["own"])}


def turn_of(story: ToldStory) -> str:
    return f"{story.narrative} {story.utterance}".strip()


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


def length_row(found: Sequence[Story], length: int) -> dict[str, Any]:
    """Return the figures of the first `length` tokens of turns, own history against another's."""
    own, other = (begun(found, text, "test", length) for text in ("own", "other"))
    zero_at, one_at = (
        rounded(np.median(begun(found, text, "tuning", length))) for text in ("other", "own")
    )
    scores = {
        name: rounded(np.mean([ramp(gain, zero_at, one_at) for gain in gains]))
        for name, gains in (("score", own), ("peer_score", other))
        if one_at > zero_at  # else the policy does not tell the histories apart
    }
    return {
        "what": f"gain over the first {length} tokens, nats a token, test half",
        "tokens": length,
        "ours": rounded(np.mean(own)),
        "ours_interval": mean_interval(own),
        "peer": rounded(np.mean(other)),
        "peer_interval": mean_interval(other),
        "ratio": rounded(np.mean(own) / np.mean(other)) if any(other) else None,
        **auc_interval(singly(own), singly(other)),
        "own_above": sum(a > b for a, b in zip(own, other, strict=True)),
        "turns": len(own),
        "zero_at": zero_at,
        "one_at": one_at,
        **scores,
    }


def text_row(found: Sequence[Story], text: str) -> dict[str, Any]:
    """Return the gain of one kind of text after the story's history, on the test half, and how
    well gains tell good turns from it: of the beginning, of its sentences one by one, of the share
    of them that gain at all, and of the least of as many sentences of both."""
    good, these = (by_sentence(found, each, "test") for each in ("own", text))
    both = [min(len(one), len(other)) for one, other in zip(good, these, strict=True)]

    def least(of: list[list[float]]) -> list[list[float]]:
        return [[min(gains[:count])] for gains, count in zip(of, both, strict=True)]

    def share(of: list[list[float]]) -> list[list[float]]:
        return [[float(np.mean([gain > 0 for gain in gains]))] for gains in of]

    ours, peer = (begun(found, each, "test", COMPARED) for each in (text, "own"))
    return {
        "what": f"gain of {text} over the first {COMPARED} tokens, nats a token; peer: good turns",
        "text": text,
        "ours": rounded(np.mean(ours)),
        "ours_interval": mean_interval(ours),
        "peer": rounded(np.mean(peer)),
        "ratio": rounded(np.mean(ours) / np.mean(peer)) if any(peer) else None,
        "begun": auc_interval(singly(peer), singly(ours)),
        "sentence_gain": rounded(np.mean(flat(these))),
        "sentences": auc_interval(good, these),
        "share": rounded(np.mean(share(these))),
        "by_share": auc_interval(share(good), share(these)),
        "by_least": auc_interval(least(good), least(these)),
    }


def retold_row(found: Sequence[Story]) -> dict[str, Any]:
    """Return the falling ramp that pays no retelling, from the tuning half, and what good turns
    and retellings of the test half score on it."""
    one_at = rounded(max(begun(found, "own", "tuning", COMPARED)))
    retold = begun(found, "retold", "tuning", COMPARED)
    zero_at = max(rounded(np.quantile(retold, COPIES_ABOVE_0)), one_at + 0.03)
    own, others = (begun(found, text, "test", COMPARED) for text in ("own", "retold"))
    scores, other_scores = (
        [ramp(gain, zero_at, one_at) for gain in gains] for gains in (own, others)
    )
    return {
        "what": f"score against retelling, first {COMPARED} tokens, test half; peer: retold",
        "ours": rounded(np.mean(scores)),
        "peer": rounded(np.mean(other_scores)),
        "ratio": None,
        **auc_interval(singly(others), singly(own)),
        "full": sum(score == 1 for score in scores),
        "peer_zero": sum(score == 0 for score in other_scores),
        "turns": len(own),
        "zero_at": rounded(zero_at),
        "one_at": one_at,
    }


def begun(found: Sequence[Story], text: str, split: str, length: int) -> list[float]:
    """Return the mean gain of the first tokens of each story's text."""
    return [
        float(np.mean(flat(story[text])[:length])) for story in found if story["split"] == split
    ]


def by_sentence(found: Sequence[Story], text: str, split: str) -> list[list[float]]:
    """Return the mean gain of each sentence of each story's text."""
    return [
        [float(np.mean(each)) for each in story[text]] for story in found if story["split"] == split
    ]


def flat(lists: Iterable[list[float]]) -> list[float]:
    return [value for each in lists for value in each]


def singly(values: Iterable[float]) -> list[list[float]]:
    return [[value] for value in values]


def rounded(value: Any) -> float:
    return round(float(value), 3)


def mean_interval(values: Sequence[float]) -> list[float]:
    """Return the 95% interval of the mean, by the bootstrap over turns."""
    drawn = np.random.default_rng(0).choice(values, size=(2000, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return [rounded(low), rounded(high)]


def recorded() -> list[dict[str, Any]]:
    """Return the rows of the file of results."""
    return json.loads((RESULTS / "story_signals.json").read_text(encoding="utf-8"))["rows"]


def filled(page: str) -> str:
    """Return the page with the rows of its tables as the file of results has them."""
    rows = recorded()
    cells = {
        "lengths": [length_cells(row) for row in rows if "tokens" in row],
        "texts": [text_cells(row, 0) for row in rows if "text" in row],
        "texts_zh": [text_cells(row, 1) for row in rows if "text" in row],
    }
    return _tables.filled(page, PLACE, cells.__getitem__)


def length_cells(row: dict[str, Any]) -> list[str]:
    own, other = (f"{row[by]:.2f} {between(row[f'{by}_interval'])}" for by in ("ours", "peer"))
    above = f"{row['own_above']} / {row['turns']}"
    scores = f"{row['score']:.2f}, {row['peer_score']:.2f}"
    ends = [f"{row[end]:.2f}" for end in ("zero_at", "one_at")]
    return [str(row["tokens"]), own, other, auc_cell(row), above, *ends, scores]


def text_cells(row: dict[str, Any], language: int) -> list[str]:
    gain = f"{row['ours']:.2f} {between(row['ours_interval'])}"
    measures = ("begun", "sentences", "by_share", "by_least")
    aucs = ["" if row["text"] == "own" else auc_cell(row[each]) for each in measures]
    return [
        NAMED[row["text"]][language],
        gain,
        aucs[0],
        f"{row['sentence_gain']:.2f}",
        f"{row['share']:.2f}",
        *aucs[1:],
    ]


def auc_cell(row: dict[str, Any]) -> str:
    return f"{row['auc']:.2f} {between(row['interval'])}"


def between(interval: Sequence[float]) -> str:
    return f"[{interval[0]:.2f}, {interval[1]:.2f}]"


if __name__ == "__main__":
    main()
