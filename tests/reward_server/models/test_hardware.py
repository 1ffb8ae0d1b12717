"""`auto` chooses the dtype by the hardware, so that it is the same at every start."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from touchstone_rewards.reward_server.models import hardware

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def fresh() -> None:
    hardware.has_bf16.cache_clear()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"avx2", "avx512f", "avx512_bf16"}, torch.bfloat16),
        ({"amx_tile", "amx_bf16"}, torch.bfloat16),
        ({"avx2", "avx512f", "avx512_vnni"}, torch.float32),
        (set(), torch.float32),
    ],
)
def test_auto_is_bf16_where_the_processor_has_instructions_for_it(
    flags: set[str], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "processor_flags", lambda: frozenset(flags))
    assert hardware.pick_dtype("auto", CPU) is expected
    assert hardware.pick_dtype("float32", CPU) is torch.float32
    assert hardware.pick_dtype("bfloat16", CPU) is torch.bfloat16


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16)]
)
def test_auto_on_cuda_is_bf16_from_ampere_on(
    capability: tuple[int, int], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert hardware.pick_dtype("auto", torch.device("cuda")) is expected


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="not Linux")
def test_this_machines_flags_are_read() -> None:
    known = hardware.processor_flags()
    assert "avx512f" not in Path("/proc/cpuinfo").read_text().split() or "avx512f" in known
    assert not any(":" in flag for flag in known)
