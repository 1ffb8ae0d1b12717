"""Read the tables of docs/rules.md for the tests."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import yaml

from tests.checkout import ROOT
from touchstone_rewards.reward_server.schemas import Sample

PAGE = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
RULES = [
    "exact",
    "contains",
    "f1",
    "choice",
    "numeric",
    "length",
    "repetition",
    "tags",
    "tool_call",
    "regex",
    "json_schema",
    "language",
    "ifeval",
    "rouge",
    "bleu",
    "chrf",
]
ENGINES = {
    "regex": "re2",
    "json_schema": "jsonschema_rs",
    "language": "py3langid",
    "ifeval": "punkt",
    "rouge": "rouge_score",
    "bleu": "sacrebleu",
    "chrf": "sacrebleu",
}
# A config with which each rule can be built.
CONFIGS: dict[str, dict[str, Any]] = {
    "length": {"most": 100},
    "regex": {"pattern": "a+b"},
    "json_schema": {"schema": {"type": "object"}},
    "language": {"language": "en"},
}


class Row(NamedTuple):
    """One row: the rule, its config, the sample, the score on the page."""

    rule: str
    config: dict[str, Any]
    sample: Sample
    score: float


def cells(line: str) -> list[str]:
    """Return the cells of a row; a bar between backticks is part of its cell."""
    parts = re.findall(r"(?:`[^`]*`|[^|`])+", line.strip().removeprefix("|").removesuffix("|"))
    return [part.strip() for part in parts]


def code(cell: str) -> str:
    """Return the text between backticks; several pieces are lines of one text."""
    return "\n".join(re.findall(r"`([^`]*)`", cell))


def tables(section: str) -> list[list[list[str]]]:
    """Return the tables of a section, each with its header."""
    found: list[list[list[str]]] = []
    for block in re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE):
        header, _, *rows = block.splitlines()
        found.append([cells(header), *map(cells, rows)])
    return found


def sections() -> dict[str, str]:
    """Return the text of each rule's section."""
    parts = re.split(r"^## (.*)\n", PAGE, flags=re.MULTILINE)[1:]
    return {
        name: text
        for heads, text in zip(parts[::2], parts[1::2], strict=True)
        for name in re.findall(r"`(\w+)`", heads)
    }


def rows() -> list[Row]:
    """Return every row that states a score, or an example that holds and one that must not."""
    found: list[Row] = []
    for rule, section in sections().items():
        for header, *body in tables(section):
            if header[0] != "config":
                continue
            for config, truth, *rest in body:
                read = yaml.safe_load(code(config)) or {}
                if header[2] == "holds":
                    scored = [(rest[0], 1.0), (rest[1], 0.0)]
                else:
                    scored = [(rest[0], float(code(rest[1])))]
                for response, score in scored:
                    found.append(Row(rule, read, sample(code(truth), code(response)), score))
    return found


def sample(truth: str, response: str) -> Sample:
    """Return the sample of a row; a truth cell may hold metadata, with the truth among them."""
    if not truth.startswith("metadata:"):
        return Sample("1", response, None, truth or None)
    metadata = yaml.safe_load(truth)["metadata"]
    answer = metadata.pop("truth", None)
    return Sample("1", response, None, answer, metadata=metadata)
