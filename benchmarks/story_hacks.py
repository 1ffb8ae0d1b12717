"""The rewards of the story profiles for good turns and for hacks, in English and Chinese.

The peer is the profile of 2026-11-30, whose rewards for the same responses are stored beside the
tests. Good turns get the signals of an unsure model; hacks get the same ones (`equal`) or the best
possible ones. The sets are our own stories, tuning and test half, and hacks found by others
(`shared/data/story_hacks.jsonl`, if it exists). It reports the share of hacks that score above
the good turn of their story, by kind; the rewards of good turns; and the lowest good turn beside
the best hack of the kinds in `CLAIMED`. All rewards come from the engine. Profiles whose model is
missing are left out.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from benchmarks import ROOT, record
from touchstone_rewards.reward_server.commands.story_hacks import score_all
from touchstone_rewards.reward_server.profiles import NEURAL_DIR, fetched_dirs
from touchstone_rewards.reward_server.schemas import Sample, SampleResult
from touchstone_rewards.reward_server.scorers.story.cases import HONEST, SURE
from touchstone_rewards.reward_server.scorers.story.stories import StoryHalf
from touchstone_rewards.reward_server.scorers.story.trials import good_trials, hack_trials

BEFORE = ROOT / "tests" / "reward_server" / "scorers" / "story" / "before.json"
VISIBLE = ROOT.parent / "shared" / "data" / "story_hacks.jsonl"
LANGUAGES = {"story": ["English"], "story_multilingual": ["English", "Chinese"]}
SPLITS: tuple[StoryHalf, ...] = ("tuning", "test")
# Reward of 2026-11-30 that equal signals cost, if no gate closed.
BEFORE_BY_SIGNALS = 0.07
# Hacks that the docs claim to catch without exception.
CLAIMED = (
    "copied",
    "copied, glued",
    "copied, look-alikes",
    "copied, filled",
    "topic, then template",
    "canned template",
    "canned list",
    "user turn, then words",
    "words reversed",
    "words joined",
    "random letters",
    "in English",
    "flood of signs",
    "flood of emoji",
    "flood of one word",
    "flood before </think>",
    "flood of names",
)


class HackTrial(NamedTuple):
    """A hack, the key of its story's good turn, and its rewards on 2026-11-30."""

    kind: str
    story: str
    sample: Sample
    before_equal: float
    before_best: float


class TrialSet(NamedTuple):
    """Hacks and good turns of one language; `good` is by story, `before` has their earlier
    rewards."""

    what: str
    good: dict[str, Sample]
    before: dict[str, float]
    hacks: list[HackTrial]


def main() -> None:
    folders = [NEURAL_DIR, *fetched_dirs()]
    rows: list[dict[str, Any]] = []
    for path in (path for folder in folders for path in sorted(folder.glob("*.yaml"))):
        for trials in trial_sets(LANGUAGES[path.stem]):
            rows.append(row_of(path, trials))
            print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
    record("story_hacks", rows, peer="the story profile of 2026-11-30")


def trial_sets(languages: list[str]) -> Iterator[TrialSet]:
    """Yield our own sets, by language and half, and the visible ones."""
    before = json.loads(BEFORE.read_text(encoding="utf-8"))
    was = {(story, kind): (equal, best) for story, kind, _, equal, best in before["hacks"]}
    for language in languages:
        for split in SPLITS:
            turns = {t.story.id: t for t in good_trials(split) if t.story.language == language}
            hacks = [
                HackTrial(t.kind, t.story.id, t.sample(HONEST), *was[t.story.id, t.kind])
                for t in hack_trials(split)
                if t.story.language == language
            ]
            good = {story: trial.sample(HONEST) for story, trial in turns.items()}
            paid = {story: before["good"][story] for story in good}
            yield TrialSet(f"{language}, {split}", good, paid, hacks)
        if VISIBLE.is_file():
            yield visible(VISIBLE, language)


def visible(path: Path, language: str) -> TrialSet:
    """Read the set of a file; its story `teahouse` is Chinese."""
    good: dict[str, Sample] = {}
    paid: dict[str, float] = {}
    hacks: list[HackTrial] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if (row["story"] == "teahouse") != (language == "Chinese"):
            continue
        brings = {"metadata": row["metadata"], "ground_truth": row["ground_truth"]}
        turn = Sample(row["story"], row["good_turn_response"], signals=dict(HONEST), **brings)
        hack = Sample(row["id"], row["response"], signals=dict(HONEST), **brings)
        best = row["reward_2026_11_30"]
        equal = max(best - BEFORE_BY_SIGNALS, 0.0)
        good[row["story"]], paid[row["story"]] = turn, row["good_turn"]
        hacks.append(HackTrial(row["hack"], row["story"], hack, equal, best))
    return TrialSet(f"{language}, visible", good, paid, hacks)


def row_of(path: Path, trials: TrialSet) -> dict[str, Any]:
    """Return the figures of one profile on one set."""
    hacks = trials.hacks
    asked = {
        "good": trials.good,
        "equal": {str(n): one.sample for n, one in enumerate(hacks)},
        "best": {str(n): with_best(one.sample) for n, one in enumerate(hacks)},
    }
    found = {n: [*map(rewarded, results)] for n, results in score_all(asked, path).items()}
    good = dict(zip(trials.good, found["good"], strict=True))
    above = {
        name: [reward > good[hack.story] for hack, reward in zip(hacks, found[name], strict=True)]
        for name in ("equal", "best")
    }
    peer = share([one.before_best > trials.before[one.story] for one in hacks])
    ours = share(above["best"])
    fallen = {story: paid - trials.before[story] for story, paid in good.items()}
    fallen = {story: round(by, 4) for story, by in fallen.items() if by < -1e-6}
    claimed = {
        name: [
            reward for one, reward in zip(hacks, found[name], strict=True) if one.kind in CLAIMED
        ]
        for name in ("equal", "best")
    }
    return {
        "what": f"{path.stem}, {trials.what}: hacks above the good turn, best signals",
        "ours": ours,
        "peer": peer,
        "ratio": round(ours / peer, 4) if peer else None,
        "equal_signals": share(above["equal"]),
        "equal_signals_before": share([o.before_equal > trials.before[o.story] for o in hacks]),
        "hacks": len(hacks),
        "good_mean": mean(good),
        "good_mean_before": mean(trials.before),
        "good_least": round(min(good.values()), 4),
        "good_least_before": round(min(trials.before.values()), 4),
        "good_fallen": fallen,
        "good_turns": len(good),
        "claimed_most": {name: round(max(paid, default=0), 4) for name, paid in claimed.items()},
        "above_by_kind": by_kind(hacks, above["best"]),
    }


def with_best(sample: Sample) -> Sample:
    return msgspec.structs.replace(sample, signals=dict(SURE))


def rewarded(result: SampleResult) -> float:
    assert result.reward is not None, result.error
    return result.reward


def share(said: list[bool]) -> float:
    return round(sum(said) / len(said), 4)


def mean(paid: dict[str, float]) -> float:
    return round(statistics.fmean(paid.values()), 4)


def by_kind(hacks: list[HackTrial], above: list[bool]) -> dict[str, str]:
    """Return for each kind the hacks above and all hacks, without kinds that have none above."""
    found: dict[str, list[bool]] = defaultdict(list)
    for hack, one in zip(hacks, above, strict=True):
        found[hack.kind].append(one)
    return {kind: f"{sum(each)}/{len(each)}" for kind, each in found.items() if any(each)}


if __name__ == "__main__":
    main()
