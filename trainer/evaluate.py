"""`trainer eval`: generate greedily, score through the reward server, say how sure the numbers are.

In: a model folder, rows with a ground truth. Out: `results.jsonl` (one line a row), `summary.json`
and a table on the screen. A row that could not be scored is counted apart, never as wrong.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset
from rich.console import Console
from rich.table import Table

from clients import Sample, ScoreResult
from trainer.config import parse_config, require
from trainer.data import (
    PromptArguments,
    ensure_sample_ids,
    load_rows,
    require_column,
    with_prompts,
)
from trainer.errors import InputError, RunFailed
from trainer.generation import Generation, generate
from trainer.intervals import normal, wilson
from trainer.rewards import check_server, connect, error_of, score_all

RESULTS, SUMMARY = "results.jsonl", "summary.json"


@dataclass
class EvalArguments:
    """What to measure, on what, by which profile. The key is read from REWARD_API_KEY."""

    model: str | None = field(default=None, metadata={"help": "A model folder or hub name."})
    dataset: str | None = field(default=None, metadata={"help": "A file, a folder or a hub name."})
    dataset_config: str | None = field(
        default=None, metadata={"help": "The configuration of a hub dataset."}
    )
    dataset_split: str = field(default="test", metadata={"help": "The split of a hub dataset."})
    max_rows: int | None = field(default=None, metadata={"help": "Take the first rows only."})
    output: str | None = field(default=None, metadata={"help": "The folder for the results."})
    profile: str = field(default="math", metadata={"help": "The profile that decides."})
    also_profile: list[str] | None = field(
        default=None, metadata={"help": "Profiles that score the same responses beside it."}
    )
    reward_url: list[str] | None = field(
        default=None,
        metadata={"help": "One reward server, or several. Default: REWARD_URL, else port 8700."},
    )
    reward_timeout_s: float = field(
        default=300.0, metadata={"help": "Longest wait for the scores of one profile."}
    )
    ground_truth_column: str = field(
        default="ground_truth", metadata={"help": "The column with the reference answers."}
    )


def run(argv: Sequence[str]) -> None:
    """Parse, generate, score, write.

    Raises:
        InputError: what was typed cannot work.
        RunFailed: no reward server, or not one response could be scored.
    """
    arguments, prompts, generation = parse_config(
        (EvalArguments, PromptArguments, Generation), argv, "trainer eval"
    )
    model = require(arguments.model, "model")
    if model.startswith((".", "/", "~")) and not Path(model).is_dir():
        raise InputError(f"no model folder at {model}")
    name = require(arguments.dataset, "dataset")
    require(arguments.output, "output")
    rows = load_rows(name, arguments.dataset_config, arguments.dataset_split)
    rows = rows.select(range(min(len(rows), arguments.max_rows or len(rows))))
    rows = ensure_sample_ids(with_prompts(rows, prompts))
    require_column(rows, arguments.ground_truth_column, "ground_truth_column")
    check_server(arguments.reward_url, [arguments.profile, *(arguments.also_profile or ())])
    responses = generate(model, rows["prompt"], generation)
    Console().print(as_table({Path(model).name: score_and_write(arguments, rows, responses)}))


def score_and_write(
    arguments: EvalArguments, rows: Dataset, responses: list[str]
) -> dict[str, Any]:
    """Score the responses, write both files, return the summary.

    Raises:
        RunFailed: not one response could be scored; the responses are written all the same.
    """
    samples = [
        Sample(id=row_id, prompt=prompt, response=response, ground_truth=truth)
        for row_id, prompt, response, truth in zip(
            rows["id"],
            rows["prompt"],
            responses,
            rows[arguments.ground_truth_column],
            strict=True,
        )
    ]
    profiles = [arguments.profile, *(arguments.also_profile or ())]
    with connect(arguments.reward_url, arguments.reward_timeout_s) as client:
        scored = {name: score_all(client, samples, name, priority="eval") for name in profiles}
    summary = summarize(scored[arguments.profile]) | {
        "profile": arguments.profile,
        "model": arguments.model,
        "dataset": arguments.dataset,
        "also": {name: summarize(scored[name]) for name in profiles[1:]},
    }
    output = Path(require(arguments.output, "output"))
    output.mkdir(parents=True, exist_ok=True)
    lines = [
        _line(sample, [scored[name][place] for name in profiles], profiles)
        for place, sample in enumerate(samples)
    ]
    (output / RESULTS).write_text("".join(lines), encoding="utf-8")
    (output / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    if summary["num_failed"] == len(samples):
        reason = error_of(scored[arguments.profile][0]) or {"message": "no reward"}
        raise RunFailed(f"not one response could be scored: {reason['message']}")
    return summary


def summarize(results: Sequence[ScoreResult | None]) -> dict[str, Any]:
    """Rates and means over the samples that have a reward, with 95% intervals.

    `accuracy`: share with the full reward of 1. `format_rate`: share with a format score of 1; null
    where the profile has none. Intervals: Wilson for the rates, normal for the mean reward.
    """
    scored = [result for result in results if result is not None and result.reward is not None]
    rewards = [result.reward for result in scored if result.reward is not None]
    formats = [value for result in scored if (value := result.scores.get("format")) is not None]
    right, formatted = rewards.count(1.0), formats.count(1.0)
    return {
        "num_examples": len(results),
        "num_failed": len(results) - len(scored),
        "format_rate": formatted / len(formats) if formats else None,
        "format_rate_interval": wilson(formatted, len(formats)),
        "accuracy": right / len(rewards) if rewards else None,
        "accuracy_interval": wilson(right, len(rewards)),
        "avg_reward": sum(rewards) / len(rewards) if rewards else None,
        "avg_reward_interval": normal(rewards),
        "fingerprint": scored[0].fingerprint if scored else None,
    }


def as_table(summaries: dict[str, dict[str, Any]]) -> Table:
    """One row a summary, and one more for each profile that scored beside it."""
    table = Table(title="share and 95% interval")
    for name in ("", "profile", "right", "formatted"):
        table.add_column(name, no_wrap=True)
    table.add_column("scored", no_wrap=True, justify="right")
    for name, summary in summaries.items():
        for profile, row in {summary["profile"]: summary, **summary["also"]}.items():
            table.add_row(
                name,
                profile,
                _with_interval(row, "accuracy"),
                _with_interval(row, "format_rate"),
                f"{row['num_examples'] - row['num_failed']} of {row['num_examples']}",
            )
    return table


def _with_interval(row: dict[str, Any], key: str) -> str:
    value, interval = row[key], row[f"{key}_interval"]
    if value is None:
        return "-"
    return f"{value:.1%}" + (
        f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else ""
    )


def _line(sample: Sample, results: list[ScoreResult | None], profiles: list[str]) -> str:
    result = results[0]
    content = {
        "id": sample.id,
        "prompt": sample.prompt,
        "response": sample.response,
        "ground_truth": sample.ground_truth,
        "reward": result.reward if result else None,
        "scores": result.scores if result else {},
        "status": result.status if result else "error",
        "error": error_of(result),
        "also": {
            name: other.reward if other else None
            for name, other in zip(profiles[1:], results[1:], strict=True)
        },
    }
    return json.dumps(content) + "\n"
