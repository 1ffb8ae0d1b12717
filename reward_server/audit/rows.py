"""Rows of an audit, each with its accepted answers and with answers of other rows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from msgspec import field

from touchstone_rewards.reward_server.schemas import is_object, plain_ground_truth
from touchstone_rewards.reward_server.scorers.math import UnreadableGroundTruth, math_equal
from touchstone_rewards.reward_server.stored.prompt_rows import PromptRow, read_prompt_rows

_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
MAX_ANSWER_CHARS = 2000
MOST_OTHERS = 20
# Keys of the answer in a ground truth that is an object: `{"target": ["46"]}`.
ANSWER_KEYS = ("target", "answer", "answers", "ground_truth", "solution", "value")


class AuditRow(PromptRow, kw_only=True):
    """One row. `accepted`: short answers in its ground truth. `others`: different
    answers taken from other rows."""

    accepted: list[str]
    others: list[str] = field(default_factory=list[str])

    @property
    def answer(self) -> str:
        """The first accepted answer, or ""."""
        return self.accepted[0] if self.accepted else ""

    def is_right(self, text: str) -> bool:
        """Tell whether a text is an accepted answer, apart from spelling."""
        return any(_plain(text) == _plain(each) for each in self.accepted)

    def is_as_good(self, text: str) -> bool:
        r"""Tell whether a text is right or equivalent to an accepted answer.

        For example, `0.5` is equivalent to `\frac{1}{2}` and `True` to `yes`.
        """
        return self.is_right(text) or any(_means(text, each) for each in self.accepted)


def read_audit_rows(path: Path, most: int) -> tuple[int, list[AuditRow]]:
    """Return the number of rows in the file, and `most` of them spread evenly over it.

    Raises:
        ConfigError: the file cannot be read or has no rows.
    """
    total, rows = read_prompt_rows(path)
    spread: Iterable[PromptRow] = islice(rows, 0, None, max(1, total // most))
    found = [
        AuditRow(
            number=row.number,
            prompt=row.prompt,
            truth=row.truth,
            metadata=row.metadata,
            signals=row.signals,
            response=row.response,
            accepted=answers_in(row.truth),
        )
        for row in islice(spread, most)
    ]
    answers = list(dict.fromkeys(row.answer for row in found if row.answer))
    for at, row in enumerate(found):
        turned = answers[at % len(answers) :] + answers[: at % len(answers)] if answers else []
        wrong = (each for each in turned if not row.is_as_good(each))
        row.others = list(islice(wrong, MOST_OTHERS))
    return total, found


def answers_in(truth: Any) -> list[str]:
    r"""Return the short answers in a ground truth: after `####`, in the last box, or all of it.

    Example:
        >>> answers_in("He has 2 + 2 = 4 apples.\n#### 4")
        ['4']
    """
    try:
        plain = plain_ground_truth(_named_answer(truth) if is_object(truth) else truth)
    except ValueError:
        return []
    texts = plain if isinstance(plain, list) else [] if plain is None else [plain]
    return [_short(str(text)) for text in texts]


def _named_answer(truth: dict[str, Any]) -> Any:
    """Return the answer in an object, under the keys that data sets use; None if there is none."""
    return next((truth[name] for name in ANSWER_KEYS if truth.get(name) is not None), None)


def _short(text: str) -> str:
    if "####" in text:
        text = text.rpartition("####")[2]
    elif boxes := _BOXED.findall(text):
        text = boxes[-1]
    return text.strip()[:MAX_ANSWER_CHARS]


def _means(text: str, answer: str) -> bool:
    try:
        return math_equal(text, answer)
    except UnreadableGroundTruth:
        return False


def _plain(text: str) -> str:
    """Remove details that rarely matter: case, spaces, dollar signs, trailing zeros."""
    kept = re.sub(r"[\s$\\,{}]", "", text.casefold())
    return kept.rstrip("0").rstrip(".") if re.fullmatch(r"-?\d+\.\d+", kept) else kept
