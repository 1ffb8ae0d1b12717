"""Handle an earlier run in the output folder: continue it or replace it, never mix two runs.

Only files that a run writes are removed, and only from a folder that holds a run.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from touchstone_rewards.trainer.data.kept_samples import step_files
from touchstone_rewards.trainer.errors import InputError
from touchstone_rewards.trainer.running.provenance import RUN_FILE

WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*", "adapter_*")
FOLDERS = ("checkpoint-*", "samples", "adapter", "completions", "runs")
FILES = (
    *WEIGHTS,
    *("config.json", "generation_config.json", "tokenizer*", "vocab*", "merges.txt", "*.jinja"),
    *("special_tokens_map.json", "added_tokens.json", "training_args.bin", "trainer_state.json"),
    *("README.md", "curves.png", "report.html", "predictions.jsonl", "ppo_state.json", RUN_FILE),
)


def claim_output(
    output: Path, reads: Sequence[str | None], *, resuming: bool, overwrite: bool
) -> None:
    """Check that a run may write into `output`, before anything is loaded or removed.

    `reads` are the models, adapters and files that the run reads; names without a local path are
    ignored.

    Raises:
        InputError: `output` is not a folder, the run reads from it, or it holds a run or a model.
    """
    for path in (output, *output.parents):
        if path.exists() and not path.is_dir():
            raise InputError(f"output_dir {output}: {path} is a file, but a run needs a folder")
    sources = [Path(name).resolve() for name in reads if name and Path(name).exists()]
    if output.resolve() in sources:
        raise InputError(f"output_dir {output} is an input of the run: choose another folder")
    found = what_is_left(output)
    if resuming or not found:
        return
    if not overwrite:
        raise InputError(
            f"{output} holds an earlier run ({', '.join(found[:3])}): continue it with "
            "--resume_from_checkpoint true, replace it with --overwrite true, or choose another "
            "output_dir"
        )
    if not (output / RUN_FILE).is_file():
        raise InputError(
            f"{output} holds {', '.join(found[:3])} but no {RUN_FILE}: no run of `trainer` wrote "
            "it, so it is not overwritten; choose another output_dir"
        )
    for source in sources:
        if any(source.is_relative_to(path.resolve()) for path in _made(output)):
            raise InputError(f"{source} would be overwritten, but it is an input of the run")


def what_is_left(output: Path) -> list[str]:
    """Return the files in `output` that must not be lost: weights, checkpoints, samples."""
    names = [path.name for pattern in (*WEIGHTS, "checkpoint-*") for path in output.glob(pattern)]
    return sorted(names) + (["samples"] if step_files(output / "samples") else [])


def remove_run(output: Path) -> None:
    """Remove the files that a run of `trainer` wrote into `output`, and nothing else.

    Call this right before training starts, so that a command that is refused loses nothing.
    """
    for path in _made(output):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _made(output: Path) -> set[Path]:
    return {path for pattern in (*FILES, *FOLDERS) for path in output.glob(pattern)}


def remove_weights(output: Path) -> None:
    """Remove the weights of an earlier save.

    An adapter left beside a full model would be loaded on top of it.
    """
    for pattern in WEIGHTS:
        for path in output.glob(pattern):
            path.unlink()
