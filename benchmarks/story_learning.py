"""Learning from a story profile with a real model: GRPO with LoRA on SmolLM2, and a hidden fact.

Two profiles, three seeds each: `story` of today, and `story` of version 0.1.0, as the server of
that version scores it out of an older checkout:

    git worktree add ../before 4fd662f
    STORY_BEFORE=../before make bench BENCH=story_learning

In both, `format` has no weight, since no JSON is asked of so small a model, and all lengths are
times 0.25. No profile sees whether a response uses the fact in
its history: whether someone who looks for a thing that was hidden under a stone names the color of
that stone, and no other. The picture
`results/story_learning.png` shows, by update, both rewards, the share of right answers, distinct-3,
the length and the gain of the history; a table compares the last updates. A stopped run continues.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks import RESULTS, ROOT, _tables, older_server, record
from benchmarks._older_wire import older_wire
from benchmarks._real import PAGE, RUNS, trained, write_rows
from touchstone_rewards.clients import RemoteRewardClient, Sample
from touchstone_rewards.reward_server.scorers.story.text import units
from touchstone_rewards.trainer.data.kept_samples import KeptSample, read_samples
from touchstone_rewards.trainer.demo.base_model import fetched_model
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.running.intervals import student
from touchstone_rewards.trainer.running.plots import LIGHT
from touchstone_rewards.trainer.story import tiny
from touchstone_rewards.trainer.story.convert import read_format_prompt, story_rows
from touchstone_rewards.trainer.workflow.local_server import reward_server
from touchstone_rewards.trainer.workflow.stages import only_one

# In the page: the rows of its two tables.
PLACE = _tables.places("profiles")
STORY = Path("reward_server", "profiles", "neural", "story.yaml")
PROFILE = "story_short"
SHORTER = 0.25
# What counts units, with its default where the profile leaves it out.
LENGTHS = {
    "length": {"least": 80, "most": 100, "sigma": 20},
    "repetition": {"full_at": 40},
    "own_phrases": {"full_at": 40},
    "own_words": {"full_at": 40},
    "word_order": {"full_at": 40},
    "novelty": {"full_at": 40},
}
# In 0.1 not to be set.
FIXED_BEFORE = ("novelty",)
METADATA = ("story_content", "conversation_history", "user_input")
# A stopped machine is no deadline: runs like these are paused for hours.
PATIENCE_S = 6 * 3600
REWARDS = {"today": "reward of today's story", "before": "reward of story in 0.1"}
RIGHT = "the hidden fact used rightly"
GAIN = "gain of the history, nats a token"
MEASURES = (*REWARDS.values(), RIGHT, "distinct-3", "words", GAIN)
# What a response may have more of where it uses the fact.
PAID = {**REWARDS, "gain": GAIN}


class Sizes(NamedTuple):
    """How much is trained: some 1,800 processor seconds as it stands. An update is of one story;
    no story comes twice in a run. `start`: of how many stories the untrained model is measured."""

    updates: int = 24
    last: int = 6
    start: int = 8
    group: int = 8
    new_tokens: int = 40
    stories: int = 200
    seeds: tuple[int, ...] = (0, 1, 2)


class Stories(NamedTuple):
    """A file of rows, and by row the color that is right."""

    rows: Path
    colours: dict[str, str]


class Measured(NamedTuple):
    """A response, and what is measured of it alone; None where there is no reward."""

    words: list[str]
    values: dict[str, float | None]


# The kept samples of a run by update and story.
Run = dict[tuple[int, str], list[Measured]]


def make_stories(path: Path, stories: Sequence[tiny.TinyStory]) -> Stories:
    """Write the rows that ask for the hidden thing."""
    told = [tiny.conversation(story, tiny.found(story.colour)) for story in stories]
    rows = story_rows(told, read_format_prompt("none"), "story", [])
    searches = [row for row in rows if row["conversation_history"]]
    colours = {f"row-{n}": story.colour for n, story in enumerate(stories)}
    return Stories(write_rows(path, searches), colours)


def shortened(profile: Path, fixed: Collection[str] = ()) -> str:
    """Return a story profile without weight on its form, with all lengths times `SHORTER` but those
    of the scorers in `fixed`."""
    content = yaml.safe_load(profile.read_text(encoding="utf-8"))
    scorers = content["scorers"]
    scorers["format"]["weight"] = 0.0
    for name, lengths in LENGTHS.items():
        if name in scorers and name not in fixed:
            config = scorers[name]["config"]
            scorers[name]["config"] = config | {
                key: config.get(key, value) * SHORTER for key, value in lengths.items()
            }
    return yaml.safe_dump(content, sort_keys=False)


def learn(
    folder: Path, model: Path, before: Path, sizes: Sizes
) -> tuple[Run, dict[str, list[Run]]]:
    """Return one update of many stories, whose responses are the untrained model's, and by profile
    the run of each seed."""
    rng = random.Random(0)
    drawn = [tiny.draw_story(rng) for _ in range(sizes.stories)]
    stories = make_stories(folder / "stories.jsonl", drawn)
    options: dict[str, tuple[str, ...]] = {}
    for name, checkout, fixed in (("today", ROOT, ()), ("before", before, FIXED_BEFORE)):
        profiles = folder / f"profiles_{name}"
        profiles.mkdir(exist_ok=True)
        profile = shortened(checkout / STORY, fixed)
        (profiles / f"{PROFILE}.yaml").write_text(profile, encoding="utf-8")
        patience = ("--request_deadline_s", str(PATIENCE_S))
        options[name] = ("--profiles_dir", str(profiles), *patience)
    found: dict[str, list[Run]] = defaultdict(list)
    with (
        reward_server(folder / "today.log", *options["today"]) as today,
        older_server(before, folder / "before.log", *options["before"]) as older,
        older_wire(older.url) as then,
    ):
        urls = {"today": today, "before": then}

        def run(name: str, url: str, **fields: Any) -> Run:
            made = train_one(folder, name, url, model, stories.rows, sizes, **fields)
            refuse_other_profile(made, url)
            return read_run(made, urls, stories.colours)

        once = {"seed": 0, "max_steps": 1, "gradient_accumulation_steps": sizes.start}
        start = run("start", today, **once)
        for seed in sizes.seeds:
            for name, url in urls.items():
                updates = {"seed": seed, "max_steps": sizes.updates}
                found[name].append(run(f"{name}.seed{seed}", url, **updates))
        return start, found


def train_one(
    folder: Path,
    name: str,
    url: str,
    model: Path,
    rows: Path,
    sizes: Sizes,
    **fields: Any,
) -> Path:
    """Run GRPO by one profile, unless it is done; return its folder."""
    return trained(
        folder,
        "grpo",
        name,
        url,
        model_name_or_path=str(model),
        dtype="bfloat16",
        dataset_name=str(rows),
        save_steps=4,
        reward_profile=PROFILE,
        reward_timeout_s=PATIENCE_S,
        ground_truth_column="target_response",
        metadata_columns=list(METADATA),
        signals={"enabled": True},
        learning_rate=4e-4,
        use_peft=True,
        lora_r=16,
        lora_alpha=32,
        lora_dropout=0.0,
        lora_target_modules="all-linear",
        per_device_train_batch_size=sizes.group,
        num_generations=sizes.group,
        max_completion_length=sizes.new_tokens,
        temperature=0.8,
        beta=0.0,
        **fields,
    )


def refuse_other_profile(run: Path, url: str) -> None:
    """Hold the profile that a run was scored by against the one that is served now.

    Raises:
        InputError: they differ, as when the profile was changed since.
    """
    with RemoteRewardClient(url) as client:
        [served] = [each.fingerprint for each in client.profiles() if each.name == PROFILE]
    scored_by = {sample.fingerprint for sample in read_samples(run / "samples")} - {None}
    if scored_by != {served}:
        raise InputError(
            f"{run} was scored by profile {', '.join(map(str, scored_by))}, and {served} is served "
            "now: remove the folder to train it anew"
        )


def read_run(run: Path, urls: Mapping[str, str], colours: Mapping[str, str]) -> Run:
    """Return the kept samples of a run, each with the rewards of both profiles."""
    kept = list(read_samples(run / "samples"))
    rewards = both_rewards(run / "rewards.json", kept, urls)
    found: Run = defaultdict(list)
    for place, sample in enumerate(kept):
        own = {REWARDS[name]: column[place] for name, column in rewards.items()}
        colour = colours[sample.group]
        found[sample.step, sample.group].append(measured(sample, colour, own))
    return dict(found)


def measured(sample: KeptSample, colour: str, rewards: Mapping[str, float | None]) -> Measured:
    words = units(sample.response)
    values = {
        **rewards,
        RIGHT: float(tiny.is_right(sample.response, colour)),
        "words": float(len(words)),
        GAIN: sample.signals.get("logprob_gain"),
    }
    return Measured(words, values)


def both_rewards(
    path: Path, kept: Sequence[KeptSample], urls: Mapping[str, str]
) -> dict[str, list[float | None]]:
    """Return every sample's rewards by both profiles: asked for once, then read from the file."""
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    asked = [
        Sample(
            id=str(place),
            prompt=sample.prompt,
            response=sample.response,
            ground_truth=sample.ground_truth,
            signals=sample.signals,
            metadata=sample.metadata,
        )
        for place, sample in enumerate(kept)
    ]
    found = {}
    for name, url in urls.items():
        with RemoteRewardClient(url, timeout_s=PATIENCE_S) as client:
            found[name] = [each.reward for each in client.score(asked, PROFILE)]
    path.write_text(json.dumps(found), encoding="utf-8")
    return found


def distinct(samples: Sequence[Measured]) -> list[float | None]:
    """Return distinct-3 of all these responses together, as the mean of what each adds to it.

    A run of three words that is said n times counts 1/n each time; who says no three words adds
    nothing.
    """
    said = [list(zip(one.words, one.words[1:], one.words[2:], strict=False)) for one in samples]
    counts = Counter(run for runs in said for run in runs)
    return [fmean(1 / counts[run] for run in runs) if runs else None for runs in said]


def values_of(samples: Sequence[Measured], measure: str) -> list[float | None]:
    """Return a measure of each response, None where it has none."""
    if measure == "distinct-3":
        return distinct(samples)
    return [one.values[measure] for one in samples]


def curve(run: Run, measure: str) -> list[float]:
    """Return the mean of a measure by update, or by story where an update is of several."""
    return [
        fmean(value for value in values_of(run[key], measure) if value is not None)
        for key in sorted(run)
    ]


def draw(found: Mapping[str, Sequence[Run]], path: Path) -> None:
    """Draw one panel per measure: a color per profile, seeds thin, means thick."""
    figure = Figure(figsize=(10.5, 5.6), facecolor=LIGHT.background, layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(2, 3).flat)
    for axes, measure in zip(panels, MEASURES, strict=True):
        for (name, runs), colour in zip(found.items(), LIGHT.lines, strict=False):
            table = [curve(run, measure) for run in runs]
            steps = range(1, len(table[0]) + 1)
            for values in table:
                axes.plot(steps, values, color=colour, linewidth=0.7, alpha=0.4)
            means = [fmean(column) for column in zip(*table, strict=True)]
            axes.plot(steps, means, color=colour, linewidth=2.2, label=f"trained by {name}")
        axes.set_title(measure, loc="left", fontsize=10)
        axes.grid(color=LIGHT.grid, linewidth=0.6)
        axes.set_xlabel("update")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", frameon=False)
    figure.savefig(path, dpi=110)


def rows_of(start: Run, found: Mapping[str, Sequence[Run]], last: int) -> list[dict[str, Any]]:
    """Return a row per measure: the untrained model, the last updates of each profile's runs with
    95% intervals over stories, and the difference of the profiles on the same stories."""
    rows = []
    for measure in MEASURES:
        ends = {name: [curve(run, measure)[-last:] for run in runs] for name, runs in found.items()}
        flat = {"start": curve(start, measure)}
        flat |= {name: [value for run in runs for value in run] for name, runs in ends.items()}
        apart = [a - b for a, b in zip(flat["today"], flat["before"], strict=True)]
        means = {name: fmean(values) for name, values in flat.items()}
        row = {
            "what": measure,
            "ours": means["today"],
            "peer": means["before"],
            "ratio": means["today"] / means["before"] if means["before"] else None,
            "start": means["start"],
            "intervals": {name: student(values) for name, values in flat.items()},
            "difference": fmean(apart),
            "difference_interval": student(apart),
            "by_seed": {name: [fmean(run) for run in runs] for name, runs in ends.items()},
        }
        print(" | ".join(cells(row)))
        rows.append(row)
    return rows


def paid_for_the_fact(start: Run, found: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    """Return how much more a response has that uses the fact, of each reward and of the gain.

    For each story with responses that use the fact and responses that do not, it is the difference
    of their means; the result is the mean over the stories, with its 95% interval."""
    told = [*start.values()]
    told += [samples for run in found["today"] for samples in run.values()]
    # The first responses are the same under both profiles.
    told += [samples for run in found["before"] for key, samples in run.items() if key[0] > 1]
    paid: dict[str, Any] = {}
    for name, measure in PAID.items():
        by_story = [
            {
                is_right: [
                    value
                    for one in samples
                    if one.values[RIGHT] == is_right and (value := one.values[measure]) is not None
                ]
                for is_right in (1.0, 0.0)
            }
            for samples in told
        ]
        more = [fmean(each[1.0]) - fmean(each[0.0]) for each in by_story if all(each.values())]
        paid[name] = {"mean": fmean(more), "interval": student(more), "stories": len(more)}
    return paid


def cells(row: Mapping[str, Any]) -> list[str]:
    """Return a row of the page: measure, start, by either profile, difference."""
    means = {"start": row["start"], "before": row["peer"], "today": row["ours"]}
    shown = [f"{mean:.2f} {between(row['intervals'][name])}" for name, mean in means.items()]
    apart = f"{row['difference']:+.2f} {between(row['difference_interval'], '+')}"
    return [row["what"], *shown, apart]


def between(interval: Sequence[float] | None, sign: str = "") -> str:
    return "" if interval is None else f"[{', '.join(f'{end:{sign}.2f}' for end in interval)}]"


def filled(page: str) -> str:
    """Return the page with the rows of its tables as the file of results has them."""
    found = json.loads((RESULTS / "story_learning.json").read_text(encoding="utf-8"))
    paid = [
        [
            PAID[name],
            f"{each['mean']:+.2f} {between(each['interval'], '+')}",
            str(each["stories"]),
        ]
        for name, each in found["paid_for_the_fact"].items()
    ]
    tables = {"measures": list(map(cells, found["rows"])), "paid": paid}
    return _tables.filled(page, PLACE, tables.__getitem__)


def main(
    folder: Path = RUNS / "story", model: Path | None = None, sizes: Sizes | None = None
) -> int:
    """Run the unfinished parts, then draw and record the results."""
    before = Path(os.environ.get("STORY_BEFORE", "no folder")).resolve()
    if not (before / STORY).is_file():
        print(f"STORY_BEFORE must name a checkout of version 0.1.0 with {STORY}, not {before}")
        return 2
    torch.set_num_threads(1)
    sizes = sizes or Sizes()
    with only_one(folder):
        start, found = learn(folder, model or fetched_model(), before, sizes)
    draw(found, RESULTS / "story_learning.png")
    record(
        "story_learning",
        rows_of(start, found, sizes.last),
        peer="the story profile of version 0.1.0",
        sizes=sizes._asdict(),
        cut_off=cut_off(folder, sizes),
        paid_for_the_fact=paid_for_the_fact(start, found),
        responses=shown(found),
    )
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


def cut_off(folder: Path, sizes: Sizes) -> dict[str, list[list[float]]]:
    """Return, by profile and seed, the share of responses cut off in each update."""
    shares: dict[str, list[list[float]]] = defaultdict(list)
    for name in REWARDS:
        for seed in sizes.seeds:
            state = json.loads((folder / f"{name}.seed{seed}" / "trainer_state.json").read_text())
            logged = (line.get("completions/clipped_ratio") for line in state["log_history"])
            shares[name].append([share for share in logged if share is not None])
    return shares


def shown(found: Mapping[str, Sequence[Run]]) -> dict[str, list[str]]:
    """Return the words of the responses of each run's last update."""
    return {
        f"{name}, seed {seed}": [" ".join(one.words) for one in run[max(run)]]
        for name, runs in found.items()
        for seed, run in enumerate(runs)
    }


if __name__ == "__main__":
    main()
