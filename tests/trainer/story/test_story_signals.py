"""The bench of the gain: its log-probs are those of one pass, its page shows its results."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks import story_signals
from benchmarks.story_signals import (
    PAGES,
    PLACE,
    begun,
    filled,
    length_row,
    logps,
    recorded,
    retold_row,
)
from touchstone_rewards.reward_server.profiles import Profile, ProfileConfig
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.story.rules import RulePart
from touchstone_rewards.reward_server.scorers.story.stories import told_stories
from touchstone_rewards.trainer.story.tiny import CHAT_TEMPLATE

CHAT = [{"role": "user", "content": "2 + 3?"}]
TEXTS = ("own", "other", "retold")
SENTENCES = ["It is 5.", "Then 5 + 1 is 6.", "Done."]


def test_the_log_probs_after_a_chat_that_was_read_once_are_those_of_one_pass(
    tiny_model: Path,
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = CHAT_TEMPLATE
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    texts = {"one": SENTENCES[::-1], "other": SENTENCES}
    found = logps(model, tokenizer, CHAT, texts)
    said = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    before = tokenizer(said, add_special_tokens=False).input_ids
    for name, sentences in texts.items():
        pieces = [sentences[0], *(f" {each}" for each in sentences[1:])]
        tokens = [tokenizer(each, add_special_tokens=False).input_ids for each in pieces]
        assert list(map(len, found[name])) == list(map(len, tokens))
        after = [token for each in tokens for token in each]
        with torch.inference_mode():
            logits = model(torch.tensor([before + after])).logits[0, len(before) - 1 : -1]
        expected = logits.log_softmax(-1)[range(len(after)), after]
        shown = [logp for each in found[name] for logp in each]
        assert shown == pytest.approx(expected.tolist(), abs=1e-4)


def test_only_the_first_tokens_of_a_text_count() -> None:
    stories = [{"split": "test", "own": [[0.1], [0.3, 9.0]]}, {"split": "tuning", "own": [[1.0]]}]
    assert begun(stories, "own", "test", 2) == pytest.approx([0.2])


def test_ramps_come_from_the_tuning_half_and_are_tried_on_the_other() -> None:
    tuning = [(0.2, 0.0, 0.5), (0.3, 0.1, 0.6), (0.4, 0.1, 0.7)]
    test = [(0.1, 0.2, 0.46), (0.2, 0.0, 0.9)]
    found = [
        {"split": split} | {text: [[gain]] for text, gain in zip(TEXTS, gains, strict=True)}
        for split, half in (("tuning", tuning), ("test", test))
        for gains in half
    ]
    row = length_row(found, 2)
    # The medians of others and of own turns.
    assert (row["zero_at"], row["one_at"]) == (0.1, 0.3)
    assert (row["ours"], row["peer"], row["own_above"]) == (0.15, 0.1, 1)
    # own: 0 and 0.5; other: 0.5 and 0
    assert (row["score"], row["peer_score"]) == (0.25, 0.25)
    row = retold_row(found)
    # The largest gain of a good turn; what nine retellings in ten gain.
    assert (row["one_at"], row["zero_at"]) == (0.4, 0.52)
    # retold: (0.52 - 0.46) / 0.12 and 0
    assert (row["ours"], row["peer"], row["full"], row["peer_zero"]) == (1.0, 0.25, 2, 1)


def test_a_policy_of_ones_own_is_measured_and_nothing_recorded(
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    policy = shutil.copytree(tiny_model, tmp_path / "policy")
    tokenizer = AutoTokenizer.from_pretrained(policy)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(policy)
    monkeypatch.setenv("STORY_POLICY", str(policy))
    monkeypatch.setattr(story_signals, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(story_signals, "record", None)
    monkeypatch.setattr(story_signals, "told_stories", lambda: told_stories()[:8])
    story_signals.main()
    shown = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["what"] for line in shown] == [row["what"] for row in recorded()]
    [kept] = (tmp_path / "runs").iterdir()
    lines = kept.read_text(encoding="utf-8").splitlines(keepends=True)
    kept.write_text("".join(lines[:-1]), encoding="utf-8")
    story_signals.main()
    assert capsys.readouterr().out.splitlines() == shown
    assert kept.read_text(encoding="utf-8") == "".join(lines)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_the_tables_of_the_pages_are_those_of_the_results(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    texts = "texts_zh" if page.parent.name == "zh" else "texts"
    assert [name for _, name, _ in PLACE.findall(text)] == ["lengths", texts]
    assert filled(text) == text
    [row] = [row for row in recorded() if "peer_zero" in row]
    [entry] = re.findall(r"`(retold: {.*?}})`", text)
    profile = Profile("own", ProfileConfig.model_validate({"scorers": yaml.safe_load(entry)}))
    gains = (row["one_at"], row["zero_at"], 0.0, 4.0)
    signals = [{"logprob_gain": gain, "history_tokens": 9} for gain in gains]
    scorer = profile.scorers["retold"]
    assert scorer.runs_in == "inline"
    assert isinstance(scorer, RulePart)
    scores = scorer.score([Sample(str(one), "", signals=one) for one in signals])
    assert [score.value for score in scores] == [1.0, 0.0, 1.0, 0.0]
    for figure in (row["turns"], row["peer_zero"], row["peer"]):
        assert re.search(rf"(?<![\d.]){figure}(?![\d.]\d)", text), figure
