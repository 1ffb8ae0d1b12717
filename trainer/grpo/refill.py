"""Dynamic sampling: replace groups whose rewards are all equal by groups of other rows.

These functions merge a further rollout into the first one, whose size stays the same. They neither
generate nor score.

Source: DAPO, arXiv 2503.14476, section 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# Tensors that TRL pads to the longest prompt (on the left) or the longest response (on the right).
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
    """Return `rollout` with the rows at `places` replaced by the rows of `other` at `from_places`.

    Raises:
        TypeError: a tensor has no row per sample, or its padding is unknown.
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
    """Pad `value` of shape (rows, tokens) to `width` tokens.

    Raises:
        TypeError: the padding side of tensor `name` is unknown.
    """
    if name not in LEFT and name not in RIGHT:
        raise TypeError(f"refill_groups does not know how {name} is padded")
    more = value.new_full((len(value), width - value.shape[1]), fill)
    return torch.cat([more, value] if name in LEFT else [value, more], dim=1)


def rows_of_groups(groups: Tensor, size: int) -> Tensor:
    """Return the indices of all samples of these groups."""
    return (groups[:, None] * size + torch.arange(size, device=groups.device)).flatten()


def other_rows(used: set[Any], ids: list[Any], count: int, generator: torch.Generator) -> list[int]:
    """Return up to `count` random row numbers whose id is not in `used`."""
    order = torch.randperm(len(ids), generator=generator).tolist()
    return [row for row in order if ids[row] not in used][:count]
