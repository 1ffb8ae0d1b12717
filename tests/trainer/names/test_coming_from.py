"""The page of names from other projects: our names exist, and LLaMA-Factory's are understood."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.checkout import ROOT
from touchstone_rewards.trainer.__main__ import COMMANDS, MODULES
from touchstone_rewards.trainer.data.chat_templates import template_names
from touchstone_rewards.trainer.field_source import read_options
from touchstone_rewards.trainer.names.brought import meaning_of
from touchstone_rewards.trainer.names.presets import PRESETS

PAGE = (ROOT / "docs" / "coming_from.md").read_text(encoding="utf-8")
TRAINING = ("sft", "rm", "dpo", "grpo", "ppo")
# Words beside our names that are not names: a value, or a command of another package.
NOT_FIELDS = {"accelerate launch -m touchstone_rewards.trainer"}
# The values that LLaMA-Factory's keys of the page are tried with, where any number will not do.
GIVEN = {
    **dict.fromkeys(("neat_packing", "pure_bf16", "train_on_prompt", "use_dft_loss"), "true"),
    "disable_gradient_checkpointing": "true",
    **{"finetuning_type": "lora", "template": "qwen", "pref_loss": "ipo", "flash_attn": "sdpa"},
    **{
        "quantization_bit": "4",
        "lora_target": "q_proj,v_proj",
        "reward_model": "http://h?profile=p",
    },
}
# Keys that the file's own command answers, with the others, or that say what is not here.
ELSEWHERE = {"stage", "export_dir", "reward_model_type", "pref_ftx", "plot_loss", "overwrite_cache"}
ELSEWHERE |= {"do_train", "add_valuehead", "warmup_ratio"}


def fields_of(command: str) -> set[str]:
    kinds, sections = read_options(f"touchstone_rewards.trainer.{MODULES[command]}")
    fields = {each.name for kind in kinds for each in kind.fields}
    for section, kind in sections.items():
        fields |= {f"{section}.{each.name}" for each in kind.fields}
    return fields


def tables() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Return each table with a column "here": its title, and the first two cells of its rows."""
    title, rows = "", []
    for line in [*PAGE.splitlines(), ""]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) > 1 and cells[1] == "here":
            title, rows = cells[0], []
        elif title and line.startswith("| "):
            rows.append((cells[0], cells[1]))
        elif title and not line.startswith("|"):
            yield title, rows
            title = ""


TABLES = dict(tables())


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_page_has_a_table_for_each() -> None:
    assert list(TABLES) == ["LLaMA-Factory", "TRL", "theirs", "EasyR1", "OpenRLHF", "verl"]
    assert all(len(rows) > 3 for rows in TABLES.values())


@pytest.mark.parametrize("title", TABLES)
def test_our_names_are_options_and_commands_that_there_are(title: str) -> None:
    known = set().union(*map(fields_of, TRAINING))
    for _, here in TABLES[title]:
        for name in named(here):
            if name.startswith("trainer "):
                assert name.removeprefix("trainer ") in COMMANDS
            elif name not in NOT_FIELDS:
                assert name.partition(":")[0] in known, name


def llamafactory_s_keys() -> Iterator[tuple[str, set[str]]]:
    """Return the keys on the page that are not ours, and the names beside them."""
    known = set().union(*map(fields_of, TRAINING))
    for theirs, here in TABLES["LLaMA-Factory"]:
        for key in dict.fromkeys(name.partition(":")[0] for name in named(theirs)):
            is_key = re.fullmatch("[a-z]+_[a-z0-9_]+|dataset|template", key)
            if is_key and key not in {*known, *ELSEWHERE}:
                yield key, {name.partition(":")[0] for name in named(here)}


@pytest.mark.parametrize(("key", "ours"), list(llamafactory_s_keys()))
def test_llamafactory_s_names_become_what_the_page_says(key: str, ours: set[str]) -> None:
    found: set[str] = set()
    for command in TRAINING:
        meaning = meaning_of(key, GIVEN.get(key, "1"), fields_of(command), command)
        assert meaning is not None
        found |= meaning.fields.keys()
    assert found & ours


def test_the_presets_and_templates_listed_are_those_there_are() -> None:
    for name, preset in PRESETS.items():
        assert f"| `{name}` | {preset.about} | {preset.source} |" in PAGE
    listed = PAGE.partition("**Templates.**")[2].partition("Any other")[0]
    assert {name for name in named(listed) if " " not in name} - {"trainer/prompts"} == set(
        template_names()
    )
