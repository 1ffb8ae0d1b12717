"""`trainer COMMAND --help`: list the options without importing the modules that define them.

`--help` lists this project's own options and the twenty most used of TRL's; `--help_all` lists
every option.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace

from touchstone_rewards.trainer.field_source import (
    SourceClass,
    SourceField,
    read_options,
    text_in,
)

WIDTH = 100
COLUMN = 32
OURS = "touchstone_rewards."
# The fields of TRL and transformers that most runs set; a command shows those that it has.
MOST_USED = (
    *("model_name_or_path", "output_dir", "learning_rate", "num_train_epochs", "max_steps"),
    *("per_device_train_batch_size", "gradient_accumulation_steps", "num_generations"),
    *("max_completion_length", "max_length", "temperature", "beta", "loss_type", "epsilon"),
    *("use_vllm", "vllm_mode", "bf16", "use_cpu", "use_peft", "lora_r", "packing"),
    *("eval_strategy", "save_steps", "logging_steps", "resume_from_checkpoint", "seed"),
    *("lr_scheduler_type", "gradient_checkpointing", "report_to"),
)
MOST = 20


def help_of(command: str, module: str, summary: str, *, every: bool) -> str:
    """Return the help of one command; `module` assigns its options to `OPTIONS`.

    Raises:
        ModuleNotFoundError: a package whose options are listed is not installed.
    """
    types, sections = read_options(module)
    options = text_in(module, "USAGE") or "[--config FILE.yaml] [--OPTION VALUE ...]" * bool(types)
    lines = [f"usage: trainer {command} {options}".rstrip(), "", summary, ""]
    for kind in types:
        lines += _section(kind, [each for each in kind.fields if every or _is_ours(each)])
    for section, kind in sections.items():
        lines += _section(kind, list(kind.fields), prefix=f"{section}.")
    if not every and (used := most_used(types)):
        lines += ["Most used of TRL's options (--help_all lists every one):"]
        lines += [line for each in used for line in _option(_in_short(each))]
    return "\n".join(lines).rstrip()


def most_used(types: Sequence[SourceClass]) -> list[SourceField]:
    """Return the fields of TRL that most runs set, at most twenty."""
    known = {each.name: each for kind in types for each in kind.fields if not _is_ours(each)}
    return [known[name] for name in MOST_USED if name in known][:MOST]


def _is_ours(field: SourceField) -> bool:
    return field.module.startswith(OURS)


def _section(kind: SourceClass, fields: Sequence[SourceField], prefix: str = "") -> list[str]:
    """Return a class's first sentence and its options; nothing if it has no options to show."""
    if not fields:
        return []
    title = kind.summary.partition(". ")[0].rstrip(".") or kind.name
    lines = textwrap.wrap(f"{title}:", WIDTH)
    return [*lines, *(line for each in fields for line in _option(each, prefix)), ""]


def _option(field: SourceField, prefix: str = "") -> list[str]:
    """Lay out an option with its values, help and default in two columns."""
    values = "{" + ",".join(field.choices) + "}" if field.choices else _value_of(field)
    about = field.help
    if field.default not in (None, "None", "''"):
        about += f" [{field.default}]"
    head = f"  --{prefix}{field.name} {values}"
    lines = textwrap.wrap(about, WIDTH - COLUMN) or [""]
    if len(head) < COLUMN:
        return [head.ljust(COLUMN) + lines[0], *(" " * COLUMN + line for line in lines[1:])]
    return [head, *(" " * COLUMN + line for line in lines)]


def _in_short(field: SourceField) -> SourceField:
    """Return the field with only the first sentence of its help."""
    return replace(field, help=field.help.partition(". ")[0].rstrip(".") + ".")


def _value_of(field: SourceField) -> str:
    """Return the placeholder for the value: its type in capitals, without None."""
    kinds = [part.strip() for part in field.type.split("|") if part.strip() != "None"]
    name = "str" if "str" in kinds else kinds[0].partition("[")[0]
    return {"list": "A B ...", "bool": "BOOL"}.get(name, name.upper())
