"""The machine a model runs on: device, dtype, threads and memory settings."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from touchstone_rewards.reward_server.errors import ConfigError
from touchstone_rewards.reward_server.models.memory import keep_freed_memory
from touchstone_rewards.reward_server.models.thread import OutOfMemory

# The tokenizer's own threads would compete with the one that the model has.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# Elsewhere bf16 is emulated, and slower than fp32.
BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})
BF16_CAPABILITY = (8, 0)
# The activations of a batch.
_KEEP_BYTES = 2**30
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory")


def pick_device(device: str) -> torch.device:
    """The device called `device`; `auto`: CUDA where there is one.

    Raises:
        ConfigError: CUDA was asked for and there is none.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device {device!r} was asked for, but torch sees no CUDA; use auto, cpu")
    return torch.device(device)


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The dtype called `dtype`; `auto`: bf16 where the device has instructions for it."""
    if dtype != "auto":
        return getattr(torch, dtype)
    return torch.bfloat16 if has_bf16(device) else torch.float32


@lru_cache
def has_bf16(device: torch.device) -> bool:
    """Does this device multiply matrices in bf16 by instructions of its own?

    Told by the hardware, not timed: the same machine must choose the same dtype at every start,
    however busy it is, because a score and its fingerprint depend on it.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= BF16_CAPABILITY
    return device.type == "cpu" and not BF16_FLAGS.isdisjoint(processor_flags())


def layouts_for(device: torch.device, dtype: torch.dtype) -> list[str]:
    """The layouts of `packed.py` that may work on this device; the first that does is used.

    Told by the hardware, not timed, for the same reason. A CPU gains by computing no padding; on a
    GPU one kernel for all sequences is worth more than that.
    """
    if device.type != "cuda":
        return ["packed", "padded"]
    half = dtype in (torch.float16, torch.bfloat16)
    return ["varlen", "packed", "padded"] if half else ["padded", "packed"]


def processor_flags() -> frozenset[str]:
    """What the processor can do, as Linux on x86 names it; nothing is known elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.split()[2:] for line in lines if line.startswith("flags")), ()))


def prepare_thread(threads: int) -> None:
    """What a model's thread sets before it loads: torch's threads, memory, and no chatter."""
    torch.set_num_threads(threads)
    keep_freed_memory(_KEEP_BYTES)
    # Progress bars and load reports do not belong into a server's log.
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


def place(model: torch.nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Move a model to a device and its weights to a dtype, as transformers loads it in that dtype.

    Buffers that are computed and not saved, such as the frequencies of rotary positions, keep their
    precision: in bf16 the angle of a late position would be another one.
    """
    saved = model.state_dict().keys()
    computed = [(name, each) for name, each in model.named_buffers() if name not in saved]
    torch.nn.Module.to(model, device=device, dtype=dtype)
    for name, buffer in computed:
        owner, _, last = name.rpartition(".")
        setattr(model.get_submodule(owner), last, buffer.to(device))


@contextmanager
def memory_errors() -> Generator[None]:
    """Torch's ways to say that memory ran out, as `OutOfMemory`."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise OutOfMemory(_first_line(error)) from error
    except RuntimeError as error:
        if any(words in str(error).lower() for words in _MEMORY_WORDS):
            raise OutOfMemory(_first_line(error)) from error
        raise


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
