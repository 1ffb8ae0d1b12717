"""Learning from the story reward: GRPO on small stories with a hidden fact, over three seeds.

The reward sees how much more likely the history made the response, its length and its repetitions,
but no ground truth. A separate measure, which the reward never sees, is whether the response names
the stone that the history mentioned. The peer is the model before training. Results are the figures
on fresh stories, and `results/story.png` with both curves. All runs share one start model; a seed
sets prompts, order and samples.
"""

from __future__ import annotations

import json
import random
import shutil
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks import RESULTS, record
from touchstone_rewards.trainer.__main__ import main as trainer
from touchstone_rewards.trainer.data.kept_samples import read_samples
from touchstone_rewards.trainer.data.rows import load_rows
from touchstone_rewards.trainer.evaluation.generation import Generation, generate, plan_batches
from touchstone_rewards.trainer.running.intervals import clopper_pearson
from touchstone_rewards.trainer.running.plots import LIGHT
from touchstone_rewards.trainer.story import tiny
from touchstone_rewards.trainer.workflow.local_server import reward_server

SEEDS = (0, 1, 2)
CONFIGS = Path(__file__).parents[1] / "trainer" / "configs"
RUNS = Path(__file__).parents[1] / "runs" / "story_study"
LESSONS, PROMPTS, FRESH = 4000, 400, 400


def make_start(folder: Path) -> Path:
    """Return the start model, which can tell stories and sometimes uses the history; make it
    once."""
    if (folder / "sft" / "model.safetensors").is_file():
        return folder / "sft"
    shutil.rmtree(folder, ignore_errors=True)
    rng = random.Random(0)
    rows = converted(folder, [tiny.lesson(rng)[1] for _ in range(LESSONS)])
    # The search is the last turn of a lesson; earlier turns are not lessons of their own.
    lessons = [
        {"prompt": row["prompt"], "response": row["target_response"]}
        for row in rows
        if row["user_input"].startswith("I look")
    ]
    path = write_rows(folder / "sft.jsonl", lessons)
    texts = [json.dumps(row["prompt"]) + row["response"] for row in lessons]
    base = tiny.make_storyteller(folder / "base", texts, seed=0)
    train("sft", base, path, folder / "sft", 0)
    return folder / "sft"


def study(start: Path, seed: int) -> dict[str, Any]:
    """Run GRPO on this seed's prompts; return both curves, and the share of right fresh answers."""
    folder = RUNS / f"seed{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    rng = random.Random(seed)
    stories = [tiny.draw_story(rng) for _ in range(PROMPTS)]
    told = [tiny.conversation(story, tiny.found(story.colour)) for story in stories]
    rows = [row for row in converted(folder, told) if row["conversation_history"]]
    path = write_rows(folder / "prompts.jsonl", rows)
    with reward_server(folder / "server.log", "--profiles_dir", str(CONFIGS / "profiles")) as url:
        train("grpo", start, path, folder / "grpo", seed, "--reward_url", url)
    colours = {f"row-{n}": story.colour for n, story in enumerate(stories)}
    return {**curves_of(folder / "grpo" / "samples", colours), **measure(folder / "grpo")}


def converted(folder: Path, told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Convert these conversations to rows with `trainer data story`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "form.jinja").write_text(tiny.FORMAT, encoding="utf-8")
    (folder / "told.json").write_text(json.dumps(told), encoding="utf-8")
    words = [f"--input={folder / 'told.json'}", f"--output={folder / 'told.parquet'}"]
    assert trainer(["data", "story", *words, f"--format_prompt={folder / 'form.jinja'}"]) == 0
    return load_rows(str(folder / "told.parquet")).to_list()


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def train(stage: str, model: Path, rows: Path, output: Path, seed: int, *more: str) -> None:
    words = [f"--model_name_or_path={model}", f"--dataset_name={rows}", f"--output_dir={output}"]
    words += [f"--seed={seed}", "--config", str(CONFIGS / f"story_tiny_{stage}.yaml")]
    assert trainer([stage, *words, *more]) == 0


def curves_of(samples: Path, colours: dict[str, str]) -> dict[str, list[float]]:
    """Return by update the mean reward, and the share of samples that use the hidden fact."""
    rewards: dict[int, list[float]] = defaultdict(list)
    right: dict[int, list[float]] = defaultdict(list)
    for sample in read_samples(samples):
        assert sample.reward is not None
        rewards[sample.step].append(sample.reward)
        right[sample.step].append(float(tiny.is_right(sample.response, colours[sample.group])))
    means = {"reward": rewards, "right": right}
    return {
        name: [statistics.fmean(by_step[step]) for step in sorted(by_step)]
        for name, by_step in means.items()
    }


def measure(model: Path) -> dict[str, Any]:
    """Return the share of right answers on fresh stories, sampled as in training and greedy."""
    rng = random.Random(10_000)
    stories = [tiny.draw_story(rng) for _ in range(FRESH)]
    found: dict[str, Any] = {}
    for name, temperature in (("sampled", 1.0), ("greedy", 0.0)):
        answers = answers_of(model, stories, temperature)
        right = sum(tiny.is_right(a, s.colour) for a, s in zip(answers, stories, strict=True))
        found |= {name: right / FRESH, f"{name}_interval": clopper_pearson(right, FRESH)}
    return found


def answers_of(model: Path, stories: Sequence[tiny.TinyStory], temperature: float) -> list[str]:
    """Return one answer to the search in each story."""
    settings = Generation(max_new_tokens=24, batch_size=200, temperature=temperature)
    prompts = tiny.second_prompts(stories)
    batches, answers = plan_batches(prompts, settings), [""] * len(prompts)
    for number, responses in generate(str(model), prompts, settings):
        for place, (answer,) in zip(batches[number], responses, strict=True):
            answers[place] = answer
    return answers


def draw(found: dict[int, dict[str, Any]], path: Path) -> None:
    """Draw both curves of every seed: the reward, and the measure that it never saw."""
    figure = Figure(figsize=(7.2, 3.6), facecolor=LIGHT.background, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    names = {"reward": "reward", "right": "the hidden fact is used (the reward never sees this)"}
    for (name, label), colour in zip(names.items(), LIGHT.lines, strict=False):
        table = [each[name] for each in found.values()]
        steps = range(1, len(table[0]) + 1)
        for values in table:
            axes.plot(steps, values, color=colour, linewidth=0.7, alpha=0.45)
        means = [statistics.fmean(column) for column in zip(*table, strict=True)]
        axes.plot(steps, means, color=colour, linewidth=2.2, label=label)
    axes.set_xlabel("update")
    axes.set_ylim(0, 1.03)
    axes.grid(color=LIGHT.grid, linewidth=0.6)
    axes.set_title(f"Mean of {len(found)} seeds, each thin", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    figure.savefig(path, dpi=110)


def main() -> None:
    torch.set_num_threads(1)
    start = make_start(RUNS / "start")
    before = measure(start)
    print(f"before {json.dumps(before)}", flush=True)
    found: dict[int, dict[str, Any]] = {}
    rows = []
    for seed in SEEDS:
        found[seed] = study(start, seed)
        rows.append(as_row(seed, found[seed], before))
        print(json.dumps(rows[-1]), flush=True)
    draw(found, RESULTS / "story.png")
    record("story", rows, peer="the same model before GRPO", seeds=list(SEEDS), before=before)


def as_row(seed: int, after: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    ends = {
        f"{name}_{place}": round(statistics.fmean(part), 4)
        for name in ("reward", "right")
        for place, part in (("first_5", after[name][:5]), ("last_5", after[name][-5:]))
    }
    return {
        "what": f"sampled answers to freshly drawn stories that use the hidden fact, seed {seed}",
        "ours": after["sampled"],
        "interval": after["sampled_interval"],
        "peer": before["sampled"],
        "ratio": after["sampled"] / max(before["sampled"], 1 / FRESH),
        "greedy": after["greedy"],
        "greedy_interval": after["greedy_interval"],
        **ends,
    }


if __name__ == "__main__":
    main()
