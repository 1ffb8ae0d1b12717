"""The names that other projects have for fields of ours: accepted wherever ours are.

In: keys and values as they were written. Out: those of the fields. Data, and one function that
reads it. A name that a command has itself always means that command's own field.

Sources: xywen97/TRL-GRPO (main.py, eval.py); wenjia5767/GRPO and Stanford's CS336, assignment 5.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

# Name -> the field; the first of several that the command has.
NAMES: Mapping[str, tuple[str, ...]] = {
    "model_id": ("model_name_or_path", "model"),
    "model_dir": ("model", "model_name_or_path"),
    "dataset_id": ("dataset_name", "dataset"),
    "data_path": ("dataset_name", "dataset"),
    "split": ("dataset_split", "dataset_train_split"),
    "batch_size": ("per_device_train_batch_size",),
    "output_file": ("output",),
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
# Name -> what each of its values means; any other value is the field's own.
VALUES: Mapping[str, Mapping[str, tuple[str, Any]]] = {
    "loss_type": {
        "no_baseline": ("advantage", "none"),
        "reinforce_with_baseline": ("advantage", "group_std"),
        "grpo_clip": ("clip", True),
        "grpo_no_clip": ("clip", False),
    },
    "use_std_normalization": {
        "true": ("advantage", "group_std"),
        "false": ("advantage", "group_mean"),
    },
}


def meant(name: str, value: Any, fields: Container[str]) -> tuple[str, Any]:
    """The field and the value that a name and a value stand for; themselves where for nothing else.

    `fields`: the names that the command has.
    """
    by_value = VALUES.get(name, {}).get(str(value).lower().replace("-", "_"))
    if by_value is not None and by_value[0] in fields:
        return by_value
    if name not in fields:
        name = next((each for each in NAMES.get(name, ()) if each in fields), name)
    return name, value
