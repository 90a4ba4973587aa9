"""What the C library does with freed memory."""

import contextlib
import ctypes


def keep_freed_memory() -> None:
    """Have this process reuse the memory of freed arrays instead of giving it back at once.

    Otherwise the system hands out, zeroes and takes back the same pages for every large array: a quarter of a small
    model's training step on the CPU. Only glibc can be told; elsewhere nothing happens.
    """
    trim_threshold, mmap_threshold = -1, -3  # <malloc.h>
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library than glibc
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, (1 << 31) - 1)
