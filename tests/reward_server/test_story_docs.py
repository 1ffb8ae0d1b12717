"""docs/story_scorer.md says what is so: the profile shown, the parts and their settings."""

from __future__ import annotations

import re

from reward_server.profiles import NEURAL_DIR
from reward_server.scorers.story.embedded import COMPARISONS
from reward_server.scorers.story.rules import RULES
from tests.live_server import ROOT

DOCS = (ROOT / "docs" / "story_scorer.md").read_text(encoding="utf-8")


def test_the_profile_shown_is_the_one_that_is_served() -> None:
    profile = (NEURAL_DIR / "story.yaml").read_text(encoding="utf-8")
    assert f"```yaml\n{profile}```" in DOCS


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
