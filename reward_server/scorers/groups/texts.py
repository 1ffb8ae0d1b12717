"""Split texts into runs of words to measure how much two responses share, in linear time."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

RunWords = Annotated[int, Field(description="number of words in a run, 1 to 20")]
# Each Chinese, Japanese or Korean character is a word, because there are no spaces.
_CJK = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")


def words(text: str) -> list[str]:
    """Return the words of the text, in lower case.

    Example:
        >>> words("It is 46. 答案")
        ['it', 'is', '46', '答', '案']
    """
    return _WORD.findall(text.lower())


def runs(text: str, size: int) -> set[tuple[str, ...]]:
    """Return all distinct runs of `size` words; for a shorter text, the text itself.

    Example:
        >>> sorted(runs("a b c", 2))
        [('a', 'b'), ('b', 'c')]
    """
    found = words(text)
    if len(found) < size:
        return {tuple(found)}
    return set(zip(*(found[start:] for start in range(size)), strict=False))


def checked_size(size: object) -> int:
    """Return the number of words in a run.

    Raises:
        ValueError: it is not a whole number from 1 to 20.
    """
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 20:
        raise ValueError(f"words is {size!r}; expected a whole number from 1 to 20")
    return size
