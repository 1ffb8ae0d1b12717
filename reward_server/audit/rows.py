"""The rows of an audit: prompts with their ground truths, as trainers keep them.

In: a file of samples or a data set of any column names. Out: rows with the answer that a ground
truth stands for and the answers of other rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.schemas import (
    Message,
    Sample,
    is_object,
    plain_ground_truth,
    response_text,
    text_of_turn,
)
from touchstone_rewards.reward_server.stored.rows import TRUTH_COLUMNS, Row, open_rows, value_of

PROMPT_COLUMNS = ("prompt", "question", "problem", "instruction", "query", "input")
# Fields of a sample that are no metadata of a row that has none of its own.
OWN_FIELDS = {"id", "response", "group_id", "signals", "metadata", "profile", "label", "labels"}
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
MAX_ANSWER_CHARS = 2000


class AuditRow(Struct):
    """One row. `accepted`: the short answers in its ground truth; `others`: the answers of other
    rows that differ from these; `response`: the row's own, where it has one."""

    number: int
    prompt: str | list[Message] | None
    truth: Any
    accepted: list[str]
    metadata: dict[str, Any]
    signals: dict[str, Any]
    response: str = ""
    others: list[str] = []

    @property
    def answer(self) -> str:
        """The first of the accepted answers, "" where there is none."""
        return self.accepted[0] if self.accepted else ""

    def is_right(self, text: str) -> bool:
        """Tell whether a text is an accepted answer but for its spelling."""
        return any(_plain(text) == _plain(each) for each in self.accepted)

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


def read_audit_rows(path: Path, most: int) -> tuple[int, list[AuditRow]]:
    """Return how many rows the file has, and `most` of them, spread evenly over it.

    Raises:
        ConfigError: the file cannot be read or has no rows.
    """
    total, rows = open_rows(path)
    if total == 0:
        raise ConfigError(f"input {path} has no rows")
    step = max(1, total // most)
    found = [_row(number, row) for number, row in islice(enumerate(rows, 1), 0, None, step)][:most]
    answers = list(dict.fromkeys(row.answer for row in found if row.answer))
    for at, row in enumerate(found):
        turned = answers[at % len(answers) :] + answers[: at % len(answers)] if answers else []
        row.others = [each for each in turned if not row.is_right(each)][:20]
    return total, found


def _row(number: int, row: Row) -> AuditRow:
    prompt_at = _first(row, PROMPT_COLUMNS)
    truth_at = _first(row, TRUTH_COLUMNS)
    truth = value_of(row, truth_at) if truth_at else None
    given = row.get("metadata")
    taken = {(prompt_at or "").partition(".")[0], (truth_at or "").partition(".")[0], *OWN_FIELDS}
    rest = {name: value for name, value in row.items() if name not in taken}
    signals = row.get("signals")
    return AuditRow(
        number=number,
        prompt=_prompt(value_of(row, prompt_at)) if prompt_at else None,
        truth=truth,
        accepted=answers_in(truth),
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


def answers_in(truth: Any) -> list[str]:
    """Return the short answers in a ground truth: after `####`, in the last box, or all of it.

    Example:
        >>> answers_in("He has 2 + 2 = 4 apples.\\n#### 4")
        ['4']
    """
    try:
        plain = plain_ground_truth(truth)
    except ValueError:
        return []
    texts = plain if isinstance(plain, list) else [] if plain is None else [plain]
    return [_short(str(text)) for text in texts]


def _short(text: str) -> str:
    if "####" in text:
        text = text.rpartition("####")[2]
    elif boxes := _BOXED.findall(text):
        text = boxes[-1]
    return text.strip()[:MAX_ANSWER_CHARS]


def _plain(text: str) -> str:
    """An answer without what often changes nothing: case, spaces, money signs, final zeros."""
    kept = re.sub(r"[\s$\\,{}]", "", text.casefold())
    return kept.rstrip("0").rstrip(".") if re.fullmatch(r"-?\d+\.\d+", kept) else kept
