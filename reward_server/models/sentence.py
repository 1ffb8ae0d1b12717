"""Read how a sentence-transformers folder turns token vectors into one vector.

It reads `modules.json`; a bare transformer gets mean pooling and normalization. The result is a
pooling function and further steps; nothing is run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch as safetensors_torch
import torch
from torch.nn import functional

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.models.files import read_json, read_json_list

# (tokens, hidden) and the number of tokens of each sequence -> (sequences, dimensions)
Pooling = Callable[[torch.Tensor, Sequence[int]], torch.Tensor]
Step = Callable[[torch.Tensor], torch.Tensor]
_ACTIVATIONS: dict[str, Step] = {"Identity": lambda x: x, "Tanh": torch.tanh, "ReLU": torch.relu}
_OLD_MODES = {"mean_tokens": "mean", "cls_token": "cls", "lasttoken": "lasttoken"}


def read_pooling(folder: Path, device: torch.device) -> tuple[Pooling, list[Step]]:
    """Return how this model makes a vector: the pooling of its tokens, and the steps after it.

    Raises:
        ConfigError: a module or a pooling is not supported.
    """
    modules = read_json_list(folder / "modules.json")
    if not modules:
        return mean, [_normalize]
    pooling: Pooling = mean
    steps: list[Step] = []
    for module in modules[1:]:
        kind, path = str(module.get("type", "")).rsplit(".", 1)[-1], folder / str(module["path"])
        if kind == "Pooling":
            pooling = _pooling(path)
        elif kind == "Normalize":
            steps.append(_normalize)
        elif kind == "Dense":
            steps.append(_dense(path, device))
        else:
            raise ConfigError(
                f"{folder / 'modules.json'} has a module {kind!r}; known are Transformer, Pooling, "
                "Dense and Normalize"
            )
    return pooling, steps


def mean(hidden: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """Return the average of each sequence's tokens, summed in fp32."""
    counts = torch.tensor(lengths, device=hidden.device)
    owner = torch.repeat_interleave(torch.arange(len(lengths), device=hidden.device), counts)
    sums = torch.zeros(len(lengths), hidden.shape[-1], device=hidden.device)
    return sums.index_add_(0, owner, hidden.float()) / counts[:, None]


def first(hidden: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """Return each sequence's first token."""
    return hidden[_ends(lengths, hidden) - torch.tensor(lengths, device=hidden.device)].float()


def last(hidden: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """Return each sequence's last token."""
    return hidden[_ends(lengths, hidden) - 1].float()


def _ends(lengths: Sequence[int], hidden: torch.Tensor) -> torch.Tensor:
    return torch.tensor(lengths, device=hidden.device).cumsum(0)


_POOLINGS: dict[str, Pooling] = {"mean": mean, "cls": first, "lasttoken": last}


def _pooling(path: Path) -> Pooling:
    about = read_json(path / "config.json")
    old = [_OLD_MODES.get(key.removeprefix("pooling_mode_"), key) for key in _true_modes(about)]
    modes = [about["pooling_mode"]] if about.get("pooling_mode") else old
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise ConfigError(f"{path} pools by {modes}; expected one of {', '.join(_POOLINGS)}")
    return _POOLINGS[modes[0]]


def _true_modes(about: dict[str, Any]) -> list[str]:
    return [key for key, on in about.items() if key.startswith("pooling_mode_") and on is True]


def _normalize(vectors: torch.Tensor) -> torch.Tensor:
    return functional.normalize(vectors, dim=-1)


def _dense(path: Path, device: torch.device) -> Step:
    name = str(read_json(path / "config.json").get("activation_function", "Identity"))
    activation = _ACTIVATIONS.get(name.rsplit(".", 1)[-1])
    if activation is None:
        raise ConfigError(f"{path} has activation {name!r}; known are {', '.join(_ACTIVATIONS)}")
    safetensors: Any = safetensors_torch
    weights = safetensors.load_file(path / "model.safetensors", device=str(device))
    weight, bias = weights["linear.weight"].float(), weights.get("linear.bias")
    return lambda vectors: activation(
        functional.linear(vectors, weight, None if bias is None else bias.float())
    )
