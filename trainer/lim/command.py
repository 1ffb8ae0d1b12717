"""`trainer lim`: select the prompts worth training on, from kept samples.

It reads a folder of samples, or existing scores, and optionally the dataset they came from. It
writes into one folder: `selected.jsonl` (data for `trainer ppo`, `grpo` and `sft`), `scores.jsonl`,
`README.md` (which makes the folder a dataset), `report.html` and `run.json`. It trains nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from touchstone_rewards.trainer.config import parse_config, require
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.lim.methods import (
    METHODS,
    Fill,
    Trajectories,
    coverage,
    filled,
    kept,
)
from touchstone_rewards.trainer.lim.output import Selection, write_selection
from touchstone_rewards.trainer.lim.page import write_page
from touchstone_rewards.trainer.lim.table import NoEpochs, RewardTable, read_table
from touchstone_rewards.trainer.running.provenance import command_line, write_provenance

FILLS = get_args(Fill)


@dataclass
class LimArguments:
    """The samples, the scoring method, and the number of prompts to keep."""

    samples: str | None = field(
        default=None, metadata={"help": "Folder of kept samples (or LIMR's step_*.json)."}
    )
    scores: str | None = field(
        default=None,
        metadata={"help": "Existing scores instead of samples: rows of prompt (or id) and score."},
    )
    dataset: str | None = field(
        default=None, metadata={"help": "The training rows; the selection keeps their columns."}
    )
    output: str | None = field(default=None, metadata={"help": "Output folder."})
    method: str = field(
        default="lim",
        metadata={"help": "One of lim, mean_reward, variance, band, learnability, linear, random."},
    )
    threshold: float | None = field(
        default=None, metadata={"help": "Lowest score to keep. Default: the method's own."}
    )
    keep: int | None = field(
        default=None, metadata={"help": "Keep at most this many prompts: the best ones."}
    )
    value: str = field(
        default="accuracy",
        metadata={
            "help": "Trajectory to score: accuracy (share of full rewards) or reward (mean)."
        },
    )
    full_reward: float = field(default=1.0, metadata={"help": "Reward of a right answer."})
    steps_per_epoch: int | None = field(
        default=None,
        metadata={"help": "Length of an epoch in steps. Default: the epochs in the samples."},
    )
    max_epochs: int | None = field(default=None, metadata={"help": "Ignore later epochs."})
    fill: str = field(
        default="none", metadata={"help": "How to fill missing epochs: none, ffill, bfill, paper."}
    )
    min_coverage: float = field(
        default=0.5,
        metadata={"help": "Score only prompts with at least this share of epochs, after filling."},
    )
    band_low: float = field(default=0.2, metadata={"help": "For band: lowest mean accuracy."})
    band_high: float = field(default=0.8, metadata={"help": "For band: highest mean accuracy."})
    seed: int = field(default=0, metadata={"help": "For random: seed of the choice."})

    def __post_init__(self) -> None:
        for name, value, known in (
            ("method", self.method, tuple(METHODS)),
            ("value", self.value, ("accuracy", "reward")),
            ("fill", self.fill, FILLS),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")
        if not 0 <= self.min_coverage <= 1:
            raise ValueError(f"min_coverage must be between 0 and 1, not {self.min_coverage}")
        if self.threshold is None and self.keep is None and METHODS[self.method].threshold is None:
            raise ValueError(f"{self.method} has no default threshold: give threshold or keep")


OPTIONS = LimArguments


def run(argv: Sequence[str]) -> None:
    """Parse the options, select, and write.

    Raises:
        InputError: the options or the samples cannot be used.
    """
    arguments = parse_config(LimArguments, argv, "trainer lim")
    require(arguments.output, "output")
    selection = select(arguments)
    print(selection.line())


def select(arguments: LimArguments) -> Selection:
    """Score the prompts, and write the selection.

    Raises:
        InputError: samples or scores are missing or unreadable, or no prompt is kept.
    """
    if (arguments.samples is None) == (arguments.scores is None):
        raise InputError("give either --samples (a folder) or --scores (a file)")
    if arguments.scores is not None:
        return _from_scores(arguments, arguments.scores)
    table = _read(arguments)
    t = _trajectories(arguments, table)
    scores = METHODS[arguments.method].score(t)
    scores[coverage(t.value) < max(arguments.min_coverage, 1e-9)] = np.nan
    rows = kept(scores, threshold=_threshold(arguments), at_most=arguments.keep)
    facts = {
        "samples": table.samples,
        "samples without a reward": table.unrewarded,
        "epochs": t.value.shape[1],
        "rewards by (fingerprints)": ", ".join(table.fingerprints),
    }
    selection = Selection(table.prompts, scores, rows, table.facts, t.value)
    return _write(arguments, selection, facts)


def _read(arguments: LimArguments) -> RewardTable:
    try:
        return read_table(
            Path(require(arguments.samples, "samples")),
            steps_per_epoch=arguments.steps_per_epoch,
            max_epochs=arguments.max_epochs,
            full_reward=arguments.full_reward,
        )
    except (FileNotFoundError, NoEpochs, ValueError) as error:
        raise InputError(str(error)) from error


def _trajectories(arguments: LimArguments, table: RewardTable) -> Trajectories:
    """Return the filled matrices; prompts with too few epochs do not count in the mean of all
    prompts.

    All epochs of such a prompt are set to missing.
    """
    fill = cast(Fill, arguments.fill)
    accuracy, reward = filled(table.accuracy, fill), filled(table.reward, fill)
    short = coverage(accuracy) < arguments.min_coverage
    accuracy[short] = reward[short] = np.nan
    by_accuracy = arguments.value == "accuracy"
    return Trajectories(
        value=accuracy if by_accuracy else reward,
        accuracy=accuracy,
        reward=reward,
        full=1.0 if by_accuracy else arguments.full_reward,
        band=(arguments.band_low, arguments.band_high),
        seed=arguments.seed,
    )


def _threshold(arguments: LimArguments) -> float | None:
    if arguments.threshold is not None or arguments.keep is not None:
        return arguments.threshold
    return METHODS[arguments.method].threshold


def _from_scores(arguments: LimArguments, name: str) -> Selection:
    """Select by scores computed elsewhere, such as those that LIMR released."""
    path = Path(name)
    try:
        text = path.read_text(encoding="utf-8")
        lines = json.loads(text) if text.lstrip().startswith("[") else _json_lines(text)
        named = {_name(line): line["score"] for line in lines}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{name} must hold rows of prompt (or id) and score: {error!r}") from error
    scores = np.array([np.nan if s is None else s for s in named.values()], dtype=float)
    threshold = _threshold(arguments)
    rows = kept(scores, threshold=threshold, at_most=arguments.keep)
    nothing = np.full((len(scores), 0), np.nan)
    selection = Selection(list(named), scores, rows, {}, nothing)
    return _write(arguments, selection, {"scores from": name})


def _name(line: dict[str, Any]) -> str:
    """Return the key of a row: its id, or its prompt without surrounding white space."""
    return str(line["id"]) if "id" in line else str(line["prompt"]).strip()


def _json_lines(text: str) -> list[Any]:
    # Not `splitlines`, which also splits at U+2028 and other characters that JSON strings may
    # contain.
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _write(arguments: LimArguments, selection: Selection, facts: dict[str, Any]) -> Selection:
    if not len(selection.rows):
        scored = int((~np.isnan(selection.scores)).sum())
        raise InputError(
            f"no prompt is kept: {scored} of {len(selection.prompts)} prompts have a score"
            + (f", the best {np.nanmax(selection.scores):.3f}" if scored else "")
            + f"; threshold {_threshold(arguments)}"
        )
    output = Path(require(arguments.output, "output"))
    output.mkdir(parents=True, exist_ok=True)
    about = {
        "method": f"{arguments.method}: {METHODS[arguments.method].meaning}",
        "threshold": _threshold(arguments),
        "at most": arguments.keep,
        "prompts": len(selection.prompts),
        "prompts with a score": int((~np.isnan(selection.scores)).sum()),
        "kept": len(selection.rows),
        **facts,
    }
    about = {name: value for name, value in about.items() if value not in (None, "")}
    write_provenance(output, command_line(), [arguments], selection=about)
    write_page(
        output,
        selection.matrix,
        selection.scores,
        selection.rows,
        threshold=_threshold(arguments),
        facts=about,
    )
    write_selection(output, selection, arguments.dataset, arguments.method, about)
    return selection
