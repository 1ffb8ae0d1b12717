"""`trainer limr`: PPO that keeps its samples, prompt selection, training on the selection,
comparison.

One YAML file describes all stages. Each stage is a `trainer` command with its own folder; a
complete stage is skipped, an interrupted one resumed. With evaluation rows the result is also a
table.

1_ppo      PPO on all prompts, keeping every scored sample
2_*        selections from those samples: `lim`, and baselines
3_*        training on each selection: `rl` as in the paper, or `sft`
4_*        evaluation of every model on held-out rows
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from trl.trainer.model_config import ModelConfig

from touchstone_rewards.trainer.aliases import meant
from touchstone_rewards.trainer.config import Section, parse_config, require
from touchstone_rewards.trainer.data.rows import FILE_FORMATS
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.evaluation.write import SUMMARY, as_table
from touchstone_rewards.trainer.limr.verdict import in_words, read_measured
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

THIRD_STAGES = ("rl", "sft")
# Baseline selection -> the fields of `trainer lim` in which it differs from the main selection.
COMPARED: dict[str, dict[str, Any]] = {
    "random": {"method": "random", "threshold": None},
    "linear": {"method": "linear", "threshold": None, "min_coverage": 0.0},
}
# Fields of `ppo`, besides the model's, that mean the same to `trainer sft`.
SHARED = ("use_cpu", "bf16", "fp16", "gradient_checkpointing", "report_to", "seed", "data_seed")
SHARED += ("disable_tqdm", "deepspeed", "fsdp", "fsdp_config", "chat_template_path")
# LLaMA-Factory's names for the model's fields, which both commands accept.
SHARED += ("finetuning_type", "lora_rank", "lora_target", "template", "quantization_bit")
# Fields of `ppo` that make a row's prompt; a kept sample already has its prompt and ground truth.
OF_ROWS = ("prompt_template", "system_prompt", "question_column", "ground_truth_column")


@dataclass
class WorkflowArguments:
    """Options of the workflow itself. The sections `ppo`, `lim`, `third` and `eval` hold the fields
    of `trainer ppo`, `lim`, `ppo` or `sft`, and `eval`; {output}, {data} and {seed} in them are
    replaced."""

    output: str | None = field(default=None, metadata={"help": "Output folder."})
    data: str | None = field(
        default=None, metadata={"help": "Training rows; replaces {data} in the sections."}
    )
    third_stage: str = field(
        default="rl", metadata={"help": "rl (PPO on the selection) or sft (SFT on its responses)."}
    )
    compare: list[str] | None = field(
        default=None, metadata={"help": "Baseline selections to train on as well: random, linear."}
    )
    num_devices: int | None = field(
        default=None, metadata={"help": "Number of training processes. Default: one per GPU."}
    )
    word_problems: bool = field(
        default=False, metadata={"help": "First create word problems and a small model."}
    )
    seed: int = field(default=0, metadata={"help": "Seed of data, weights, order and sampling."})
    restart_changed: bool = field(
        default=False, metadata={"help": "Restart a stage if its settings or data have changed."}
    )

    def __post_init__(self) -> None:
        if self.third_stage not in THIRD_STAGES:
            raise ValueError(f"third_stage must be rl or sft, not {self.third_stage!r}")
        for name in self.compare or ():
            if name not in COMPARED:
                raise ValueError(f"compare may contain {', '.join(COMPARED)}, not {name!r}")


@dataclass(frozen=True)
class LimrPlan:
    """The arguments with all sections filled in."""

    arguments: WorkflowArguments
    output: Path
    ppo: dict[str, Any]
    lim: dict[str, Any]
    third: dict[str, Any]
    eval: dict[str, Any]

    @property
    def devices(self) -> int:
        if self.arguments.num_devices is not None:
            return self.arguments.num_devices
        import torch

        return max(1, torch.cuda.device_count())

    def run(self, stage: Stage) -> Path:
        """Run a stage in the output folder; return the stage's folder."""
        return run_stage(self.output, stage, restart_changed=self.arguments.restart_changed)


class LimrConfigs(NamedTuple):
    """The options of `trainer limr`."""

    arguments: WorkflowArguments
    ppo: Section[dict[str, Any]]
    lim: Section[dict[str, Any]]
    third: Section[dict[str, Any]]
    eval: Section[dict[str, Any]]


OPTIONS = LimrConfigs


def run(argv: Sequence[str]) -> None:
    """Parse the options, run the stages, and print the table.

    Raises:
        InputError: the options or the data cannot be used.
        RunFailed: a stage failed.
    """
    plan = make_plan(*parse_config(LimrConfigs, argv, "trainer limr"))
    output, arguments = plan.output, plan.arguments
    # Check all stages now, not after hours of PPO.
    check_stages(output, stages_of(plan))
    with only_one(output):
        if arguments.word_problems:
            make_word_problems(output / "0_start", arguments.seed)
        models = train(plan)
        if not plan.eval:
            print(
                "Nothing was measured: add a section eval to measure the effect of the selection."
            )
            return
        summaries = measure(plan, models)
        table = {name: {**summary, "also": {}} for name, summary in summaries.items()}
        Console().print(as_table(table))
        text = json.dumps(summaries, indent=2) + "\n"
        (output / "table.json").write_text(text, encoding="utf-8")
        measured = {name: read_measured(output / f"4_{name}") for name in summaries}
        sizes = {name: selected(output / f"2_{name}") for name in models if name != "full"}
        said = in_words(measured, sizes)
        (output / "verdict.md").write_text(said + "\n", encoding="utf-8")
        Console().print(said, highlight=False)


def make_plan(arguments: WorkflowArguments, *sections: dict[str, Any]) -> LimrPlan:
    """Replace {output}, {data} and {seed} in the sections.

    Raises:
        InputError: section ppo or the output is missing, or a section uses {data} without --data.
    """
    output = Path(require(arguments.output, "output"))
    names = {"{output}": str(output), "{seed}": str(arguments.seed)}
    if arguments.data:
        names["{data}"] = arguments.data
        if Path(arguments.data).suffix in FILE_FORMATS and not Path(arguments.data).is_file():
            raise InputError(
                f"no data at {arguments.data}: give --data the path of your copy (LIMR's own is "
                "data/prompts/math.8k.json of github.com/GAIR-NLP/LIMR)"
            )
    elif "{data}" in json.dumps(sections):
        raise InputError("the sections use {data}: give --data, the rows to train on")
    plan = LimrPlan(arguments, output, *(filled(section, names) for section in sections))
    if not plan.ppo:
        raise InputError("the config needs a section ppo with the fields of trainer ppo")
    return plan


def stages_of(plan: LimrPlan) -> list[Stage]:
    """Return one stage of every kind, as it will be run."""
    stages = [ppo_stage(plan), selection_stage(plan, "lim", {})]
    stages.append(third_stage(plan, "lim", plan.output / "2_lim"))
    return [*stages, eval_stage(plan, "lim", plan.output / "3_lim", [])] if plan.eval else stages


def selected(folder: Path) -> int:
    """Return the number of rows in a selection."""
    return sum(1 for _ in (folder / "selected.jsonl").open(encoding="utf-8"))


def train(plan: LimrPlan) -> dict[str, Path]:
    """Run the training stages; return the model trained on all data and those trained on each
    selection."""
    first = plan.run(ppo_stage(plan))
    models = {"full": first}
    chosen = plan.run(selection_stage(plan, "lim", {}))
    size = selected(chosen)
    selections = {"lim": chosen}
    for name in plan.arguments.compare or ():
        stage = selection_stage(plan, name, {**COMPARED[name], "keep": size})
        selections[name] = plan.run(stage)
    for name, selection in selections.items():
        models[name] = plan.run(third_stage(plan, name, selection))
    return models


def ppo_stage(plan: LimrPlan) -> Stage:
    """Return stage 1: PPO on all prompts."""
    fields = {**plan.ppo, "output_dir": str(plan.output / "1_ppo")}
    return Stage(
        "1_ppo",
        "ppo",
        fields,
        makes=MODEL_FILES,
        trains=True,
        devices=plan.devices,
        hidden={"resume_from_checkpoint": True},
    )


def selection_stage(plan: LimrPlan, name: str, fields: dict[str, Any]) -> Stage:
    """Return stage 2: a selection from the samples of stage 1."""
    limr = plan.ppo.get("limr") or {}
    samples = limr.get("save_samples_path") or plan.output / "1_ppo" / "samples"
    folder = f"2_{name}"
    rows = plan.ppo.get("dataset_name")
    chosen = {
        "samples": str(samples),
        **({"dataset": rows} if isinstance(rows, str) and Path(rows).is_file() else {}),
        "full_reward": limr.get("reward_correct", 1.0),
        "seed": plan.arguments.seed,
        **plan.lim,
        **fields,
        "output": str(plan.output / folder),
    }
    return Stage(folder, "lim", chosen, makes=("selected.jsonl",))


def third_stage(plan: LimrPlan, name: str, selection: Path) -> Stage:
    """Return stage 3: training on a selection, from the model that stage 1 started with."""
    sft = plan.arguments.third_stage == "sft"
    folder, rows = f"3_{name}", selection / ("sft.jsonl" if sft else "selected.jsonl")
    base = sft_fields(plan.ppo) if sft else {**plan.ppo, "limr": _limr_again(plan, folder)}
    if "dataset" not in selection_stage(plan, name, {}).fields:
        base = {key: value for key, value in base.items() if key not in OF_ROWS}
    if "adapter_name_or_path" in plan.third:  # it continues that adapter: no second one
        base.pop("use_peft", None)
    fields = {
        **base,
        **plan.third,
        "dataset_name": str(rows),
        "output_dir": str(plan.output / folder),
    }
    return Stage(
        folder,
        "sft" if sft else "ppo",
        fields,
        makes=MODEL_FILES,
        trains=True,
        devices=plan.devices,
        hidden={"resume_from_checkpoint": True},
    )


def sft_fields(ppo: dict[str, Any]) -> dict[str, object]:
    """Return the fields of the `ppo` section that `trainer sft` shares, under our names.

    These are the fields of the model, of LoRA and quantization, and of the machine.
    """
    known = {each.name for each in fields(ModelConfig)} | set(SHARED)
    named = {meant(name, known): value for name, value in ppo.items()}
    return {name: value for name, value in named.items() if name in known}


def _limr_again(plan: LimrPlan, folder: str) -> dict[str, object]:
    """Return the `limr` section for stage 3, which keeps its samples in another folder."""
    limr = dict(plan.ppo.get("limr") or {})
    if limr.get("save_samples_path"):
        limr["save_samples_path"] = str(plan.output / folder / "samples")
    return limr


def measure(plan: LimrPlan, models: dict[str, Path]) -> dict[str, dict[str, object]]:
    """Evaluate every model on the held-out rows; start a reward server if none is named."""
    start = plan.ppo.get("model_name_or_path")
    everything = {"start": Path(str(start)), **models} if start else dict(models)
    if plan.eval.get("reward_url"):
        return {name: _measure(plan, name, each, []) for name, each in everything.items()}
    with reward_server(plan.output / "server.log") as url:
        return {name: _measure(plan, name, each, [url]) for name, each in everything.items()}


def _measure(plan: LimrPlan, name: str, model: Path, url: list[str]) -> dict[str, object]:
    folder = plan.run(eval_stage(plan, name, model, url))
    return json.loads((folder / SUMMARY).read_text(encoding="utf-8"))


def eval_stage(plan: LimrPlan, name: str, model: Path, url: list[str]) -> Stage:
    """Return stage 4: evaluation of one model on the held-out rows."""
    folder = f"4_{name}"
    return Stage(
        folder,
        "eval",
        {**plan.eval, "model": str(model), "output": str(plan.output / folder)},
        makes=(SUMMARY,),
        hidden={"reward_url": url} if url else {},
    )
