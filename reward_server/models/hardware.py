"""The machine a model runs on: device, dtype, threads and memory settings, probed, not guessed."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from transformers.utils import logging as transformers_logging

from reward_server.errors import ConfigError
from reward_server.model_thread import OutOfMemory

# The tokenizer's own threads would compete with the one that the model has.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# bf16 is used where it is so much faster than fp32; without matrix units it is slower.
BF16_GAIN = 1.5
_PROBE_SIZE, _PROBE_ROUNDS = 512, 3
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
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
    """The dtype called `dtype`; `auto`: bf16 where the device computes it much faster."""
    if dtype != "auto":
        return getattr(torch, dtype)
    return torch.bfloat16 if bf16_gain(device) >= BF16_GAIN else torch.float32


@lru_cache
def bf16_gain(device: torch.device) -> float:
    """How many times as fast as in fp32 this device multiplies matrices in bf16."""
    size = _PROBE_SIZE if device.type == "cpu" else 4096
    fp32, bf16 = (matmul_flops(device, dtype, size) for dtype in (torch.float32, torch.bfloat16))
    return bf16 / fp32


def matmul_flops(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Floating-point operations a second in a square product, on one thread of a CPU; best of a
    few. CPU time counts there, so that other work on the machine does not change the choice."""
    left, right = (torch.rand(size, size, dtype=dtype, device=device) for _ in range(2))
    clock = time.thread_time if device.type == "cpu" else time.perf_counter
    best = float("inf")
    with one_thread(), torch.inference_mode():
        for _ in range(_PROBE_ROUNDS + 1):
            began = clock()
            torch.nn.functional.linear(left, right)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best = min(best, clock() - began)
    return 2 * size**3 / best


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread inside, as many as before outside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def prepare_thread(threads: int) -> None:
    """What a model's thread sets before it loads: torch's threads, memory, and no chatter."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    # Progress bars and load reports do not belong into a server's log.
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


def keep_freed_memory() -> None:
    """Have the C library keep what large tensors free instead of giving it back to the system.

    Each batch's activations are otherwise mapped, cleared and unmapped again by the kernel.
    Does nothing where the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)


@contextmanager
def memory_errors() -> Iterator[None]:
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
