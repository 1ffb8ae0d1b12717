"""Default data of the LIMR workflow: word problems, and a small model that has seen some of them.

Files: `data/rl.jsonl` (training prompts), `data/test.jsonl` (held out) and `sft/`, a model that
knows the sums but hardly the format, as in the quick demo.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from rich.console import Console

from touchstone_rewards.trainer.toy import demo
from touchstone_rewards.trainer.workflow.stages import DONE, mark_done, refuse_other

# Few, so that a short run sees each in several epochs: LIM compares epochs.
RL_PROMPTS = 48


def make_word_problems(folder: Path, seed: int) -> None:
    """Make data and model unless they exist; remake them after an interrupted run.

    Raises:
        InputError: the existing ones were made with another seed.
    """
    console = Console()
    refuse_other(folder, str(seed))
    if (folder / DONE).is_file():
        console.rule(f"{folder.name}: complete, skipped")
        return
    console.rule(f"{folder.name}: word problems, and a small model that has seen some")
    torch.set_num_threads(1)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    arguments = demo.DemoArguments(output=str(folder), seed=seed)
    base = demo.make_data_and_model(folder, arguments)
    prompts = (folder / "data" / "grpo.jsonl").read_text(encoding="utf-8").splitlines(True)
    (folder / "data" / "rl.jsonl").write_text("".join(prompts[:RL_PROMPTS]), encoding="utf-8")
    demo.train_sft(folder, base, arguments)
    mark_done(folder, str(seed))
