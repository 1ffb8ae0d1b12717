"""Dynamic sampling: groups whose rewards are all equal make room for groups of other rows.

In: a rollout as TRL has it, and another one. Out: one rollout of the first one's size, in which
rows of the other stand in their place. It generates and scores nothing.

Source: DAPO, arXiv 2503.14476, section 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# How TRL pads what is as long as the prompts (on their left) or as the responses (on their right).
LEFT = ("prompt_ids", "prompt_mask")
RIGHT = (
    "completion_ids",
    "completion_mask",
    "old_per_token_logps",
    "ref_per_token_logps",
    "sampling_per_token_logps",
    "importance_sampling_ratio",
)


def with_groups(
    rollout: Mapping[str, Tensor],
    places: Tensor,
    other: Mapping[str, Tensor],
    from_places: Tensor,
    pad_token: int,
) -> dict[str, Tensor]:
    """`rollout` with the rows at `places` taken from those of `other` at `from_places`.

    Raises:
        TypeError: something in a rollout has no row for each sample, or no known padding.
    """
    merged: dict[str, Tensor] = {}
    for name, value in rollout.items():
        if value.ndim == 0:
            merged[name] = value
            continue
        new = other[name]
        if value.ndim == 2 and value.shape[1] != new.shape[1]:
            fill = pad_token if name.endswith("_ids") else 0
            value, new = (
                padded(each, max(value.shape[1], new.shape[1]), name, fill) for each in (value, new)
            )
        merged[name] = value.clone()
        merged[name][places] = new[from_places]
    return merged


def padded(value: Tensor, width: int, name: str, fill: int) -> Tensor:
    """`value` of shape (rows, tokens), as wide as `width`.

    Raises:
        TypeError: it is not known on which side.
    """
    if name not in LEFT and name not in RIGHT:
        raise TypeError(f"refill_groups does not know how {name} is padded")
    more = value.new_full((len(value), width - value.shape[1]), fill)
    return torch.cat([more, value] if name in LEFT else [value, more], dim=1)


def rows_of_groups(groups: Tensor, size: int) -> Tensor:
    """The places of all samples of these groups."""
    return (groups[:, None] * size + torch.arange(size, device=groups.device)).flatten()


def other_rows(used: set[Any], ids: list[Any], count: int, generator: torch.Generator) -> list[int]:
    """So many row numbers, drawn from those whose id is not in `used`; fewer where none is left."""
    order = torch.randperm(len(ids), generator=generator).tolist()
    return [row for row in order if ids[row] not in used][:count]
