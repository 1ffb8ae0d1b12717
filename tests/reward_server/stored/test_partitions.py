"""Bulk scoring: partitions and their rows, whole files, and the command on a local Ray."""

from __future__ import annotations

import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.checkout import ROOT, clean_environment
from tests.waiting import PATIENCE_S

pa = pytest.importorskip("pyarrow", reason="pip install '.[parquet]' in the checkout")
pq = pytest.importorskip("pyarrow.parquet")

from touchstone_rewards.reward_server.errors import ConfigError  # noqa: E402
from touchstone_rewards.reward_server.schemas import Sample  # noqa: E402
from touchstone_rewards.reward_server.stored.part_rows import Rejected, lines_of, read_rows  # noqa: E402
from touchstone_rewards.reward_server.stored.partitions import (  # noqa: E402
    Manifest,
    Partition,
    cut,
    input_files,
    open_output,
    part_files,
    place,
    whole_file,
)

needs_ray = pytest.mark.skipif(
    find_spec("ray") is None, reason="Ray is not installed: pip install '.[ray]' in the checkout"
)
POISON = {
    b"{": "truncated",
    b'{"response": "4"}': "`id`",
    b'{"id": "x", "response": 4}': "Expected `str | array`",
    b'{"id": "x", "response": "\xff\xfe"}': "utf-8",
    b'{"id": "x", "response": "4", "ground_thruth": "4"}': "ground_thruth",
    b'{"id": "x", "response": "", "metadata": {"a": ' + b"[" * 100_000: "recursion",
    b'{"id": "x", "response": "' + b"9" * 300_000 + b'"}': "more than 200000 bytes",
}
MANIFEST = Manifest("math", "0123", False, 100, [("/in/a.jsonl", 5)])


def jsonl(path: Path, count: int, first: int = 0) -> Path:
    lines = (
        {"id": str(i), "response": f"\\boxed{{{i}}}", "ground_truth": str(i + i % 2)}
        for i in range(first, first + count)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def parts_of(where: object, size: int) -> list[Partition]:
    return cut(*input_files(str(where)), size)


def rows_of(part: Partition, row_bytes: int = 10_000_000) -> list[Sample | Rejected]:
    return list(read_rows(place(part.path).store, part, row_bytes))


def ids(rows: list[Sample | Rejected]) -> list[str]:
    return [row.id for row in rows if isinstance(row, Sample)]


def results_in(folder: Path) -> list[dict]:
    """Return all results, in the order of the parts."""
    parts = sorted(folder.glob("part-*[0-9].jsonl"))
    return [json.loads(line) for part in parts for line in part.read_text().splitlines()]


def actors(command: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the processes of the command's actors."""
    found = []
    for process in psutil.Process(command.pid).children(recursive=True):
        try:
            if "PartScorer" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:  # ended meanwhile
            continue
    return found


# --- what is cut out of which file


@pytest.mark.parametrize("seed", range(5))
def test_every_line_belongs_to_the_one_range_in_which_it_starts(seed: int) -> None:
    dice = random.Random(seed)
    lines = [b"x" * dice.choice([0, 1, 2, 3, 10, 200]) + b"\n" for _ in range(60)] + [b"no end"]
    content = b"".join(lines)
    starts = [sum(map(len, lines[:i])) for i in range(len(lines))]
    for size in (1, 2, 7, 50, 1000, len(content)):
        spans = [(at, min(at + size, len(content))) for at in range(0, len(content), size)]
        found = [list(lines_of(io.BytesIO(content), *span, 10_000)) for span in spans]
        assert [each for part in found for each in part] == list(zip(starts, lines, strict=True))
        for (begin, end), part in zip(spans, found, strict=True):
            assert all(begin <= at < end for at, _ in part)


def test_a_line_beyond_the_limit_is_passed_over_and_the_next_one_is_read() -> None:
    content = b"123\n12345678\n1234\nend"
    found = list(lines_of(io.BytesIO(content), 0, len(content), 4))
    assert found == [(0, b"123\n"), (4, None), (13, b"1234\n"), (18, b"end")]


def test_a_line_longer_than_a_range_is_read_whole_once(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", 3)
    long = {"id": "long", "response": "9" * 5000}
    source.write_text(source.read_text() + json.dumps(long) + "\n" + source.read_text())
    parts = parts_of(source, 100)
    assert len(parts) > 40
    found = [row for part in parts for row in rows_of(part)]
    assert ids(found) == ["0", "1", "2", "long", "0", "1", "2"]


def test_a_row_that_is_no_sample_is_rejected_alone_with_its_place(tmp_path: Path) -> None:
    good = b'{"id": "good", "response": "4"}'
    lines = [good, *(each for poison in POISON for each in (poison, good)), b"", b"  ", good]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
    [part] = parts_of(tmp_path / "in.jsonl", 10**9)
    found = rows_of(part, row_bytes=200_000)
    assert ids(found) == ["good"] * (len(POISON) + 2)
    rejected = [row for row in found if isinstance(row, Rejected)]
    content = (tmp_path / "in.jsonl").read_bytes()
    for row, (poison, reason) in zip(rejected, POISON.items(), strict=True):
        assert row.byte == content.index(b"\n" + poison + b"\n") + 1
        assert reason in row.reason
        assert len(row.reason) <= 300
        assert row.file == str(tmp_path / "in.jsonl")


def parquet(path: Path, columns: dict[str, Any], group: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


def test_parquet_is_cut_by_row_groups_and_every_row_is_read_once(tmp_path: Path) -> None:
    numbers = [str(i) for i in range(5000)]
    columns = {"id": numbers, "response": [f"\\boxed{{{i}}}" for i in numbers]}
    source = parquet(tmp_path / "in.parquet", columns, group=300)
    for size, count in [(1, 17), (10**9, 1)]:
        parts = parts_of(source, size)
        assert len(parts) == count
        assert [row for part in parts for row in ids(rows_of(part))] == numbers
    assert 1 < len(parts_of(source, 20_000)) < 17
    assert whole_file(source) == (Partition("in.parquet", str(source), 0, 17), 5000)


def test_nested_columns_and_nulls_become_the_fields_of_a_sample(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "2 + 2?"}]
    columns = {
        "id": ["a", "b"],
        "response": ["4", "5"],
        "prompt": [chat, None],
        "ground_truth": [["4", "four"], None],
        "signals": pa.array([{"kl": 0.5, "logp": None}, None]),
        "metadata": pa.array([[("k", "v")], None], pa.map_(pa.string(), pa.string())),
    }
    [part] = parts_of(parquet(tmp_path / "in.parquet", columns, group=10), 10**9)
    first, second = rows_of(part)
    assert isinstance(first, Sample)
    assert first.ground_truth == ["4", "four"]
    assert first.signals == {"kl": 0.5, "logp": None}
    assert first.metadata == {"k": "v"}
    assert first.prompt is not None
    assert first.prompt[0].content == "2 + 2?"  # pyright: ignore[reportAttributeAccessIssue]
    assert second == Sample("b", "5")


def test_a_bad_row_of_parquet_is_rejected_alone_with_its_number(tmp_path: Path) -> None:
    broken = pa.array([b"x" if i != 7 else b"\xff" for i in range(20)], pa.binary())
    columns = {
        "id": [str(i) if i != 3 else None for i in range(20)],
        "response": pa.Array.from_buffers(pa.string(), 20, broken.buffers()),
    }
    parts = parts_of(parquet(tmp_path / "in.parquet", columns, group=5), 1)
    found = [row for part in parts for row in rows_of(part)]
    assert ids(found) == [str(i) for i in range(20) if i not in (3, 7)]
    rejected = [row for row in found if isinstance(row, Rejected)]
    assert [row.row for row in rejected] == [3, 7]
    assert "`id`" in rejected[0].reason
    assert "utf-8" in rejected[1].reason


def test_folders_patterns_and_uris_name_the_same_files(tmp_path: Path) -> None:
    wanted = [jsonl(tmp_path / "in" / name, 1) for name in ("a.jsonl", "deep/b.jsonl")]
    table = parquet(tmp_path / "in/c.parquet", {"id": ["1"], "response": ["x"]}, 1)
    for other in ("_SUCCESS", ".c.crc", "_temporary/d.jsonl"):
        jsonl(tmp_path / "in" / other, 1)
    every = sorted([*map(str, wanted), str(table)])
    uri = tmp_path.as_uri()
    for where, expected in [
        (str(tmp_path / "in"), every),
        (f"{uri}/in", every),
        (f"{uri}/in/**/*.jsonl", sorted([*map(str, wanted), f"{tmp_path}/in/_temporary/d.jsonl"])),
        (str(tmp_path / "in" / "*.jsonl"), [str(wanted[0])]),
        (str(table), [str(table)]),
    ]:
        found = [(path, os.path.getsize(path)) for path in expected]
        assert input_files(where)[1] == found, where


def test_what_only_fsspec_knows_is_read_through_it() -> None:
    memory = pytest.importorskip("fsspec").filesystem("memory")
    with memory.open("/bulk/a.jsonl", "wb") as target:
        target.write(b'{"id": "1", "response": "4"}\n{"id": "2", "response": "5"}\n')
    store, files = input_files("memory://bulk/*.jsonl")
    parts = cut(store, files, 5)
    assert [row.id for p in parts for row in read_rows(store, p) if isinstance(row, Sample)] == [
        "1",
        "2",
    ]


def test_input_that_cannot_be_read_is_refused_before_anything_is_scored(tmp_path: Path) -> None:
    jsonl(tmp_path / "packed" / "a.jsonl.gz", 1)
    (tmp_path / "not.parquet").write_bytes(b"PAR?")
    parquet(tmp_path / "other.parquet", {"id": ["1"], "response": ["x"], "score": [1]}, 1)
    parquet(tmp_path / "half.parquet", {"id": ["1"]}, 1)
    for where, complaint in [
        (tmp_path / "none", "no such file"),
        (tmp_path / "*.none", "no such file"),
        (tmp_path / "packed", "neither .jsonl nor .parquet"),
        (tmp_path / "packed" / "*", "compressed"),
        (tmp_path / "not.parquet", "cannot be read as Parquet"),
        (tmp_path / "other.parquet", "column 'score' is not a field of a sample"),
        (tmp_path / "half.parquet", "no column 'response'"),
        ("nope://bucket/a", "neither pyarrow nor fsspec reads nope://bucket/a"),
    ]:
        with pytest.raises(ConfigError, match=re.escape(complaint)):
            parts_of(where, 100)


# --- files that have their name when they are whole


def test_a_part_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    output = place(str(tmp_path))
    with part_files(output, "part-000000") as (results, rejected):
        results.write(b"r\n")
        rejected.write(b"bad\n")
        assert all(path.suffix == ".tmp" for path in tmp_path.iterdir())
    with part_files(output, "part-000001") as (results, _):
        results.write(b"s\n")
    with pytest.raises(OSError, match="full"), part_files(output, "part-000002"):
        raise OSError("the disk is full")
    names = ["part-000000.jsonl", "part-000000.rejected.jsonl", "part-000001.jsonl"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_folder_goes_on_with_the_same_and_refuses_anything_else(tmp_path: Path) -> None:
    output = place((tmp_path / "out").as_uri())
    assert open_output(output, MANIFEST) == set()
    with part_files(output, "part-000003") as (_, rejected):
        rejected.write(b"bad\n")
    left = tmp_path / "out" / "part-000004.jsonl.0.tmp"
    left.write_text("torn")
    assert open_output(output, MANIFEST) == {"part-000003"}
    assert not left.exists()
    for change, complaint in [
        ({"profile": "format"}, "profile math, not format"),
        ({"fingerprint": "4567"}, "fingerprint 0123, not 4567"),
        ({"explain": True}, "explain False, not True"),
        ({"partition_bytes": 7}, "partition_bytes 100, not 7"),
        ({"inputs": [("/in/a.jsonl", 6)]}, "other inputs (1 differ, for example /in/a.jsonl)"),
    ]:
        fields = {name: getattr(MANIFEST, name) for name in Manifest.__struct_fields__}
        with pytest.raises(ConfigError, match=re.escape(complaint)):
            open_output(output, Manifest(**{**fields, **change}))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigError, match="has files but no"):
        open_output(place(str(tmp_path / "other")), MANIFEST)


# --- the command


def start(*options: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "touchstone_rewards.reward_server", "score", *map(str, options)],
        cwd=ROOT,
        env=clean_environment() | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    said, complained = process.communicate(timeout=PATIENCE_S)
    return process.returncode, said, complained


def peak_bytes(*options: object) -> int:
    """Run the command with `options`; return the greatest resident size of its own process."""
    code = (
        "import resource, sys; from touchstone_rewards.reward_server.__main__ import main; "
        "assert main(sys.argv[1:]) == 0; "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "score", "--profile", "dummy", *map(str, options)],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1])


def write_rows(path: Path, count: int) -> None:
    """Write rows of 850 bytes; in Parquet, groups of 20,000."""
    numbers = range(count)
    chunks = [numbers[at : at + 20_000] for at in range(0, count, 20_000)]
    if path.suffix == ".jsonl":
        line = '{"id": "%d", "response": "%d ' + "a long answer " * 60 + '"}\n'
        with path.open("w") as target:
            target.writelines(line % (i, i) for i in numbers)
        return
    schema = pa.schema({"id": pa.string(), "response": pa.string()})
    with pq.ParquetWriter(path, schema) as writer:
        for chunk in chunks:
            responses = [f"{i} " + "a long answer " * 60 for i in chunk]
            writer.write_table(pa.table({"id": [str(i) for i in chunk], "response": responses}))


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_two_hundred_thousand_rows_stream_in_the_memory_of_few(tmp_path: Path, kind: str) -> None:
    few, many = tmp_path / f"few.{kind}", tmp_path / f"many.{kind}"
    for path, count in ((few, 2_000), (many, 200_000)):
        write_rows(path, count)
    peaks = [
        peak_bytes(
            *("--input", path, "--output", tmp_path / "out"), "--overwrite", "--cache_bytes", 0
        )
        for path in (few, many)
    ]
    assert (tmp_path / "out").read_bytes().count(b"\n") == 200_000
    assert peaks[1] - peaks[0] < 60 * 2**20


def test_parquet_gets_the_results_of_the_same_samples_in_jsonl(tmp_path: Path) -> None:
    lines = jsonl(tmp_path / "in.jsonl", 1500)
    samples = [json.loads(line) for line in lines.read_text().splitlines()]
    columns = {name: [sample[name] for sample in samples] for name in samples[0]}
    table = parquet(tmp_path / "in.parquet", columns, group=400)
    for source in (lines, table):
        output = source.with_suffix(source.suffix + ".out")
        code, said, complained = finish(
            start("--workers", 1, "--input", source, "--output", output)
        )
        assert code == 0, complained
        assert "1500 scored, 0 failed, mean reward 0.5" in said
    found = (tmp_path / "in.parquet.out").read_bytes()
    assert found == (tmp_path / "in.jsonl.out").read_bytes()


def test_a_bad_row_of_parquet_is_named_by_its_number(tmp_path: Path) -> None:
    columns = {"id": ["a", None], "response": ["4", "4"]}
    table = parquet(tmp_path / "in.parquet", columns, group=10)
    code, _, complained = finish(
        start("--profile", "dummy", "--input", table, "--output", tmp_path / "out")
    )
    assert code == 2
    assert f"{table}, row 1: " in complained
    assert json.loads((tmp_path / "out.partial").read_text())["id"] == "a"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder: 20,000 good rows, 3 bad ones, a torn Parquet file, and a row that kills."""
    folder = tmp_path_factory.mktemp("stored")
    source = jsonl(folder / "a.jsonl", 15_000)
    source.write_text(source.read_text() + "no sample\n{}\n")
    numbers: list[str | None] = [str(i) for i in range(15_000, 20_000)]
    columns = {"id": [*numbers, None], "response": [f"\\boxed{{{i}}}" for i in [*numbers, 0]]}
    columns["ground_truth"] = [str(int(i) + int(i) % 2) for i in numbers if i] + ["0"]
    parquet(folder / "b.parquet", columns, group=2000)
    kills = {"id": "kills", "response": "die!", "ground_truth": "4"}
    (folder / "c.jsonl").write_text(json.dumps(kills) + "\n")
    torn = parquet(folder / "d.parquet", {"id": ["torn"], "response": ["4" * 99]}, 1)
    content = torn.read_bytes()
    torn.write_bytes(content[:4] + bytes(40) + content[44:])
    (folder / "_mended").mkdir()
    (folder / "_mended" / "d.parquet").write_bytes(content)
    (folder / "_mended" / "c.jsonl").write_text(json.dumps(kills).replace("die!", "5555") + "\n")
    (folder / "_profiles").mkdir()
    (folder / "_profiles" / "deadly.yaml").write_text(
        "scorers: {math: {}, deadly: {weight: 0, "
        "scorer: 'tests.reward_server.hostile_scorers:Deadly'}}"
    )
    return folder


def on_ray(stored: Path, *options: object) -> subprocess.Popen[str]:
    return start(
        *("--engine", "ray", "--profile", "deadly", "--profiles_dir", stored / "_profiles"),
        *("--scorer_modules", "tests.reward_server.hostile_scorers"),
        *("--input", stored.as_uri(), "--output", stored.parent / "results"),
        *("--partition_bytes", 70_000, "--concurrency", 2, *options),
        RAY_ADDRESS="",
    )


@needs_ray
@pytest.mark.long
def test_a_killed_actor_loses_nothing_and_what_keeps_failing_fails_at_the_end(stored: Path) -> None:
    output = stored.parent / "results"
    command = on_ray(stored)
    while not results_in(output):
        assert command.poll() is None, finish(command)
        time.sleep(0.02)
    os.kill(actors(command)[0].pid, signal.SIGKILL)
    done = len(list(output.glob("part-*[0-9].jsonl")))
    code, said, complained = finish(command)
    parts = parts_of(stored, 70_000)
    assert done < len(parts) / 2, "nearly all was done before anything was killed"
    assert code == 1
    assert "20000 scored, 0 failed, 3 rejected, mean reward 0.5000" in said
    assert f"2 of {len(parts)} partitions failed" in said
    assert (
        f"{parts[-2].name} ({stored}/c.jsonl, 0 to {parts[-2].end}): its process died" in complained
    )
    assert f"{parts[-1].name} ({stored}/d.parquet, 0 to 1): OSError: " in complained
    assert [(row["id"], row["reward"]) for row in results_in(output)] == [
        (str(i), float(i % 2 == 0)) for i in range(20_000)
    ]
    lines = [
        json.loads(line)
        for path in sorted(output.glob("*.rejected.jsonl"))
        for line in path.read_text().splitlines()
    ]
    size = (stored / "a.jsonl").stat().st_size
    assert [line.get("byte", line.get("row")) for line in lines] == [size - 13, size - 3, 5000]


@needs_ray
@pytest.mark.long
def test_the_same_command_does_what_is_left(stored: Path) -> None:
    output = stored.parent / "results"
    before = {path: path.stat().st_mtime_ns for path in output.glob("part-*[0-9].jsonl")}
    for mended in (stored / "_mended").iterdir():
        (stored / mended.name).write_bytes(mended.read_bytes())
    code, said, complained = finish(on_ray(stored))
    assert code == 0, complained
    assert f"{len(before)} of {len(before) + 2} partitions were already complete" in said
    assert "1 scored, 1 failed, mean reward 0.0000" in said
    assert [row["id"] for row in results_in(output)][-2:] == ["kills", "torn"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not list(output.glob("*.tmp"))
    for options, expected in [
        ((), (0, "none -> ")),
        (("--explain",), (2, "was made with explain False, not True")),
        (("--partition_bytes", 0), (2, "--partition_bytes is 0; expected at least 1")),
    ]:
        code, said, complained = finish(on_ray(stored, *options))
        assert code == expected[0]
        assert expected[1] in said + complained
        assert "Traceback" not in complained
