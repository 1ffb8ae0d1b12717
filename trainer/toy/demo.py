"""`trainer quick_demo`: train a small model from scratch and improve it by GRPO, in minutes on a
CPU.

Output: two trained models, two evaluations, `curves.png`, `report.html`. It starts a reward server
or uses a given one, runs the commands `sft`, `eval` and `grpo`, and downloads nothing.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from rich.console import Console

from touchstone_rewards.trainer import sft
from touchstone_rewards.trainer.config import parse_config
from touchstone_rewards.trainer.errors import InputError, RunFailed
from touchstone_rewards.trainer.evaluation import command as evaluate
from touchstone_rewards.trainer.evaluation.write import SUMMARY, as_table
from touchstone_rewards.trainer.grpo import command as grpo
from touchstone_rewards.trainer.rewards import check_server
from touchstone_rewards.trainer.running.report import write_report
from touchstone_rewards.trainer.toy.arithmetic import (
    Problem,
    draw_problems,
    plain_response,
    split_sums,
    tagged_response,
)
from touchstone_rewards.trainer.toy.tiny_model import make_model
from touchstone_rewards.trainer.workflow.local_server import reward_server

CONFIGS = Path(__file__).parents[1] / "configs"
MARKER = "demo.json"
# Share of tagged SFT answers per problem style: the model learns the sums, but the format for one
# style only.
TAGGED_SHARES = (0.6, 0.2, 0.1, 0.1)
SFT_PROBLEMS, GRPO_PROBLEMS = 12_000, 3_000


@dataclass
class DemoArguments:
    """The options of the small demo; the training settings are in trainer/configs/demo_*.yaml."""

    output: str = field(default="runs/demo_quick", metadata={"help": "Output folder."})
    seed: int = field(default=0, metadata={"help": "Seed of data, weights, order and sampling."})
    reward_url: str | None = field(
        default=None, metadata={"help": "URL of a running reward server. Default: start one."}
    )
    test_problems: int = field(default=500, metadata={"help": "Number of held-out test problems."})
    sft_steps: int | None = field(
        default=None, metadata={"help": "Number of SFT updates. Default: as in the YAML file."}
    )
    grpo_steps: int | None = field(
        default=None, metadata={"help": "Number of GRPO updates. Default: as in the YAML file."}
    )


OPTIONS = DemoArguments


def run(argv: Sequence[str]) -> None:
    """Train, measure before and after, write the report, and print the results.

    Raises:
        InputError: the folder holds something other than a demo.
        RunFailed: accuracy did not improve enough, or a part failed.
    """
    arguments = parse_config(DemoArguments, argv, "trainer quick_demo")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the server is stopped too
    quiet()
    started_s = time.monotonic()
    console = Console()
    # a second thread gains little at this size, and costs time on a busy machine
    torch.set_num_threads(1)
    folder = empty_folder(Path(arguments.output))
    (folder / MARKER).write_text(json.dumps(vars(arguments)) + "\n", encoding="utf-8")
    base = make_data_and_model(folder, arguments)
    with _server(arguments, folder) as url:
        console.rule("1/4  SFT: learn the sums, hardly the format")
        train_sft(folder, base, arguments)
        console.rule("2/4  measure on held-out problems, through the reward server")
        before = measure(folder, "sft", "before", url)
        console.rule("3/4  GRPO: rewards from the server")
        train_grpo(folder, arguments, url)
        console.rule("4/4  measure again")
        after = measure(folder, "grpo", "after", url)
    minutes = (time.monotonic() - started_s) / 60
    page = write_report(
        folder / "grpo",
        title="Touchstone demo: a small model, before and after GRPO",
        story=[*STORY, conclusion(before, after), f"All of it took {minutes:.1f} minutes."],
        evaluations={"before": folder / "before", "after": folder / "after"},
        output=folder,
    )
    console.print(as_table({"before GRPO": before, "after GRPO": after}))
    console.print(f"{conclusion(before, after)}\n{minutes:.1f} minutes; report: {page}")
    check_gain(before, after)


STORY = (
    "A new Qwen2 with about half a million weights learns one-step word problems by "
    "SFT. It sees worked-out sums, but the tags that the reward requires in only a quarter of "
    "the answers, mostly of one problem style.",
    "GRPO then gets its rewards from a reward server over HTTP: 1 if the answer is right and in "
    "tags (profile r1_zero), else 0. Both models are evaluated greedily on word problems whose "
    "sums do not occur in training, in either order of their operands. The profile math reads "
    "an answer in any format: it shows how much of the gain is format and how much arithmetic.",
)


def make_data_and_model(folder: Path, arguments: DemoArguments) -> Path:
    """Write the three data files and the untrained model; return the model's folder."""
    seed, sums = arguments.seed, split_sums(arguments.seed)
    rng = random.Random(seed)
    lessons = [
        {"prompt": problem.prompt, "response": _response(problem, rng)}
        for problem in draw_problems(sums.train, SFT_PROBLEMS, seed)
    ]
    data = folder / "data"
    data.mkdir()
    _write_rows(data / "sft.jsonl", lessons)
    for name, source, count in (
        ("grpo", sums.train, GRPO_PROBLEMS),
        ("test", sums.test, arguments.test_problems),
    ):
        problems = draw_problems(source, count, seed + 1)
        _write_rows(data / f"{name}.jsonl", [_row(name, *each) for each in enumerate(problems)])
    texts = [row["prompt"] + row["response"] for row in lessons[:3000]]
    return make_model(folder / "base", texts, seed=seed)


def train_sft(folder: Path, base: Path, arguments: DemoArguments) -> None:
    """Run `trainer sft` on the SFT problems."""
    flags = _flags(base, folder / "data" / "sft.jsonl", folder / "sft", arguments.seed)
    sft.run(["--config", str(CONFIGS / "demo_sft.yaml"), *flags, *_steps(arguments.sft_steps)])


def train_grpo(folder: Path, arguments: DemoArguments, url: str) -> None:
    """Run `trainer grpo` from the SFT model, with rewards from the server at `url`."""
    flags = _flags(folder / "sft", folder / "data" / "grpo.jsonl", folder / "grpo", arguments.seed)
    flags += ["--reward_url", url, *_steps(arguments.grpo_steps)]
    grpo.run(["--config", str(CONFIGS / "demo_grpo.yaml"), *flags])


def measure(folder: Path, model: str, name: str, url: str) -> dict[str, object]:
    """Run `trainer eval` for one model on the held-out problems; return its summary."""
    flags = [f"--model={folder / model}", f"--dataset={folder / 'data' / 'test.jsonl'}"]
    flags += [f"--output={folder / name}", "--reward_url", url, "--profile=r1_zero"]
    flags += ["--also_profile", "math", "--max_new_tokens=28", "--batch_size=125"]
    evaluate.run(flags)
    return json.loads((folder / name / SUMMARY).read_text(encoding="utf-8"))


def conclusion(before: dict[str, Any], after: dict[str, Any]) -> str:
    """State with the numbers how much of the gain is format and how much is arithmetic."""
    rows = {
        "Right and in tags": [summary["accuracy"] for summary in (before, after)],
        "in tags": [summary["format_rate"] for summary in (before, after)],
        "right in any format": [summary["also"]["math"]["accuracy"] for summary in (before, after)],
    }
    numbers = "; ".join(f"{name} {old:.1%} → {new:.1%}" for name, (old, new) in rows.items())
    old, new = (summary["also"]["math"]["accuracy_interval"] for summary in (before, after))
    if new[0] > old[1]:
        verdict = "The format was learned, and the arithmetic improved too."
    elif new[1] < old[0]:
        verdict = "All of the gain is format; the arithmetic itself got somewhat worse."
    else:
        verdict = "All of the gain is format: the arithmetic did not improve."
    return f"{numbers}. {verdict}"


def check_gain(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Check that accuracy at least doubled, with intervals apart.

    Raises:
        RunFailed: it did not.
    """
    apart = after["accuracy_interval"][0] > before["accuracy_interval"][1]
    if not apart or after["accuracy"] < 2 * before["accuracy"]:
        raise RunFailed("accuracy did not double with intervals apart: see the report")


def _server(arguments: DemoArguments, folder: Path) -> AbstractContextManager[str]:
    if arguments.reward_url:
        check_server([arguments.reward_url], ["r1_zero", "math"])
        return nullcontext(arguments.reward_url)
    return reward_server(folder / "server.log")


def quiet() -> None:
    """Silence progress bars and warnings of the libraries."""
    # They would hide the demo's own output.
    warnings.filterwarnings("ignore", category=FutureWarning)
    datasets.disable_progress_bars()
    transformers.logging.disable_progress_bar()


def empty_folder(folder: Path) -> Path:
    """Create the folder, or empty it if it holds an earlier demo; return it.

    Raises:
        InputError: it holds something other than a demo.
    """
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).is_file():
            raise InputError(
                f"{folder} holds something that is not a demo: choose another --output"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _response(problem: Problem, rng: random.Random) -> str:
    tagged = rng.random() < TAGGED_SHARES[problem.style]
    return tagged_response(problem) if tagged else plain_response(problem)


def _row(name: str, number: int, problem: Problem) -> dict[str, object]:
    truth = problem.ground_truth
    return {"id": f"{name}-{number}", "prompt": problem.prompt, "ground_truth": truth}


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _flags(model: Path, data: Path, output: Path, seed: int) -> list[str]:
    flags = [f"--model_name_or_path={model}", f"--dataset_name={data}", f"--output_dir={output}"]
    return [*flags, f"--seed={seed}"]


def _steps(steps: int | None) -> list[str]:
    return [] if steps is None else [f"--max_steps={steps}"]
