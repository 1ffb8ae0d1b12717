"""Flags of the GRPO study's script that only mean something in combination.

In the script a step is one rollout with all its updates; here `max_steps` and `eval_steps` count
updates.

Source: wenjia5767/GRPO, alignment/grpo*.py, after Stanford's CS336, assignment 5.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import Any

from touchstone_rewards.trainer.errors import InputError

# Our names, besides the script's own, that the values below depend on.
PASSES = ("epochs_per_rollout_batch", "epochs_per_rollout", "num_iterations")
ACCUMULATED = "gradient_accumulation_steps"


def of_the_script(
    given: Mapping[str, object], fields: Container[str]
) -> tuple[frozenset[str], dict[str, object]]:
    """Return the keys that are translated here, and the fields that they set.

    Example: a `train_batch_size` of 256 in 128 accumulated parts is a `per_device_train_batch_size`
    of 2.

    Raises:
        InputError: a number is not divisible by another, or two keys set the same field.
    """
    found: dict[str, object] = {}
    answered: set[str] = set()
    if "train_batch_size" in given and "per_device_train_batch_size" in fields:
        found["per_device_train_batch_size"] = _divided(given, "train_batch_size", ACCUMULATED)
        answered.add("train_batch_size")
    if "n_grpo_steps" in given and "max_steps" in fields:
        found["max_steps"] = _number(given, "n_grpo_steps") * updates_a_rollout(given)
        answered.add("n_grpo_steps")
    if "eval_every" in given and "eval_steps" in fields:
        every = _number(given, "eval_every")
        found |= {"eval_strategy": "steps", "eval_steps": every * updates_a_rollout(given)}
        answered.add("eval_every")
    if "sampling_min_tokens" in given and "generation_kwargs" in fields:
        least = _number(given, "sampling_min_tokens")
        # vLLM's name for it, and that of transformers.
        name = "min_tokens" if _is_on(given.get("use_vllm")) else "min_new_tokens"
        found["generation_kwargs"] = {**_mapping(given.get("generation_kwargs")), name: least}
        answered |= {"sampling_min_tokens", "generation_kwargs"}
    if twice := [name for name in found if name in given and name not in answered]:
        raise InputError(f"{', '.join(twice)} is set twice: by its name and by the study's")
    return frozenset(answered), found


def updates_a_rollout(given: Mapping[str, object]) -> int:
    """Return the number of optimizer updates per rollout: passes over it times batches per pass.

    Raises:
        InputError: the rollout is not a whole number of batches.
    """
    passes = next((_number(given, name) for name in PASSES if name in given), 1)
    if not {"rollout_batch_size", "train_batch_size"} <= given.keys():
        return passes
    return passes * _divided(given, "rollout_batch_size", "train_batch_size")


def _divided(given: Mapping[str, object], whole: str, parts: str) -> int:
    number, by = _number(given, whole), _number(given, parts) if parts in given else 1
    if number % by:
        raise InputError(f"{whole} ({number}) is not a multiple of {parts} ({by})")
    return number // by


def _number(given: Mapping[str, object], name: str) -> int:
    try:
        number = int(str(given[name]))
    except ValueError:
        number = 0
    if number < 1:
        raise InputError(f"{name} must be a whole number from 1, not {given[name]!r}")
    return number


def _is_on(value: object) -> bool:
    return str(value).lower() in ("true", "1", "yes")


def _mapping(value: Any) -> dict[str, object]:
    if isinstance(value, str):
        value = json.loads(value) if value.strip() else {}
    return dict(value or {})
