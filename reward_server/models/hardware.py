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

# The tokenizer's threads would compete with the model's thread.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# Without these, bf16 is emulated and slower than fp32.
BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})
BF16_CAPABILITY = (8, 0)
# About the size of the activations of a batch.
_KEEP_BYTES = 2**30
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory")


def pick_device(device: str) -> torch.device:
    """Return the device called `device`; `auto` is CUDA if available.

    Raises:
        ConfigError: CUDA was requested and is not available.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device is {device!r}, but torch sees no CUDA; use auto or cpu")
    return torch.device(device)


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Return the dtype called `dtype`; `auto` is bf16 if the device has instructions for it."""
    if dtype != "auto":
        return getattr(torch, dtype)
    return torch.bfloat16 if has_bf16(device) else torch.float32


@lru_cache
def has_bf16(device: torch.device) -> bool:
    """Return whether this device has instructions for matrix products in bf16.

    The answer comes from the hardware, not from timing: a score and its fingerprint depend on the
    dtype, so the same machine must choose the same one at every start, however busy it is.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= BF16_CAPABILITY
    return device.type == "cpu" and not BF16_FLAGS.isdisjoint(processor_flags())


def layouts_for(device: torch.device, dtype: torch.dtype) -> list[str]:
    """Return the layouts of `packed.py` that may work on this device; the first that works is used.

    The choice comes from the hardware, not from timing, for the same reason as in `has_bf16`. A CPU
    gains from computing no padding; a GPU gains more from one kernel for all sequences.
    """
    if device.type != "cuda":
        return ["packed", "padded"]
    half = dtype in (torch.float16, torch.bfloat16)
    return ["varlen", "packed", "padded"] if half else ["padded", "packed"]


def processor_flags() -> frozenset[str]:
    """Return the processor's flags as Linux on x86 names them; nothing elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.split()[2:] for line in lines if line.startswith("flags")), ()))


def prepare_thread(threads: int) -> None:
    """Set up a model's thread before loading: torch's threads, memory, and no progress output."""
    torch.set_num_threads(threads)
    keep_freed_memory(_KEEP_BYTES)
    # Progress bars and load reports do not belong in a server's log.
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


def place(model: torch.nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Move a model to a device and its weights to a dtype, as transformers does when loading.

    Buffers that are computed and not saved, such as rotary frequencies, keep their precision: in
    bf16 the angles of late positions would be wrong.
    """
    saved = model.state_dict().keys()
    computed = [(name, each) for name, each in model.named_buffers() if name not in saved]
    torch.nn.Module.to(model, device=device, dtype=dtype)
    for name, buffer in computed:
        owner, _, last = name.rpartition(".")
        setattr(model.get_submodule(owner), last, buffer.to(device))


@contextmanager
def memory_errors() -> Generator[None]:
    """Return a context that raises torch's out-of-memory errors as `OutOfMemory`."""
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
