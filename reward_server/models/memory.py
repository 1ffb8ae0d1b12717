"""Memory that is freed stays with the process, up to a bound, for the next request's use.

In: how much. Out: nothing; it sets the C library. What Python's own allocator keeps is not its
matter.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory(most_bytes: int) -> None:
    """Have the C library keep so much instead of giving it back to the system at once.

    What each request or batch takes is otherwise mapped, cleared and unmapped again by the kernel.
    Does nothing where the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, most_bytes)
    mallopt(_M_TRIM_THRESHOLD, most_bytes)
