"""Decide which rows belong to a part of a file when no group may be split.

A run is a sequence of rows with the same `group_id`; a sample without one is a run by itself. An
invalid row does not end a run; it goes with the next sample.

A part leaves its first run to the part before, which reads on to that run's end. So every row is in
exactly one part, whatever the sizes of the parts. Each row comes with whether it is past the end of
the part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from touchstone_rewards.reward_server.schemas import Sample

T = TypeVar("T")


def whole_runs(rows: Iterable[tuple[bool, T]], *, first_part: bool) -> Iterator[T]:
    """Yield the rows of a part with complete runs; read no further than the next run's start.

    Example:
        >>> rows = [(False, a1), (False, b1), (True, c1), (True, c2), (True, d1)]
        >>> list(whole_runs(rows, first_part=False))
        [b1, c1, c2]
    """
    passing, last, was_behind = not first_part, False, False
    group: list[str | None] = []  # the group of the previous sample
    no_samples: list[tuple[bool, T]] = []
    for behind, row in rows:
        if not isinstance(row, Sample):
            no_samples.append((behind, row))
            continue
        if group and (row.group_id is None or row.group_id != group[0]):
            if last or (passing and was_behind):
                return
            passing = False
        if not passing:
            last = behind
            yield from (each for _, each in no_samples)
            yield row
        group, was_behind, no_samples = [row.group_id], behind, []
    yield from (each for behind, each in no_samples if not behind)
