"""Why the grader matters: the same GRPO with three graders, over three seeds, in one picture.

One verifier fails for one sample in ten. This server reports null for it; a common kind of grader
answers 0; a third grader accepts any answer that contains the ground truth. All run as servers on
loopback, used by the same trainer. Afterwards the profile `r1_zero`, which no run was trained on,
checks the responses. Finished runs are skipped, so an interrupted benchmark continues.
"""

from __future__ import annotations

import json
import random
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import RESULTS, ROOT, live_server, record
from touchstone_rewards.clients import RemoteRewardClient, Sample
from touchstone_rewards.reward_server.live_server import LiveServer, without_settings
from touchstone_rewards.trainer.config import parse_config
from touchstone_rewards.trainer.data.kept_samples import HELD_OUT, KeptSample, read_samples
from touchstone_rewards.trainer.running.plots import LIGHT, as_svg, dress, smoothed
from touchstone_rewards.trainer.study.command import StudyConfigs, make_plan, run_of
from touchstone_rewards.trainer.study.figures import Curve, Run, rows_by_measure, summarize
from touchstone_rewards.trainer.toy import demo
from touchstone_rewards.trainer.workflow.stages import only_one, run_stage

CONFIG = ROOT / "trainer" / "configs" / "why_tiny.yaml"
HOSTED = "null_for_failed"  # hosted by this server; the others by the server of `_graders`
TRUTH = "r1_zero"
SFT_STEPS = 400
# Share of tagged lessons with a second number, as pretraining texts may have.
HEDGED = 0.3
PROFILE = {
    "description": "1 for the right number in its tags; one call in ten fails.",
    "scorers": {"verify": {"scorer": "benchmarks._graders:verify"}},
}
LABELS = {
    "null_for_failed": "this server: a failed call is null",
    "zero_for_failed": "a failed call is 0",
    "substring": "the ground truth somewhere in the answer is 1",
}
PANELS = {
    "reward": "Reward that the trainer sees",
    "right": "Right, by a check that no run was trained on",
    "hacked": "Rewarded with 1 and wrong",
}


class Judged(NamedTuple):
    """One kept sample: its training reward, whether it is right, whether it hedges."""

    step: int
    group: str
    reward: float | None
    right: bool
    hedged: bool = False


def make_start(folder: Path) -> None:
    """Make data, and a model that knows few sums, hardly the format, and sometimes hedges."""
    if (folder / "sft" / "model.safetensors").is_file():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    arguments = demo.DemoArguments(output=str(folder), sft_steps=SFT_STEPS)
    base = demo.make_data_and_model(folder, arguments)
    path, rng = folder / "data" / "sft.jsonl", random.Random(arguments.seed)
    lessons = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for lesson in lessons:
        lesson["response"] = hedged(lesson["response"], rng)
    path.write_text("".join(json.dumps(each) + "\n" for each in lessons), encoding="utf-8")
    demo.train_sft(folder, base, arguments)


def hedged(response: str, rng: random.Random) -> str:
    """Return the response, sometimes with a second number beside the right one in its tags."""
    found = re.search(r"<answer> (\d+) </answer>", response)
    if found is None or rng.random() >= HEDGED:
        return response
    right = int(found[1])
    both = [right, max(0, right + rng.choice((-2, -1, 1, 2)))]
    rng.shuffle(both)
    return response.replace(found[0], f"<answer> {both[0]} or {both[1]} </answer>")


@contextmanager
def graders(folder: Path) -> Iterator[tuple[str, str]]:
    """Start this server with the verifier as a profile, and the server of the other graders."""
    profiles = folder / "profiles"
    profiles.mkdir(exist_ok=True)
    (profiles / "verify.yaml").write_text(yaml.safe_dump(PROFILE), encoding="utf-8")
    ours = live_server(folder / "server.log", "--profiles_dir", str(profiles))
    ours.dies_with_parent = True
    others = LiveServer(
        folder / "graders.log",
        environment=without_settings(),
        cwd=ROOT,
        dies_with_parent=True,
        module="benchmarks._graders",
    )
    with ours, others:
        yield ours.url, others.url


def judged(samples: Sequence[KeptSample], client: RemoteRewardClient) -> list[Judged]:
    """Check the samples of a run against their ground truths, with this server."""
    asked = [
        Sample(str(place), each.response, ground_truth=each.ground_truth)
        for place, each in enumerate(samples)
    ]
    results = client.score(asked, TRUTH)
    assert all(result.reward is not None for result in results), "a sample could not be checked"
    return [
        Judged(each.step, each.group, each.reward, result.reward == 1, " or " in each.response)
        for each, result in zip(samples, results, strict=True)
    ]


def by_step(samples: Sequence[Judged]) -> list[list[Judged]]:
    steps: dict[int, list[Judged]] = defaultdict(list)
    for each in samples:
        steps[each.step].append(each)
    return [steps[step] for step in sorted(steps)]


def curves_of(samples: Sequence[Judged]) -> dict[str, list[float]]:
    """Return by update the mean training reward, and the shares of right samples, of wrong samples
    with a reward of 1, and of samples with a second number."""
    steps = by_step(samples)
    rewards = [[each.reward for each in step if each.reward is not None] for step in steps]
    return {
        "reward": [round(fmean(step), 4) for step in rewards],
        "right": [round(fmean(each.right for each in step), 4) for step in steps],
        "hacked": [
            round(fmean(each.reward == 1 and not each.right for each in step), 4) for step in steps
        ],
        "hedged": [round(fmean(each.hedged for each in step), 4) for step in steps],
    }


def counts_of(samples: Sequence[Judged]) -> dict[str, float]:
    """Return counts over a run: samples, those without a reward, right ones with reward 0, groups
    with different rewards, and those of them that teach noise: all their responses are right, or
    all wrong."""
    groups: dict[tuple[int, str], list[Judged]] = defaultdict(list)
    for each in samples:
        groups[each.step, each.group].append(each)
    teaching = [
        group
        for group in groups.values()
        if len({each.reward for each in group if each.reward is not None}) > 1
    ]
    return {
        "samples": len(samples),
        "without_reward": sum(each.reward is None for each in samples),
        "right_with_0": sum(each.right and each.reward == 0 for each in samples),
        "groups_that_teach": len(teaching),
        "groups_that_teach_noise": sum(
            len({each.right for each in group if each.reward is not None}) == 1
            for group in teaching
        ),
    }


def held_out(samples: Sequence[Judged]) -> Run:
    """Return greedy accuracy on the held-out rows by the true check, in a study's form."""
    steps = by_step(samples)
    right = [{each.group: float(each.right) for each in step} for step in steps]
    accuracy = [fmean(rows.values()) for rows in right]
    at = [float(step[0].step) for step in steps]
    return Run(Curve(at, accuracy, [None] * len(at)), rows_by_measure(right))


def draw(found: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Draw the three panels: means over the seeds, bands from the lowest to the highest seed."""
    top = max(max(run[key]) for runs in found.values() for run in runs.values() for key in PANELS)
    figure = Figure(figsize=(12.5, 3.8), facecolor=LIGHT.background, layout="constrained")
    for place, (key, title) in enumerate(PANELS.items(), 1):
        axes = figure.add_subplot(1, len(PANELS), place)
        for (name, label), colour in zip(LABELS.items(), LIGHT.lines, strict=False):
            _draw_lines(axes, [run[key] for run in found[name].values()], label, colour)
        axes.set_ylim(-0.02, min(1.0, top) + 0.02)
        axes.set_title(title, color=LIGHT.ink, fontsize=10, loc="left")
        axes.set_xlabel("update", color=LIGHT.ink, fontsize=8)
        dress(axes, LIGHT)
    first = figure.axes[0]
    figure.legend(*first.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return as_svg(figure)


def _draw_lines(axes: Axes, runs: Sequence[Sequence[float]], label: str, colour: str) -> None:
    columns = list(zip(*map(smoothed, runs), strict=True))
    at = range(1, len(columns) + 1)
    axes.fill_between(at, list(map(min, columns)), list(map(max, columns)), color=colour, alpha=0.2)
    axes.plot(at, list(map(fmean, columns)), color=colour, linewidth=2, label=label)


def rows_of(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each comparison and measure."""
    rows = []
    for each in found["comparisons"]:
        ours, peer = (
            found["settings"][each[name]][each["measure"]]["mean"] for name in ("this", "other")
        )
        rows.append(
            {
                "what": f"{each['question']}: {each['measure']}; peer {each['other']}",
                "ours": ours,
                "peer": peer,
                "ratio": ours / peer if peer else None,
                "difference_interval": each["interval"],
                "difference_by_seed": each["by_seed"],
                "apart": each["apart"],
            }
        )
    return rows


def main() -> None:
    # a second thread gains little at this size, and costs time on a busy machine
    torch.set_num_threads(1)
    parsed = parse_config(StudyConfigs, ["--config", str(CONFIG)], "benchmarks why")
    plan = make_plan(*parsed)
    runs: dict[str, dict[int, Run]] = defaultdict(dict)
    curves: dict[str, dict[str, Any]] = defaultdict(dict)
    with only_one(plan.output):
        make_start(plan.output / "0_start")
        with graders(plan.output) as (ours, others), RemoteRewardClient(ours) as client:
            for seed in plan.arguments.seeds:
                for name in plan.settings:
                    stage = run_of(plan, name, seed, [ours if name == HOSTED else others])
                    # In this process: starting another one takes a third of a run's time.
                    kept = run_stage(plan.output, replace(stage, trains=False)) / "samples"
                    samples = judged(list(read_samples(kept)), client)
                    curves[name][str(seed)] = {**curves_of(samples), **counts_of(samples)}
                    rows = judged(list(read_samples(kept / HELD_OUT)), client)
                    runs[name][seed] = held_out(rows)
    found = summarize(runs, plan.comparisons)
    (RESULTS / "why.svg").write_bytes(draw(curves))
    record(
        "why",
        rows_of(found),
        peer="the same training with another grader",
        seeds=found["seeds"],
        settings=found["settings"],
        runs=curves,
        evidence=found["evidence"],
    )


if __name__ == "__main__":
    main()
