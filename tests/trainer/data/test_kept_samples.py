from __future__ import annotations

import json
import multiprocessing
import resource
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from torch import distributed

from tests.waiting import PATIENCE_S
from touchstone_rewards.clients import Sample, protocol
from touchstone_rewards.trainer.data.kept_samples import (
    KeptSample,
    SampleWriter,
    read_samples,
    step_files,
)

SAMPLE = KeptSample(
    id="a/0",
    prompt="1+1?",
    response="2",
    reward=1.0,
    scores={"math": 1.0, "format": None},
    step=1,
    epoch=0.5,
    group="a",
    fingerprint="f00",
)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    failed = replace(SAMPLE, id="a/1", reward=None, status="error", error={"code": "x"})
    strange = replace(SAMPLE, id="a/2", response="\ud800\u2028\n\0", prompt=[{"role": "user"}])
    SampleWriter(tmp_path).write_batch(1, [SAMPLE, failed, strange])
    assert list(read_samples(tmp_path)) == [SAMPLE, failed, strange]


def test_a_second_batch_of_a_step_is_appended(tmp_path: Path) -> None:
    writer = SampleWriter(tmp_path)
    writer.write_batch(1, [SAMPLE])
    writer.write_batch(1, [replace(SAMPLE, id="b/0")])
    assert [sample.id for sample in read_samples(tmp_path)] == ["a/0", "b/0"]


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    """Use a limit on the file size in place of a full disk: a part of the batch is written."""
    writer = SampleWriter(tmp_path)
    writer.write_batch(1, [SAMPLE])
    before = (tmp_path / "samples_step_1.jsonl").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) * 3, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            writer.write_batch(1, [SAMPLE] * 5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "samples_step_1.jsonl").read_bytes() == before
    writer.write_batch(1, [SAMPLE])
    assert list(read_samples(tmp_path)) == [SAMPLE] * 2


def test_steps_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    writer = SampleWriter(tmp_path)
    for step in (10, 9, 1):
        writer.write_batch(step, [replace(SAMPLE, step=step)])
    assert [sample.step for sample in read_samples(tmp_path)] == [1, 9, 10]


def test_rewinding_forgets_later_steps_and_cuts_torn_lines(tmp_path: Path) -> None:
    writer = SampleWriter(tmp_path)
    for step in (1, 2, 3):
        writer.write_batch(step, [replace(SAMPLE, step=step)])
    with open(tmp_path / "samples_step_2.jsonl", "a") as file:
        file.write('{"id": "torn')
    writer.rewind(2)
    assert [step for step, _ in step_files(tmp_path)] == [1, 2]
    assert (tmp_path / "samples_step_2.jsonl").read_bytes().endswith(b"}\n")


def test_a_reader_leaves_out_a_line_that_is_still_being_written(tmp_path: Path) -> None:
    SampleWriter(tmp_path).write_batch(1, [SAMPLE])
    path = tmp_path / "samples_step_1.jsonl"
    path.write_text(path.read_text() + '{"id": "half')
    assert list(read_samples(path)) == [SAMPLE]


def test_a_whole_line_that_is_no_sample_is_named(tmp_path: Path) -> None:
    (tmp_path / "samples_step_1.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(ValueError, match=r"samples_step_1.jsonl, line 1"):
        list(read_samples(tmp_path))


def test_reading_where_nothing_is_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no samples"):
        list(read_samples(tmp_path / "nowhere"))


def test_a_rank_other_than_zero_writes_no_file(tmp_path: Path) -> None:
    SampleWriter(tmp_path / "r", rank=1).write_batch(1, [SAMPLE])
    assert not (tmp_path / "r").exists()


def test_a_reward_that_is_no_number_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        SampleWriter(tmp_path).write_batch(1, [replace(SAMPLE, reward=float("nan"))])
    assert not step_files(tmp_path)


def test_what_json_cannot_carry_is_kept_as_the_client_sends_it(tmp_path: Path) -> None:
    signals = {"entropy": float("nan"), "kl": [0.5, float("inf")]}
    metadata = {"made": date(2026, 11, 30), "at": [Decimal("1.5")], "n": {1: float("-inf")}}
    SampleWriter(tmp_path).write_batch(1, [replace(SAMPLE, signals=signals, metadata=metadata)])
    [kept] = read_samples(tmp_path)
    sent = Sample("a", "x", signals=signals, metadata=metadata)  # type: ignore[arg-type]
    [encoded] = protocol.encode([sent])
    carried = json.loads(encoded.json)
    assert (kept.signals, kept.metadata) == (carried["signals"], carried["metadata"])
    assert kept.signals == {"entropy": None, "kl": [0.5, None]}
    assert kept.metadata == {"made": "2026-11-30", "at": ["1.5"], "n": {"1": None}}


def _write_as_rank(rank: int, folder: Path) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/ranks", rank=rank, world_size=2
    )
    writer = SampleWriter(folder, distributed=True, rank=rank)
    for step in (1, 2):
        writer.write_batch(step, [replace(SAMPLE, id=f"{rank}/{n}", step=step) for n in range(3)])
    distributed.destroy_process_group()


def test_the_samples_of_all_ranks_are_in_one_file_in_the_order_of_the_ranks(
    tmp_path: Path,
) -> None:
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=_write_as_rank, args=(rank, tmp_path)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(PATIENCE_S)
    assert [process.exitcode for process in ranks] == [0, 0]
    expected = ["0/0", "0/1", "0/2", "1/0", "1/1", "1/2"]
    assert [sample.id for sample in read_samples(tmp_path / "samples_step_1.jsonl")] == expected
    assert [sample.id for sample in read_samples(tmp_path / "samples_step_2.jsonl")] == expected
