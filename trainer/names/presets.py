"""Published settings of GRPO and its relatives, by name: `trainer grpo --preset dapo`.

A preset's fields have lower precedence than the config file and the flags.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple

from touchstone_rewards.trainer.errors import InputError

# A field and those that set the same thing: if the user sets one, the preset's fields are dropped.
SAME_THING: Mapping[str, frozenset[str]] = {
    "advantage": frozenset({"scale_rewards"}),
    "length_normalization": frozenset({"loss_type"}),
    "clip": frozenset({"epsilon", "epsilon_high", "delta"}),
    "epochs_per_rollout": frozenset({"num_iterations"}),
    "loss_function": frozenset({"loss_type", "length_normalization", "clip"}),
    "prompt_template": frozenset({"system_prompt"}),
}


class Preset(NamedTuple):
    """A preset: a one-line description, its source, and its fields."""

    about: str
    source: str
    fields: Mapping[str, Any]


PRESETS: Mapping[str, Preset] = {
    "grpo": Preset(
        "advantages by group mean and std, the mean over each response's tokens, KL 0.04",
        "DeepSeekMath, arXiv 2402.03300",
        {
            "loss_type": "grpo",
            "scale_rewards": "group",
            "epsilon": 0.2,
            "beta": 0.04,
            "use_bias_correction_kl": False,
        },
    ),
    "dr_grpo": Preset(
        "advantages without std, equal weight per token, no KL",
        "Dr. GRPO, arXiv 2503.20783",
        {"loss_type": "dr_grpo", "scale_rewards": "none", "epsilon": 0.2, "beta": 0.0},
    ),
    "dapo": Preset(
        "token mean, a higher upper clip, equal groups replaced, truncated responses masked",
        "DAPO, arXiv 2503.14476",
        {
            "loss_type": "dapo",
            "scale_rewards": "group",
            "epsilon": 0.2,
            "epsilon_high": 0.28,
            "beta": 0.0,
            "mask_truncated_completions": True,
            "refill_groups": 3,
        },
    ),
    "gspo": Preset(
        "one ratio per response, clipped at 3e-4 and 4e-4",
        "GSPO, arXiv 2507.18071",
        {
            "loss_type": "grpo",
            "importance_sampling_level": "sequence",
            "scale_rewards": "group",
            "epsilon": 3e-4,
            "epsilon_high": 4e-4,
            "beta": 0.0,
        },
    ),
    "cispo": Preset(
        "the ratio is capped, not the update: every token keeps its gradient",
        "MiniMax-M1, arXiv 2506.13585",
        {"loss_type": "cispo", "scale_rewards": "group", "epsilon_high": 5.0, "beta": 0.0},
    ),
    "rloo": Preset(
        "the baseline is the mean of the group's other rewards; no clip, no KL",
        "RLOO, arXiv 2402.14740",
        {
            "advantage": "leave_one_out",
            "length_normalization": "constant",
            "clip": False,
            "beta": 0.0,
        },
    ),
    "reinforce": Preset(
        "the reward itself, no baseline, no clip, no KL",
        "Williams 1992, doi 10.1007/BF00992696",
        {"advantage": "none", "length_normalization": "constant", "clip": False, "beta": 0.0},
    ),
    "seed_grpo": Preset(
        "LoRA of rank 8 on q and v, a prompt for tags and a box, 4 responses of 64 tokens",
        "xywen97/TRL-GRPO, main.py and train.py",
        {
            "use_peft": True,
            "lora_r": 8,
            "lora_alpha": 32,
            "lora_dropout": 0.01,
            "lora_target_modules": ["q_proj", "v_proj"],
            "learning_rate": 1e-5,
            "num_train_epochs": 1,
            "max_completion_length": 64,
            "max_prompt_length": 128,
            "num_generations": 4,
            "warmup_steps": 0.05,
            "logging_steps": 20,
            "save_strategy": "epoch",
            "prompt_template": "tags_and_box",
            "question_column": "problem",
            "ground_truth_column": "solution",
            "reward_profile": "format_and_math",
        },
    ),
}


def with_preset(
    content: Mapping[str, Any], flags: Sequence[str], fields: Container[str]
) -> dict[str, object]:
    """Return the content with the fields of its preset added; existing fields take precedence.

    The preset is named in the content or the flags.

    Example: `{"preset": "gspo", "epsilon": 1e-3}` keeps that epsilon and gains the others.

    Raises:
        InputError: there is no such preset.
        SystemExit: the preset is `list`; the presets are printed.
    """
    words = [word.removeprefix("--") for word in flags]
    names = {word.partition("=")[0] for word in words if word not in flags} | set(content)
    name = content.get("preset")
    for place, word in enumerate(words):
        if word == "preset" and place + 1 < len(words):
            name = words[place + 1]
        elif word.startswith("preset="):
            name = word.partition("=")[2]
    if name is None or "preset" not in fields:
        return dict(content)
    if name == "list":
        print(preset_list())
        raise SystemExit(0)
    if name not in PRESETS:
        raise InputError(f"no preset {name!r}; expected one of {', '.join(PRESETS)}, or list")
    under = {
        field: value
        for field, value in PRESETS[name].fields.items()
        if not (SAME_THING.get(field, frozenset()) & names)
        and not any(field in same for given, same in SAME_THING.items() if given in names)
    }
    return {**under, **content}


def preset_list() -> str:
    """Return a text of all presets, each with description, source and fields."""
    lines = []
    for name, preset in PRESETS.items():
        fields = ", ".join(f"{field}: {value}" for field, value in preset.fields.items())
        lines += [f"{name:<11}{preset.about} ({preset.source})", f"{'':<11}{fields}"]
    return "\n".join(lines)
