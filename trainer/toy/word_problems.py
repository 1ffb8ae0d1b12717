"""What the workflow runs on where nothing is given: word problems, and a small model made for them.

In: a folder and a seed. Out: `data/rl.jsonl` (prompts to train on), `data/test.jsonl` (held out),
`sft/`: a model that knows the sums but hardly the form, as in the demo.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from rich.console import Console

from touchstone_rewards.trainer.toy import demo
from touchstone_rewards.trainer.workflow.stages import DONE, mark_done, refuse_other

# So few that each is seen in several epochs of a short run: LIM compares epochs.
RL_PROMPTS = 48


def make_word_problems(folder: Path, seed: int) -> None:
    """Make data and model unless they are there; what a killed run left is made anew.

    Raises:
        InputError: those that are there are of another seed.
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
