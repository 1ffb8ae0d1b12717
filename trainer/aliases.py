"""The names that other projects have for fields of ours: accepted wherever ours are.

In: a name as it was written. Out: that of the field. Data, and one function that reads it. A name
that a command has itself always means that command's own field. Names whose values mean something
only together: `ablations.py`.

Sources: xywen97/TRL-GRPO (main.py, eval.py); wenjia5767/GRPO and Stanford's CS336, assignment 5.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

# Name -> the field; the first of several that the command has.
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
    """The field that a name stands for; itself where for nothing else.

    `fields`: the names that the command has.
    """
    if name in fields:
        return name
    return next((each for each in NAMES.get(name, ()) if each in fields), name)
