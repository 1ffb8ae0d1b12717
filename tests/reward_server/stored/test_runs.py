"""Parts of a file that cut no group: every row is in one part, wherever the file is cut."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

pa = pytest.importorskip("pyarrow", reason="pip install '.[parquet]' in the checkout")
pq = pytest.importorskip("pyarrow.parquet")

from touchstone_rewards.reward_server.schemas import Sample  # noqa: E402
from touchstone_rewards.reward_server.stored.part_rows import Rejected, read_rows  # noqa: E402
from touchstone_rewards.reward_server.stored.partitions import cut, input_files, place  # noqa: E402
from touchstone_rewards.reward_server.stored.runs import whole_runs  # noqa: E402

BAD = "no sample"


def drawn_groups(drawn: random.Random) -> list[str | None]:
    """Draw runs of one group, rows without a group, and invalid rows, some inside a group."""
    groups: list[str | None] = []
    for number in range(drawn.randint(1, 12)):
        kind = drawn.random()
        run: list[str | None] = [None if kind < 0.2 else f"g{number}"] * drawn.randint(1, 6)
        for _ in range(drawn.choice([0, 0, 1, 2])):
            run.insert(drawn.randint(0, len(run)), BAD)
        groups += run
    return groups


def written_lines(path: Path, groups: list[str | None], drawn: random.Random) -> None:
    lines: list[str] = []
    for number, group in enumerate(groups):
        response = "x" * drawn.choice([0, 3, 200])
        row = {"id": str(number), "response": response}
        if group is not None:
            row["group_id"] = group
        lines.append(f"bad {number}" if group == BAD else json.dumps(row))
        if drawn.random() < 0.1:
            lines.append("")
    path.write_text("\n".join(lines) + drawn.choice(["", "\n"]))


def parts_of(path: Path, size: int) -> list[list[Sample | Rejected]]:
    store = place(str(path)).store
    return [
        list(read_rows(store, part, whole_groups=True))
        for part in cut(*input_files(str(path)), size)
    ]


def check(parts: list[list[Sample | Rejected]], groups: list[str | None]) -> None:
    rows = [row for part in parts for row in part]
    assert len(rows) == len(groups)
    good = [str(at) for at, group in enumerate(groups) if group != BAD]
    assert [row.id for row in rows if isinstance(row, Sample)] == good
    places: dict[str, set[int]] = {}
    for number, part in enumerate(parts):
        for row in part:
            if isinstance(row, Sample) and row.group_id is not None:
                places.setdefault(row.group_id, set()).add(number)
    assert all(len(found) == 1 for found in places.values())


def test_lines_are_in_one_part_each_and_groups_are_whole(tmp_path: Path) -> None:
    drawn = random.Random(1)
    cuts = 0
    for number in range(150):
        groups = drawn_groups(drawn)
        path = tmp_path / f"{number}.jsonl"
        written_lines(path, groups, drawn)
        parts = parts_of(path, drawn.choice([1, 7, 40, 150, 1000]))
        check(parts, groups)
        cuts += sum(bool(part) for part in parts) > 1
    assert cuts > 50


def test_row_groups_of_parquet_are_read_on_to_the_end_of_a_group(tmp_path: Path) -> None:
    drawn = random.Random(2)
    for number in range(20):
        groups = [group for group in drawn_groups(drawn) if group != BAD]
        path = tmp_path / f"{number}.parquet"
        table = pa.table(
            {
                "id": [str(at) for at in range(len(groups))],
                "response": ["x"] * len(groups),
                "group_id": pa.array(groups, pa.string()),
            }
        )
        pq.write_table(table, path, row_group_size=drawn.choice([1, 2, 5]))
        check(parts_of(path, 1), groups)


def test_a_part_without_a_start_of_a_run_has_nothing() -> None:
    rows = [(False, Sample("1", "x", group_id="a")), (True, Sample("2", "x", group_id="a"))]
    assert not list(whole_runs(rows, first_part=False))
    assert [row.id for row in whole_runs(rows, first_part=True)] == ["1", "2"]
