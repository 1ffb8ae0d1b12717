"""Translate the switches of the GRPO ablation study, which have a meaning only in combination.

`with_switches` takes the content of a config file and the flags of a command line, which may hold
`loss_type: no_baseline` and `use_std_normalization`. It returns them with our fields `advantage`
and `clip` instead. Order does not matter; a flag takes precedence over the file.

    loss_type                  use_std_normalization    advantage
    no_baseline                any                      none: the raw reward
    reinforce_with_baseline    true, or not given       group_std
    reinforce_with_baseline    false                    group_mean
    grpo_clip, grpo_no_clip    true / false             group_std / group_mean; and clip

Source: wenjia5767/GRPO, `compute_policy_gradient_loss` in alignment/grpo_no_clip.py, after
Stanford's CS336, assignment 5: `no_baseline` ignores the normalized rewards.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple

from touchstone_rewards.trainer.errors import InputError

LOSS, STD = "loss_type", "use_std_normalization"
LOSSES = ("no_baseline", "reinforce_with_baseline", "grpo_clip", "grpo_no_clip")
CLIP = {"grpo_clip": True, "grpo_no_clip": False}
TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
# Fields that the study's scripts always set, although these settings do not use them.
UNUSED = {("clip", False): "cliprange", ("advantage", "none"): "advantage_eps"}
UNUSED |= {("advantage", "group_mean"): "advantage_eps"}


class Flag(NamedTuple):
    """A flag with its value; `words` are its command-line words, `value` is None for a bare
    flag."""

    name: str
    value: str | None
    words: tuple[str, ...]


def with_switches(
    content: Mapping[str, object], words: Sequence[str], fields: Container[str]
) -> tuple[dict[str, object], list[str]]:
    """Return content and flags with the switches replaced by the fields that they stand for.

    `fields` are the names of the command's fields; without `advantage` nothing is changed.

    Example:
        with_switches({}, ["--loss_type", "no_baseline"], {"advantage", "clip"})
        # {}, ["--advantage=none"]

    Raises:
        InputError: two switches contradict each other, or a switch contradicts the field it sets.
    """
    if "advantage" not in fields:
        return dict(content), list(words)
    flags = split_flags(words)
    in_flags = {name: switch_of(name, _values(name, flags)) for name in (LOSS, STD)}
    in_file = {
        name: None
        if _values(name, flags) or name not in content
        else switch_of(name, [content[name]])
        for name in (LOSS, STD)
    }
    found = {name: in_flags[name] if in_file[name] is None else in_file[name] for name in in_flags}
    meant = meaning(found[LOSS], found[STD])
    if not meant:
        return dict(content), list(words)
    by_flag = any(value is not None for value in in_flags.values())
    dropped = {name for name, value in found.items() if value is not None}
    dropped |= {UNUSED[item] for item in meant.items() if item in UNUSED}
    content = {key: value for key, value in content.items() if key not in dropped}
    flags = [flag for flag in flags if flag.name not in dropped]
    return _placed(meant, found, content, flags, by_flag)


def split_flags(words: Sequence[str]) -> list[Flag]:
    """Split command-line words into flags with their values; words before the first flag stand
    alone."""
    parts: list[list[str]] = []
    for word in words:
        if word.startswith("--") or not parts:
            parts.append([word])
        else:
            parts[-1].append(word)
    flags = []
    for part in parts:
        name, equals, value = part[0].removeprefix("--").partition("=")
        given = value if equals else part[1] if len(part) > 1 else None
        flags.append(Flag(name, given, tuple(part)))
    return flags


def _values(name: str, flags: Sequence[Flag]) -> list[str]:
    return ["true" if flag.value is None else flag.value for flag in flags if flag.name == name]


def switch_of(name: str, values: Sequence[object]) -> str | bool | None:
    """Return the value of the switch `name`; None if it is not given or has a value of TRL's own.

    Raises:
        InputError: it is given twice, with different values.
    """
    spelled = [str(value).lower().replace("-", "_") for value in values]
    if name == STD:
        unknown = [value for value in spelled if value not in TRUTHS]
        if unknown:
            raise InputError(f"{STD} must be true or false, not {unknown[0]!r}")
        set_to: set[Any] = {TRUTHS[value] for value in spelled}
    else:
        set_to = set(spelled) if set(spelled) & set(LOSSES) else set()
    if len(set_to) > 1:
        several = " and ".join(sorted(map(str, set_to)))
        raise InputError(f"{name} is given as {several}, which contradict each other: give one")
    return next(iter(set_to), None)


def meaning(loss: Any, std: Any) -> dict[str, object]:
    """Return the fields that `loss_type` and `use_std_normalization` stand for together."""
    fields: dict[str, object] = {"clip": CLIP[loss]} if loss in CLIP else {}
    if loss == "no_baseline":
        return fields | {"advantage": "none"}
    if std is None and loss != "reinforce_with_baseline":
        return fields
    return fields | {"advantage": "group_mean" if std is False else "group_std"}


def _placed(
    meant: Mapping[str, object],
    found: Mapping[str, object],
    content: dict[str, Any],
    flags: Sequence[Flag],
    by_flag: bool,
) -> tuple[dict[str, object], list[str]]:
    """Put the fields where the switches stood: in the file's content or among the flags."""
    words = [word for flag in flags for word in flag.words]
    for field, value in meant.items():
        own = _values(field, flags)
        if own and by_flag:
            _refuse_other(field, own[-1], value, found)
        elif field in content and not by_flag:
            _refuse_other(field, content[field], value, found)
        elif by_flag:
            content.pop(field, None)
            words.append(f"--{field}={value}")
        else:
            content[field] = value
    return content, words


def _refuse_other(field: str, given: object, value: object, found: Mapping[str, object]) -> None:
    if str(given).lower() != str(value).lower():
        said = " and ".join(
            f"{name} {set_to}" for name, set_to in found.items() if set_to is not None
        )
        raise InputError(f"{said} means {field} {value}, but {field} is given as {given}: give one")
