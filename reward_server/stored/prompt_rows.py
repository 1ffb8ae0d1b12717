"""Rows to train on: prompts with ground truths, under the column names that data sets use.

It reads JSONL, JSON or Parquet. All other columns of a row become its metadata.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import (
    Message,
    Sample,
    is_object,
    text_of_turn,
)
from touchstone_rewards.reward_server.stored.rows import TRUTH_COLUMNS, Row, open_rows, value_of
from touchstone_rewards.reward_server.turn_texts import response_text

PROMPT_COLUMNS = ("prompt", "question", "problem", "instruction", "query", "input")
# Fields of a sample, which do not go into the metadata of a row.
OWN_FIELDS = {"id", "response", "group_id", "signals", "metadata", "profile", "label", "labels"}


class PromptRow(Struct, kw_only=True):
    """One row, numbered from 1. `response`: the row's own, "" if it has none."""

    number: int
    prompt: str | list[Message] | None
    truth: Any
    metadata: dict[str, Any]
    signals: dict[str, Any]
    response: str = ""

    @property
    def question(self) -> str:
        """The prompt as one text."""
        if isinstance(self.prompt, list):
            return "\n".join(text_of_turn(turn.content) for turn in self.prompt)
        return self.prompt or ""

    def sample(self, name: str, response: str) -> Sample:
        """Return a sample of this row with another response."""
        return Sample(
            id=f"{self.number}/{name}",
            response=response,
            prompt=self.prompt,
            ground_truth=self.truth,
            signals=self.signals,
            metadata=self.metadata,
        )


def read_prompt_rows(path: Path) -> tuple[int, Iterator[PromptRow]]:
    """Return the number of rows in the file, and an iterator over the rows.

    Raises:
        ConfigError: the file cannot be read or has no rows.
    """
    total, rows = open_rows(path)
    if total == 0:
        raise ConfigError(f"input {path} has no rows")
    return total, (_row(number, row) for number, row in enumerate(rows, 1))


def _row(number: int, row: Row) -> PromptRow:
    prompt_at = _first(row, PROMPT_COLUMNS)
    truth_at = _first(row, TRUTH_COLUMNS)
    given = row.get("metadata")
    taken = {(prompt_at or "").partition(".")[0], (truth_at or "").partition(".")[0], *OWN_FIELDS}
    rest = {name: value for name, value in row.items() if name not in taken}
    signals = row.get("signals")
    return PromptRow(
        number=number,
        prompt=_prompt(value_of(row, prompt_at)) if prompt_at else None,
        truth=value_of(row, truth_at) if truth_at else None,
        metadata=given if is_object(given) else rest,
        signals=signals if is_object(signals) else {},
        response=_response(row.get("response")),
    )


def _first(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if value_of(row, name) is not None), None)


def _prompt(value: Any) -> str | list[Message] | None:
    try:
        return msgspec.convert(value, str | list[Message] | None)
    except msgspec.ValidationError:
        return str(value)


def _response(value: Any) -> str:
    try:
        return response_text(msgspec.convert(value, str | list[Message]))
    except msgspec.ValidationError:
        return ""
