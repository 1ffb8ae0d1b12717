"""Make the 400 samples that every trainer gets, and the settings of the server that scores them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

GROUP = 4
END = "<|im_end|>"
FAULTS = "benchmarks._parity.faults"
PROFILES: dict[str, Any] = {
    "math": None,
    "format": None,
    "blend": {
        "scorers": {
            "math": {"weight": 0.7},
            "length": {"weight": 0.3, "config": {"shape": "target", "target": 11}},
        }
    },
    "brief": {
        "scorers": {"length": {"config": {"shape": "target", "target": 90, "unit": "characters"}}}
    },
    "mix": {
        "route": {
            "by": "metadata.data_source",
            "cases": {"sums": "blend", "tags": "format", "notes": "brief"},
            "otherwise": "error",
        }
    },
    "slow": {"scorers": {"slow": {"scorer": f"{FAULTS}:slow", "deadline_s": 60}}},
    "faulty": {"scorers": {"faulty": {"scorer": f"{FAULTS}:faulty", "deadline_s": 2}}},
}
# For trainers that are slow to start: this profile routes by a field that names the part's profile.
EVERY = "every"
SCORED_BY = (*PROFILES, "reward_model", "reward_model_plain")
# The parts that cannot be scored, with profile and error code. A bad ground truth affects the whole
# group, the other faults its second sample.
NULLS = {
    "no_ground_truth": ("math", "bad_ground_truth"),
    "unreadable_ground_truth": ("math", "bad_ground_truth"),
    "killed_worker": ("faulty", "worker_lost"),
    "hung_worker": ("faulty", "deadline_exceeded"),
    "raised": ("faulty", "scorer_failed"),
    "gave_none": ("faulty", "scorer_failed"),
}
BAD_TRUTHS = {"no_ground_truth": None, "unreadable_ground_truth": "\\frac{1}{"}
SIZES = {"math": 120, "format": 80, "reward_model": 80, "mix": 80, "slow": 16}
"""Samples per part; with those of `NULLS`, 400."""


def samples() -> list[dict[str, Any]]:
    """Return the samples, each with id, part, profile, prompt, response, ground truth, metadata."""
    made: list[dict[str, Any]] = []
    draw = random.Random(24)
    for part in (*SIZES, *NULLS):
        profile = part if part in SIZES else NULLS[part][0]
        for _ in range(SIZES.get(part, GROUP) // GROUP):
            number = len(made) // GROUP
            for place, row in enumerate(_group(part, number, draw)):
                about = {"id": f"q{number}/{place}", "part": part, "profile": profile}
                made.append({**about, "metadata": {}, **row})
    return made


def _group(part: str, number: int, draw: random.Random) -> Iterator[dict[str, Any]]:
    """Yield four samples of one prompt with different responses."""
    a, b = draw.randint(2, 99), draw.randint(2, 99)
    value = Fraction(a, b) if number % 3 == 0 else Fraction(a + b)
    asked = f"{a} / {b}" if number % 3 == 0 else f"{a} + {b}"
    truth = (
        str(value)
        if value.denominator == 1
        else f"\\frac{{{value.numerator}}}{{{value.denominator}}}"
    )
    row = {"prompt": f"Question {number}: what is {asked}?", "ground_truth": truth}
    source = ("sums", "tags", "notes")[number % 3]
    if part in ("math", *NULLS) or (part == "mix" and source == "sums"):
        yield from _math_rows(row, value, draw, part)
    elif part in ("format", "slow") or (part == "mix" and source == "tags"):
        yield from _tag_rows(row, value, draw, part)
    else:
        for place in range(GROUP):
            words = draw.choices(_WORDS, k=5 + 4 * place)
            yield {**_sourced(row, part, "notes"), "response": " ".join(words) + f" {place}."}


_WORDS = [
    *("the", "lighthouse", "keeper", "counted", "naïve", "waves,", "灯塔", "and", "🌊"),
    *("then", "wrote:", "“enough”", "—", "or", "so."),
]


def _sourced(row: dict[str, Any], part: str, source: str) -> dict[str, Any]:
    return {**row, "metadata": {"data_source": source}} if part == "mix" else row


def _math_rows(
    row: dict[str, Any], value: Fraction, draw: random.Random, part: str
) -> Iterator[dict[str, Any]]:
    twice = f"\\frac{{{2 * value.numerator}}}{{{2 * value.denominator}}}"
    says = [
        f"So it is \\boxed{{{value}}}.",
        f"{' '.join(draw.choices(_WORDS, k=draw.randint(1, 9)))}\n\n\\boxed{{{value + 1}}}",
        f"The answer, doubled above and below:\n$\\boxed{{{twice}}}$",
        f"I do not know, {draw.choice(_WORDS)}.",
    ]
    for place, response in enumerate(says):
        made = {**_sourced(row, part, "sums"), "response": response}
        if part in BAD_TRUTHS:
            made["ground_truth"] = BAD_TRUTHS[part]
        elif part in NULLS and place == 1:
            made["response"] = f"{part} {response}"
        yield made


def _tag_rows(
    row: dict[str, Any], value: Fraction, draw: random.Random, part: str
) -> Iterator[dict[str, Any]]:
    thought = " ".join(draw.choices(_WORDS, k=6))
    for response in (
        f"<think>{thought}</think><answer>{value}</answer>",
        f"<think>{thought}</think> {value}",
        f"<answer>{value}</answer>",
        f"{thought}: {value}",
    ):
        yield {**_sourced(row, part, "tags"), "response": response}


def write_settings(folder: Path, reward_model: Path) -> Path:
    """Write the profiles, the ground truths for trainers that send none, and the settings."""
    profiles = folder / "profiles"
    profiles.mkdir()
    # One text per batch, so that a reward has the same bits whatever it is batched with.
    model = {"model": str(reward_model), "batch_tokens": 1}
    for name, template in (("reward_model", "chat"), ("reward_model_plain", "plain")):
        config = {**model, "name": name, "template": template}
        content = {"scorers": {"reward_model": {"config": config}}}
        (profiles / f"{name}.yaml").write_text(yaml.safe_dump(content))
    route = {"by": "metadata.scored_by", "cases": {name: name for name in SCORED_BY}}
    every: dict[str, Any] = {"route": {**route, "otherwise": "error"}}
    for name, content in {**PROFILES, EVERY: every}.items():
        if content is not None:
            (profiles / f"{name}.yaml").write_text(yaml.safe_dump(content))
    truths = folder / "truths.jsonl"
    rows = {
        row["prompt"]: {name: row[name] for name in ("prompt", "ground_truth", "metadata")}
        for row in reversed(samples())  # the first sample of a group comes last, and is kept
    }
    truths.write_text("".join(json.dumps(row) + "\n" for row in rows.values()))
    settings = folder / "server.yaml"
    settings.write_text(
        yaml.safe_dump(
            {
                "profiles_dir": str(profiles),
                "compat_ground_truths": str(truths),
                "cache_bytes": 0,
                "log_level": "error",
            }
        )
    )
    return settings
