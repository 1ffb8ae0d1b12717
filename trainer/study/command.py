"""`trainer study grpo`: run GRPO under several settings and seeds, and compare the results.

One YAML file describes the study. The output folder gets one run per setting and seed,
`study.json`, `study.md` and `study.png`. Each run is `trainer grpo`; a complete one is skipped, an
interrupted one resumed. All runs start from one model and are evaluated greedily on the same
held-out rows. `figures.py` computes the figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markdown import Markdown

from touchstone_rewards.trainer.config import Section, parse_config, require
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.study.figures import Run, read_run, summarize
from touchstone_rewards.trainer.study.settings import COMPARISONS, REFERENCE, SETTINGS, Comparison
from touchstone_rewards.trainer.study.write import write_study
from touchstone_rewards.trainer.toy.word_problems import make_word_problems
from touchstone_rewards.trainer.workflow.check import check_stages
from touchstone_rewards.trainer.workflow.local_server import reward_server
from touchstone_rewards.trainer.workflow.stages import (
    MODEL_FILES,
    Stage,
    filled,
    only_one,
    run_stage,
)

CLIP_RANGE = ("epsilon", "epsilon_high", "delta")  # must not be set with `clip: false`


@dataclass
class StudyArguments:
    """Options of the study itself.

    `grpo` holds the fields of `trainer grpo` that all runs share; `settings` (name: fields) and
    `comparisons` (question: [this, other]) replace the built-in ones; {output} is replaced by the
    folder. Steps are counted in rollouts, however many updates each gives.
    """

    output: str | None = field(default=None, metadata={"help": "Output folder."})
    seeds: list[int] = field(
        default_factory=lambda: [0, 1, 2],
        metadata={"help": "Seeds; there is one run per setting and seed."},
    )
    rollouts: int = field(default=60, metadata={"help": "Number of rollouts of each run."})
    measure_every: int = field(default=10, metadata={"help": "Rollouts between two evaluations."})
    save_every: int | None = field(
        default=None,
        metadata={
            "help": "Rollouts between two checkpoints. Default: none, an interrupted run restarts."
        },
    )
    reward_url: list[str] | None = field(
        default=None, metadata={"help": "URLs of reward servers. Default: start one."}
    )
    num_devices: int = field(default=1, metadata={"help": "Number of processes of each run."})
    word_problems: bool = field(
        default=False, metadata={"help": "First create word problems and a small model."}
    )
    restart_changed: bool = field(
        default=False, metadata={"help": "Restart a run if its settings or data have changed."}
    )
    start_seed: int = field(default=0, metadata={"help": "Seed of those problems and that model."})

    def __post_init__(self) -> None:
        if len(set(self.seeds)) != len(self.seeds) or not self.seeds:
            raise ValueError(
                f"seeds must be a list of one or more different numbers, not {self.seeds}"
            )
        if min(self.rollouts, self.measure_every, self.save_every or 1) < 1:
            raise ValueError("rollouts, measure_every and save_every must be positive")


@dataclass(frozen=True)
class StudyPlan:
    """The runs and comparisons of a study."""

    arguments: StudyArguments
    output: Path
    grpo: dict[str, Any]
    settings: dict[str, dict[str, Any]]
    comparisons: tuple[Comparison, ...]


class StudyConfigs(NamedTuple):
    """The options of `trainer study grpo`."""

    arguments: StudyArguments
    grpo: Section[dict[str, Any]]
    settings: Section[dict[str, Any]]
    comparisons: Section[dict[str, Any]]


OPTIONS = StudyConfigs


def run(argv: Sequence[str]) -> None:
    """Parse the options, run every setting with every seed, and print the results.

    Raises:
        InputError: the options or the data cannot be used.
        RunFailed: a run failed.
    """
    plan = make_plan(*parse_config(StudyConfigs, argv, "trainer study grpo"))
    arguments = plan.arguments
    # Check every setting now, not after hours when its turn comes.
    first = [run_of(plan, name, arguments.seeds[0], []) for name in plan.settings]
    check_stages(plan.output, first)
    with only_one(plan.output):
        if arguments.word_problems:
            make_word_problems(plan.output / "0_start", arguments.start_seed)
        if arguments.reward_url:
            run_all(plan, arguments.reward_url)
        else:
            with reward_server(plan.output / "server.log") as url:
                run_all(plan, [url])
    Console().print(Markdown((plan.output / "study.md").read_text(encoding="utf-8")))


def make_plan(
    arguments: StudyArguments,
    grpo: dict[str, Any],
    settings: dict[str, Any],
    comparisons: dict[str, Any],
) -> StudyPlan:
    """Return the plan with the given or built-in settings and comparisons.

    Raises:
        InputError: a section or field is missing, or a comparison names an unknown setting.
    """
    output = Path(require(arguments.output, "output"))
    if not grpo:
        raise InputError("the config needs a section grpo with the fields that all runs share")
    if not grpo.get("eval_dataset_name"):
        raise InputError("section grpo needs eval_dataset_name, the rows to evaluate on")
    chosen = settings or SETTINGS
    wanted = COMPARISONS
    if comparisons:
        wanted = tuple(Comparison(name, *pair) for name, pair in comparisons.items())
    elif settings:
        wanted = tuple(each for each in COMPARISONS if {each.this, each.other} <= settings.keys())
    for each in wanted:
        if missing := {each.this, each.other} - chosen.keys():
            raise InputError(f"comparison {each.question!r}: no setting {', '.join(missing)}")
    fields = filled(grpo, {"{output}": str(output)})
    return StudyPlan(arguments, output, fields, {k: v or {} for k, v in chosen.items()}, wanted)


def run_all(plan: StudyPlan, url: Sequence[str]) -> None:
    """Run all settings seed by seed, so that a stopped study can still be compared."""
    runs: dict[str, dict[int, Run]] = {name: {} for name in plan.settings}
    for seed in plan.arguments.seeds:
        for name in plan.settings:
            stage = run_of(plan, name, seed, url)
            anew = plan.arguments.restart_changed
            folder = run_stage(plan.output, stage, restart_changed=anew)
            runs[name][seed] = read_run(folder, updates_a_rollout(stage.fields))
        write_study(plan.output, summarize(runs, plan.comparisons), plan.settings)


def run_of(plan: StudyPlan, name: str, seed: int, url: Sequence[str]) -> Stage:
    """Return one run: the shared fields, those of the setting, and steps counted in rollouts."""
    fields = {**plan.grpo, **REFERENCE, **plan.settings[name]}
    if fields.get("clip") is False:
        fields = {key: value for key, value in fields.items() if key not in CLIP_RANGE}
    updates = updates_a_rollout(fields)
    folder = f"{name}.seed{seed}"
    arguments = plan.arguments
    fields |= {
        "output_dir": str(plan.output / folder),
        "seed": seed,
        "max_steps": arguments.rollouts * updates,
        "eval_strategy": "steps",
        "eval_steps": arguments.measure_every * updates,
        "eval_on_start": True,
        "save_strategy": "steps" if arguments.save_every else "no",
        "save_steps": (arguments.save_every or 1) * updates,
    }
    return Stage(
        folder,
        "grpo",
        fields,
        makes=MODEL_FILES,
        trains=True,
        devices=arguments.num_devices,
        hidden={"resume_from_checkpoint": True, "reward_url": list(url), "disable_tqdm": True},
    )


def updates_a_rollout(fields: Mapping[str, Any]) -> int:
    """Return the number of optimizer updates per rollout, TRL's generation cycle.

    Raises:
        InputError: the cycle is not a whole number of updates.
    """
    accumulated = int(fields.get("gradient_accumulation_steps") or 1)
    slices = int(fields.get("steps_per_generation") or accumulated)
    passes = slices * int(fields.get("epochs_per_rollout") or 1)
    if passes % accumulated:
        raise InputError(
            f"steps_per_generation x epochs_per_rollout is {passes}, not a multiple of "
            f"gradient_accumulation_steps ({accumulated})"
        )
    return passes // accumulated
