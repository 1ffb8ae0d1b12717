"""The rollout that a checkpoint inside a generation cycle was made in the middle of.

In: the slices of a rollout that the next updates still use. Out: one safetensors file a rank, and
the same slices back. TRL keeps them in memory alone: a resumed run would draw other samples.
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
    """`step`: micro-batches done since the run began. `hold`: no sample of it has a reward.
    `ranks`: how many processes have a part of it."""

    slices: Sequence[Slice]
    step: int
    hold: bool
    ranks: int = 1


def path_of(checkpoint: str | Path, rank: int) -> Path:
    """Where the rollout of a rank lies in a checkpoint."""
    return Path(checkpoint) / f"rollout-{rank}.safetensors"


def save(path: Path, rollout: OpenRollout) -> None:
    """Write it.

    Raises:
        TypeError: something in it is no tensor.
    """
    tensors: dict[str, Tensor] = {}
    for place, part in enumerate(rollout.slices):
        for name, value in part.items():
            if value is not None:
                if not isinstance(value, Tensor):
                    raise TypeError(f"{name} of a rollout is no tensor: it cannot be saved")
                # Slices share memory, which the format does not allow.
                tensors[f"{place}.{name}"] = value.detach().clone().contiguous()
    facts = {"step": str(rollout.step), "hold": str(int(rollout.hold)), "ranks": str(rollout.ranks)}
    save_file(tensors, path, {**facts, "slices": str(len(rollout.slices))})


def load(path: Path, device: torch.device) -> OpenRollout | None:
    """Read it; None where the checkpoint was made between two rollouts."""
    if not path.is_file():
        return None
    # Of several processes on a CPU each has the device cpu:0, which safetensors does not know.
    where = "cpu" if device.type == "cpu" else str(device)
    with safe_open(path, framework="pt", device=where) as file:
        facts: Any = file.metadata()
        slices: list[dict[str, Tensor | None]] = [{} for _ in range(int(facts["slices"]))]
        for key in file.keys():  # noqa: SIM118
            place, _, name = key.partition(".")
            slices[int(place)][name] = file.get_tensor(key)
    ranks = int(facts.get("ranks", 0))  # not known of checkpoints of older versions
    return OpenRollout(slices, int(facts["step"]), facts["hold"] == "1", ranks)


def refuse_part(saved: Sequence[int | None], checkpoint: str) -> None:
    """Refuse to go on with a part of a rollout: ranks that have none would generate alone, and
    wait for ever for those that need not.

    `saved`: for each rank that goes on, how many saved the rollout; None where it has no part.

    Raises:
        InputError: there are more or fewer ranks now, or one does not see its file.
    """
    parts = [ranks for ranks in saved if ranks is not None]
    if not parts or (len(parts) == len(saved) and set(parts) <= {0, len(saved)}):
        return
    saved_by = f"{max(parts)} processes" if max(parts) else "another number of processes"
    raise InputError(
        f"{checkpoint} was saved inside a rollout by {saved_by}; of {len(saved)} that go on now "
        f"{len(parts)} find their part of it. Start as many, all of which see the checkpoint, or "
        "go on from a checkpoint between two rollouts"
    )
