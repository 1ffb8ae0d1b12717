"""Save and load the rollout in use when a checkpoint is made inside a generation cycle.

The slices that the next updates still need go into one safetensors file per rank. TRL keeps them in
memory only, so without this a resumed run would sample anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from touchstone_rewards.trainer.errors import InputError

Slice = Mapping[str, Tensor | None]


class OpenRollout(NamedTuple):
    """A rollout whose updates are not all done.

    `step` counts micro-batches since the run began; `hold` is true if no sample of it has a reward;
    `ranks` is the number of processes that share it.
    """

    slices: Sequence[Slice]
    step: int
    hold: bool
    ranks: int = 1


def path_of(checkpoint: str | Path, rank: int) -> Path:
    """Return the path of a rank's rollout in a checkpoint."""
    return Path(checkpoint) / f"rollout-{rank}.safetensors"


def save(path: Path, rollout: OpenRollout) -> None:
    """Write a rollout to `path`.

    Raises:
        TypeError: a value in it is not a tensor.
    """
    tensors: dict[str, Tensor] = {}
    for place, part in enumerate(rollout.slices):
        for name, value in part.items():
            if value is not None:
                if not isinstance(value, Tensor):
                    raise TypeError(f"{name} of a rollout is not a tensor and cannot be saved")
                # Slices share memory, which safetensors does not allow.
                tensors[f"{place}.{name}"] = value.detach().clone().contiguous()
    facts = {"step": str(rollout.step), "hold": str(int(rollout.hold)), "ranks": str(rollout.ranks)}
    save_file(tensors, path, {**facts, "slices": str(len(rollout.slices))})


def load(path: Path, device: torch.device) -> OpenRollout | None:
    """Read a rollout; return None if the checkpoint was made between two rollouts."""
    if not path.is_file():
        return None
    # On CPU, each of several processes has device cpu:0, which safetensors does not accept.
    where = "cpu" if device.type == "cpu" else str(device)
    with safe_open(path, framework="pt", device=where) as file:
        facts: Any = file.metadata()
        slices: list[dict[str, Tensor | None]] = [{} for _ in range(int(facts["slices"]))]
        for key in file.keys():  # noqa: SIM118
            place, _, name = key.partition(".")
            slices[int(place)][name] = file.get_tensor(key)
    ranks = int(facts.get("ranks", 0))  # unknown in checkpoints of older versions
    return OpenRollout(slices, int(facts["step"]), facts["hold"] == "1", ranks)


def refuse_part(saved: Sequence[int | None], checkpoint: str) -> None:
    """Refuse to resume if some ranks lack their part of the rollout.

    Those ranks would generate and wait for ever for the others, which do not generate.

    `saved` holds, for each rank now, the number of ranks that saved the rollout; None if the rank
    finds no file.

    Raises:
        InputError: the number of ranks has changed, or a rank does not see its file.
    """
    parts = [ranks for ranks in saved if ranks is not None]
    if not parts or (len(parts) == len(saved) and set(parts) <= {0, len(saved)}):
        return
    saved_by = f"{max(parts)} processes" if max(parts) else "another number of processes"
    raise InputError(
        f"{checkpoint} was saved inside a rollout by {saved_by}, but {len(parts)} of "
        f"{len(saved)} processes now find their part. Start the same number of processes, all "
        "with access to the checkpoint, or resume from a checkpoint between two rollouts"
    )
