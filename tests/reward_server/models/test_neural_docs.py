"""docs/neural.md is true: its profiles load, and its table has every key."""

from __future__ import annotations

import re

import yaml

from tests.checkout import ROOT
from touchstone_rewards.reward_server.models.config import EmbeddingConfig, RewardModelConfig
from touchstone_rewards.reward_server.profiles import ProfileConfig
from touchstone_rewards.reward_server.telemetry.metrics import MODEL_COUNTERS

DOCS = (ROOT / "docs" / "neural.md").read_text()


def test_the_profiles_shown_are_profiles() -> None:
    shown = [ProfileConfig.model_validate(yaml.safe_load(b)) for b in _blocks("yaml")]
    _near, reward, story = (profile.scorers for profile in shown)
    RewardModelConfig.model_validate(reward["reward_model"].config)
    of_the_scorer = {"against", "clip"}
    config = story["similarity"].config
    EmbeddingConfig.model_validate({k: v for k, v in config.items() if k not in of_the_scorer})
    assert of_the_scorer <= set(config)


def test_the_table_has_every_key_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", DOCS, re.MULTILINE))
    assert set(rows) == set(RewardModelConfig.model_fields)
    for name, field in RewardModelConfig.model_fields.items():
        if field.default is not None and not field.is_required():
            shown = str(field.default)
            assert rows[name].strip("`") == (shown.lower() if field.annotation is bool else shown)


def test_every_metric_is_named() -> None:
    assert all(f"_{name}_total" in DOCS for name in MODEL_COUNTERS)


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS, re.DOTALL)
