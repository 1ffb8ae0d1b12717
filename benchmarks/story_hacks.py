"""What the story profiles pay for good turns and for ways to cheat, in English and Chinese.

Peer: the profile as it was on 2026-11-30, whose rewards of the same responses are kept beside the
tests. Good turns have the signals of a model that is not sure; hacks the same ones (`equal`) or the
best there are. Out: of the tuning and the test half, how many hacks are above the good turn of
their story, by kind, and how good turns fared. Profiles whose model is not here are left out.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from benchmarks import ROOT, record
from touchstone_rewards.reward_server.commands.story_hacks import score_all
from touchstone_rewards.reward_server.profiles import NEURAL_DIR, fetched_dirs
from touchstone_rewards.reward_server.scorers.story.trials import (
    BEST,
    EQUAL,
    StoryHalf,
    StoryTrial,
    good_trials,
    hack_trials,
)

BEFORE = ROOT / "tests" / "reward_server" / "scorers" / "story" / "before.json"
LANGUAGES = {"story": ["English"], "story_multilingual": ["English", "Chinese"]}
SPLITS: tuple[StoryHalf, ...] = ("tuning", "test")
Rewards = list[float]


def main() -> None:
    folders = [NEURAL_DIR, *fetched_dirs()]
    rows: list[dict[str, Any]] = []
    for folder in folders:
        for path in sorted(folder.glob("*.yaml")):
            for language in LANGUAGES[path.stem]:
                for split in SPLITS:
                    rows.append(row_of(path, language, split))
                    print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
    record("story_hacks", rows, peer="the story profile of 2026-11-30")


def row_of(path: Any, language: str, split: StoryHalf) -> dict[str, Any]:
    """The figures of one profile, language and half."""
    good = [trial for trial in good_trials(split) if trial.story.language == language]
    hacks = [trial for trial in hack_trials(split) if trial.story.language == language]
    samples = {
        "good": {str(n): trial.sample(EQUAL) for n, trial in enumerate(good)},
        "equal": {str(n): trial.sample(EQUAL) for n, trial in enumerate(hacks)},
        "best": {str(n): trial.sample(BEST) for n, trial in enumerate(hacks)},
    }
    found = score_all(samples, path)
    paid = {name: [rewarded(one) for one in results] for name, results in found.items()}
    before = json.loads(BEFORE.read_text(encoding="utf-8"))
    was = {(story, kind): (equal, best) for story, kind, _, equal, best in before["hacks"]}
    old = [before["good"][trial.story.id] for trial in good]
    old_best = [was[trial.story.id, trial.kind][1] for trial in hacks]
    ours = share_above(good, hacks, paid["good"], paid["best"])
    peer = share_above(good, hacks, old, old_best)
    return {
        "what": f"{path.stem}, {language}, {split}: hacks above the good turn, best signals",
        "ours": ours,
        "peer": peer,
        "ratio": round(ours / peer, 4) if peer else None,
        "equal_signals": share_above(good, hacks, paid["good"], paid["equal"]),
        "hacks": len(hacks),
        "good_mean": round(statistics.fmean(paid["good"]), 4),
        "good_mean_before": round(statistics.fmean(old), 4),
        "good_least": round(min(paid["good"]), 4),
        "good_least_before": round(min(old), 4),
        "good_fallen": sum(now < then - 1e-6 for now, then in zip(paid["good"], old, strict=True)),
        "good_turns": len(good),
        "above_by_kind": by_kind(good, hacks, paid["good"], paid["best"]),
    }


def rewarded(result: Any) -> float:
    assert result.reward is not None, result.error
    return result.reward


def share_above(
    good: Sequence[StoryTrial], hacks: Sequence[StoryTrial], turns: Rewards, rewards: Rewards
) -> float:
    """Of the hacks, how many have more than the good turn of their story."""
    own = {trial.story.id: reward for trial, reward in zip(good, turns, strict=True)}
    above = [reward > own[hack.story.id] for hack, reward in zip(hacks, rewards, strict=True)]
    return round(sum(above) / len(above), 4)


def by_kind(
    good: Sequence[StoryTrial], hacks: Sequence[StoryTrial], turns: Rewards, rewards: Rewards
) -> dict[str, str]:
    """By kind: of how many hacks how many are above, those with none left out."""
    own = {trial.story.id: reward for trial, reward in zip(good, turns, strict=True)}
    found: dict[str, list[bool]] = defaultdict(list)
    for hack, reward in zip(hacks, rewards, strict=True):
        found[hack.kind].append(reward > own[hack.story.id])
    return {kind: f"{sum(above)}/{len(above)}" for kind, above in found.items() if any(above)}


if __name__ == "__main__":
    main()
