"""`trainer data pairs`: make preference pairs from the samples that a training run kept.

Each group gives one pair, its best and its worst sample: `id`, `prompt`, `chosen`, `rejected`, both
rewards and their gap, as JSON lines. Samples without a reward are ignored. Nothing is scored again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from touchstone_rewards.trainer.config import parse_config, require
from touchstone_rewards.trainer.data.chats import split_begun
from touchstone_rewards.trainer.data.kept_samples import KeptSample, read_samples
from touchstone_rewards.trainer.errors import InputError


@dataclass
class PairArguments:
    """Input, output, and the smallest difference between the rewards of a pair."""

    samples: str | None = field(
        default=None, metadata={"help": "Folder `samples` of a run, or one of its files."}
    )
    output: str | None = field(default=None, metadata={"help": "The .jsonl file to write."})
    min_gap: float = field(
        default=0.5, metadata={"help": "Smallest difference between the rewards of a pair."}
    )

    def __post_init__(self) -> None:
        if self.min_gap < 0:
            raise ValueError(f"min_gap must be 0 or more, not {self.min_gap}")


class Extremes(NamedTuple):
    """The best and the worst sample of a group; among equal ones the first."""

    best: KeptSample
    worst: KeptSample


OPTIONS = PairArguments


def run(argv: Sequence[str]) -> None:
    """Read the samples, write the pairs, and print how many groups gave none and why.

    Raises:
        InputError: there are no samples, or they give no pair.
    """
    arguments = parse_config(PairArguments, argv, "trainer data pairs")
    output = Path(require(arguments.output, "output"))
    counts: Counter[str] = Counter()
    try:
        groups = extremes(_counted(read_samples(require(arguments.samples, "samples")), counts))
    except (FileNotFoundError, ValueError) as error:
        raise InputError(str(error)) from error
    lines = [
        json.dumps(pair, ensure_ascii=False) + "\n"
        for pair in pairs_of(groups.values(), arguments.min_gap, counts)
    ]
    without = ", ".join(f"{number} {what}" for what, number in counts.items() if number)
    if not lines:
        raise InputError(f"no pair in {len(groups)} groups of {arguments.samples}: {without}")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("".join(lines), encoding="utf-8")
    print(f"{output}: {len(lines)} pairs from {len(groups)} groups ({without or 'all used'})")


def _counted(samples: Iterable[KeptSample], counts: Counter[str]) -> Iterator[KeptSample]:
    for sample in samples:
        counts["samples without a reward"] += sample.reward is None
        yield sample


def extremes(samples: Iterable[KeptSample]) -> dict[str, Extremes]:
    """Return the best and the worst scored sample of each group; only these are kept in memory."""
    groups: dict[str, Extremes] = {}
    for sample in samples:
        if sample.reward is None:
            continue
        best, worst = groups.get(sample.group, (sample, sample))
        assert best.reward is not None
        assert worst.reward is not None
        groups[sample.group] = Extremes(
            sample if sample.reward > best.reward else best,
            sample if sample.reward < worst.reward else worst,
        )
    return groups


def pairs_of(
    groups: Iterable[Extremes], min_gap: float, counts: Counter[str]
) -> Iterator[dict[str, object]]:
    """Yield one pair per group whose rewards differ enough; count the others in `counts` by
    reason."""
    for best, worst in groups:
        assert best.reward is not None
        assert worst.reward is not None
        gap = best.reward - worst.reward
        if gap <= 0 or gap < min_gap:
            counts["groups with too small a gap"] += 1
        elif best.response == worst.response:
            counts["groups with equal responses"] += 1
        elif not best.response.strip() or not worst.response.strip():
            counts["groups with an empty response"] += 1
        else:
            prompt, begun = best.prompt, ""
            if isinstance(prompt, list):
                prompt, begun = split_begun(prompt)
            yield {
                "id": best.group,
                "prompt": prompt,
                "chosen": begun + best.response,
                "rejected": begun + worst.response,
                "chosen_reward": best.reward,
                "rejected_reward": worst.reward,
                "reward_gap": gap,
            }
