"""Split texts into runs of words to measure how much two responses share, in linear time.

A sketch is a small part of a text's runs from which the likeness of two texts is estimated.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from heapq import nsmallest
from typing import Annotated
from zlib import crc32

from pydantic import Field

RunWords = Annotated[int, Field(description="number of words in a run, 1 to 20")]
# Each Chinese, Japanese or Korean character is a word, because there are no spaces.
_CJK = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")

# Number of hashes of a sketch: a likeness of a third is known to within 6 percentage points.
SKETCH_RUNS = 64


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


def sketch(found: Collection[tuple[str, ...]]) -> list[int]:
    """Return the `SKETCH_RUNS` smallest of the hashes of these runs, in order.

    The same runs have the same sketch in every process.

    Source: Broder, "On the resemblance and containment of documents" (1997).
    """
    return nsmallest(SKETCH_RUNS, {crc32(" ".join(run).encode()) for run in found})


def likeness(one: Sequence[int], other: Sequence[int]) -> float:
    """Return an estimate of the Jaccard similarity of two texts from their sketches; it is exact
    for texts that have no more than `SKETCH_RUNS` runs together.

    Example:
        >>> likeness([1, 2, 3], [2, 3, 4])
        0.5
    """
    union = sorted({*one, *other})[:SKETCH_RUNS]
    common = {*one}.intersection(other)
    return sum(each in common for each in union) / max(1, len(union))


def checked_size(size: object) -> int:
    """Return the number of words in a run.

    Raises:
        ValueError: it is not a whole number from 1 to 20.
    """
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 20:
        raise ValueError(f"words is {size!r}; expected a whole number from 1 to 20")
    return size
