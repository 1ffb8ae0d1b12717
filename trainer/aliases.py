"""Aliases: names that other projects use for our fields, accepted wherever ours are.

A table and one function that looks a name up. If a command has a field of that name itself, the
name means that field. Names whose values only mean something together are in `ablations.py`.

Sources: xywen97/TRL-GRPO (main.py, eval.py); wenjia5767/GRPO and Stanford's CS336, assignment 5.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

# Alias -> candidate fields; the first one that the command has is meant.
NAMES: Mapping[str, tuple[str, ...]] = {
    "model_id": ("model_name_or_path", "model"),
    "model_dir": ("model", "model_name_or_path"),
    "dataset_id": ("dataset_name", "dataset"),
    "data_path": ("dataset_name", "dataset"),
    "split": ("dataset_split", "dataset_train_split"),
    "batch_size": ("per_device_train_batch_size",),
    "warmup_ratio": ("warmup_steps",),
    "epochs_per_rollout_batch": ("epochs_per_rollout",),
    "length_normalization_type": ("length_normalization",),
    "group_size": ("num_generations",),
    "model_path": ("model_name_or_path", "model"),
    "train_path": ("dataset_name",),
    "test_path": ("eval_dataset_name", "dataset"),
    "num_epochs": ("num_train_epochs",),
    "eval_batch_size": ("per_device_eval_batch_size",),
    "rollout_batch_size": ("generation_batch_size",),
    "micro_train_batch_size": ("per_device_train_batch_size",),
    "cliprange": ("epsilon",),
    "sampling_temperature": ("temperature",),
    "sampling_max_tokens": ("max_completion_length", "max_new_tokens"),
    "max_completion_length": ("max_new_tokens",),
    "similarity_threshold": ("threshold",),
    "train_samples_path": ("samples",),
    "original_prompts_path": ("dataset",),
    "output_path": ("output",),
    "gpu_memory_utilization": ("vllm_gpu_memory_utilization",),
}


def meant(name: str, fields: Container[str]) -> str:
    """Return the field that `name` is an alias of, or `name` itself if it is no alias.

    `fields` are the names of the command's fields.
    """
    if name in fields:
        return name
    return next((each for each in NAMES.get(name, ()) if each in fields), name)
