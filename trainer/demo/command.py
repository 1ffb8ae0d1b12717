"""`trainer demo`: train a pretrained model on arithmetic while its reward server is killed.

It starts a reward server and runs the commands `eval` and `grpo`. Output: a trained model,
evaluations before and after, `report.html`, `result.json`. `trainer quick_demo` is a small version
without downloads.
"""

from __future__ import annotations

import json
import resource
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from touchstone_rewards.trainer.config import parse_config, read_yaml
from touchstone_rewards.trainer.data.kept_samples import read_samples
from touchstone_rewards.trainer.demo import page
from touchstone_rewards.trainer.demo.base_model import (
    WHOLE_NAME,
    check_memory,
    fetched_model,
    free_memory_bytes,
)
from touchstone_rewards.trainer.demo.figures import (
    NUMBER,
    by_kind,
    check_gain,
    chosen_step,
    measured,
    validation_of,
)
from touchstone_rewards.trainer.demo.outage import (
    Outage,
    SampleAccount,
    account_of,
    killed_before,
    read_score_log,
)
from touchstone_rewards.trainer.demo.page import DemoRun
from touchstone_rewards.trainer.demo.problems import split_calculations
from touchstone_rewards.trainer.errors import RunFailed
from touchstone_rewards.trainer.evaluation import command as evaluate
from touchstone_rewards.trainer.evaluation.write import read_results
from touchstone_rewards.trainer.grpo import command as grpo
from touchstone_rewards.trainer.running.plots import series
from touchstone_rewards.trainer.running.report import read_history
from touchstone_rewards.trainer.toy.demo import CONFIGS, MARKER, empty_folder, quiet
from touchstone_rewards.trainer.workflow.local_server import own_server

CONFIG = CONFIGS / "demo.yaml"
PROFILE = "math"
RESULT = "result.json"
SCORE_LOG = "scores.jsonl"


@dataclass
class RealDemoArguments:
    """The options of the demo; the training settings are in trainer/configs/demo.yaml."""

    output: str = field(default="runs/demo", metadata={"help": "Output folder."})
    seed: int = field(default=0, metadata={"help": "Seed of problems, order and sampling."})
    model: str | None = field(
        default=None,
        metadata={"help": "Folder of a model. Default: SmolLM2, fetched once by reward-server."},
    )
    steps: int | None = field(
        default=None, metadata={"help": "Number of updates. Default: as in the YAML file."}
    )


OPTIONS = RealDemoArguments


def run(argv: Sequence[str]) -> None:
    """Measure, train, choose a checkpoint, measure again, write the report, and print the figures.

    Raises:
        InputError: the folder holds something else, or there is too little memory.
        RunFailed: nothing was learnt, a sample is not accounted for, or a part failed.
    """
    arguments = parse_config(RealDemoArguments, argv, "trainer demo")
    quiet()
    started_s = time.monotonic()
    if arguments.model is None:
        check_memory(free_memory_bytes())
    folder = empty_folder(Path(arguments.output))
    model = Path(arguments.model) if arguments.model else fetched_model()
    console = Console()
    (folder / MARKER).write_text(json.dumps(vars(arguments)) + "\n", encoding="utf-8")
    write_rows(folder / "data", arguments.seed)
    config = read_yaml(str(CONFIG))
    steps = arguments.steps or int(str(config["max_steps"]))
    samples = folder / "grpo" / grpo.SAMPLES
    options = ["--score_log", str(folder / SCORE_LOG), "--profiles_dir", str(CONFIGS / "profiles")]
    with (
        own_server(folder / "server.log", *options) as server,
        # Not right after an evaluation: the outage must hit training.
        killed_before(steps // 2 + 2, server, samples) as outage,
    ):
        console.rule("1/3  evaluate on held-out problems, with the reward server")
        measure(model, folder, "before", server.url, config)
        console.rule(f"2/3  GRPO, {steps} updates: the reward server is killed half-way")
        train(model, folder, server.url, arguments, steps)
        validation = validation_of(read_history(folder / "grpo"))
        chosen = chosen_step(validation)
        console.rule(f"3/3  evaluate update {chosen}, the best on the validation problems")
        keep_only(folder / "grpo", chosen)
        measure(folder / "grpo" / f"checkpoint-{chosen}", folder, "after", server.url, config)
    account = account_in(folder, outage, steps * int(str(config["per_device_train_batch_size"])))
    found = DemoRun(
        model=model.name if arguments.model else WHOLE_NAME,
        folder=folder,
        evaluations={name: evaluation_in(folder / name) for name in ("before", "after")},
        transfer={name: evaluation_in(folder / f"{name}_transfer") for name in ("before", "after")},
        validation=validation,
        account=account,
        minutes=(time.monotonic() - started_s) / 60,
        processor_s=processor_seconds(),
    )
    write_result(folder / RESULT, arguments, found)
    page.print_figures(found, page.write_demo_report(found))
    check_account(account)
    check_gain(*(measured(found.evaluations[name]) for name in ("before", "after")))


def write_rows(folder: Path, seed: int) -> None:
    """Write the problems of each part into a file of rows."""
    folder.mkdir()
    for name, problems in split_calculations(seed)._asdict().items():
        text = "".join(json.dumps(problem.row()) + "\n" for problem in problems)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def measure(model: Path, folder: Path, name: str, url: str, config: dict[str, Any]) -> None:
    """Run `trainer eval` for one model on the held-out problems and on other kinds of problems."""
    for data, output in (("held_out", name), ("transfer", f"{name}_transfer")):
        flags = [f"--model={model}", f"--dataset={folder / 'data' / data}.jsonl"]
        flags += [f"--output={folder / output}", "--reward_url", url, f"--profile={PROFILE}"]
        flags += ["--also_profile", NUMBER, f"--chat_template={config['chat_template']}"]
        evaluate.run([*flags, f"--max_new_tokens={config['max_completion_length']}"])


def train(model: Path, folder: Path, url: str, arguments: RealDemoArguments, steps: int) -> None:
    """Run `trainer grpo` with rewards from the server at `url`, and with four validations."""
    every = max(1, steps // 4)
    flags = [f"--model_name_or_path={model}", f"--dataset_name={folder / 'data' / 'train.jsonl'}"]
    flags += [f"--eval_dataset_name={folder / 'data' / 'validation.jsonl'}", f"--reward_url={url}"]
    flags += [f"--output_dir={folder / 'grpo'}", f"--seed={arguments.seed}"]
    flags += [f"--max_steps={steps}", f"--eval_steps={every}", f"--save_steps={every}"]
    grpo.run(["--config", str(CONFIG), *flags])


def keep_only(run_folder: Path, step: int) -> None:
    """Remove the other checkpoints; each takes half a gigabyte."""
    for checkpoint in run_folder.glob("checkpoint-*"):
        if checkpoint.name != f"checkpoint-{step}":
            shutil.rmtree(checkpoint)


def evaluation_in(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of an evaluation.

    Raises:
        RunFailed: some responses were not scored, so a comparison would cover different problems.
    """
    lines = read_results(folder)
    failed = sum(line["reward"] is None for line in lines)
    if failed:
        raise RunFailed(f"{failed} of {len(lines)} responses in {folder} could not be scored")
    return lines


def account_in(folder: Path, outage: Outage, sampled: int) -> SampleAccount:
    """Account for the samples of the run in `folder`."""
    history = read_history(folder / "grpo")
    return account_of(
        outage,
        list(read_samples(folder / "grpo" / grpo.SAMPLES)),
        read_score_log(folder / SCORE_LOG, PROFILE),
        sampled=sampled,
        waits=dict(series(history, f"rewards_wait_s/{PROFILE}")),
    )


def check_account(account: SampleAccount) -> None:
    """Check that every sample survived the outage.

    Raises:
        RunFailed: a sample is lost or has no reward, or a reward is not the server's.
    """
    if not account.is_whole:
        raise RunFailed(f"not every sample is accounted for: {account.told()}")


def processor_seconds() -> float:
    """Return the processor time of this process and of its finished child processes."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def write_result(path: Path, arguments: RealDemoArguments, found: DemoRun) -> None:
    """Write all figures of the run, for `benchmarks/demo.py` and for comparisons."""
    stages = {name: measured(lines).as_data() for name, lines in found.evaluations.items()}
    kinds: dict[str, Any] = {}
    for name, lines in found.evaluations.items():
        own = by_kind([*lines, *found.transfer[name]])
        kinds[name] = {kind: each.as_data() for kind, each in own.items()}
    content = {
        "seed": arguments.seed,
        "held_out": stages,
        "by_kind": kinds,
        "validation": found.validation,
        "chosen": chosen_step(found.validation),
        "outage": {**found.account._asdict(), "lost": found.account.lost},
        "minutes": found.minutes,
        "processor_s": found.processor_s,
        "threads": torch.get_num_threads(),
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
