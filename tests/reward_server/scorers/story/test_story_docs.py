"""docs/story_scorer.md says what is so: the profile shown, the parts and their settings."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.checkout import ROOT
from touchstone_rewards.reward_server.profiles import NEURAL_DIR, Profile, ProfileConfig
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.story.embedded import COMPARISONS
from touchstone_rewards.reward_server.scorers.story.rules import RULES

DOCS = (ROOT / "docs" / "story_scorer.md").read_text(encoding="utf-8")


def test_the_profile_shown_is_the_one_that_is_served() -> None:
    profile = (NEURAL_DIR / "story.yaml").read_text(encoding="utf-8")
    assert f"```yaml\n{profile}```" in DOCS


def test_the_profile_for_short_texts_tells_them_apart_without_a_model() -> None:
    [block] = re.findall(r"```yaml\n# profiles/story_short.yaml\n(.*?)```", DOCS, re.DOTALL)
    profile = Profile("short", ProfileConfig.model_validate(yaml.safe_load(block)))
    signals = {"logprob_gain": 0.1, "history_tokens": 9}
    texts = ("You lift the red stone and there it lies.", "stone stone stone stone stone stone")
    samples = [Sample(text, text, signals=signals) for text in texts]
    scores = {
        key: scorer.score(samples)
        for key, scorer in profile.scorers.items()
        if scorer.runs_in == "inline"
    }
    good, hack = ({key: of[i] for key, of in scores.items()} for i in range(2))
    # 0.5 * 0.1 / 0.5 + 0.3 + 0.2
    assert profile.reward(good)[0] == pytest.approx(0.6)
    assert profile.reward(hack)[0] == 0.0


def test_every_part_is_there_with_its_ramp() -> None:
    rows = re.findall(r"^\| `(\w+)`[^|]*\|[^|]*\| ([\d.]+) \| ([\d.]+) \|", DOCS, re.MULTILINE)
    shown = {name: (float(zero_at), float(one_at)) for name, zero_at, one_at in rows}
    ramps = {name: (one.zero_at, one.one_at) for name, one in COMPARISONS.items()}
    for name, rule in RULES.items():
        defaults = rule.function.__kwdefaults__ or {}
        if "zero_at" in defaults:
            ramps[name] = (defaults["zero_at"], defaults["one_at"])
        assert f"`{name}`" in DOCS
    assert shown == ramps
