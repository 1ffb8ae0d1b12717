"""Raise glibc's trim and mmap thresholds, so that freed memory is reused, not unmapped.

It affects the C library only, not Python's own allocator.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory(most_bytes: int) -> None:
    """Let the C library keep up to `most_bytes` of freed memory instead of returning it at once.

    Otherwise the kernel maps, clears and unmaps the memory of each request or batch. Does nothing
    if the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, most_bytes)
    mallopt(_M_TRIM_THRESHOLD, most_bytes)
