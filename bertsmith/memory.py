"""The memory of this process, and what the C library does with freed memory."""

import contextlib
import ctypes
import gc
import os
import re
import resource
import sys
from pathlib import Path

GROWTH = 1.15  # size of the process, relative to its first steps, above which it returns free memory
FIRST_STEPS = 3

TOO_LARGE = re.compile("allocate memory|not enough memory|[Ss]torage size|overflow|invalid memory size")
"""In torch's errors about a tensor that does not fit in memory."""


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


def keep_imports() -> None:
    """Have Python look no more for garbage in what exists by now. Call it once, when a program has imported what it
    needs: torch's million objects stay till its end, and each full search among them takes a tenth of a second or
    three."""
    gc.freeze()


class Surplus:
    """A guard against freed memory that adds up, over hundreds of steps, to more than the steps need.

    Batches differ in tokens and masks by some percent, so a freed array seldom has the size of the next one, and the
    heap gets holes: a step touches other pages than the one before it, and all of them stay. BERT-tiny's process was
    0.8 GB after 5 steps and 1.2 GB after 45. Given back at every step the pages would cost what keeping them saves.
    """

    def __init__(self) -> None:
        self._steps = 0
        self._usual = 0
        self._gave_back = False

    def after_step(self) -> None:
        """Give free pages back to the system where the process has grown beyond its first steps' size."""
        resident = resident_bytes()
        if resident is None:
            return
        self._steps += 1
        if self._steps <= FIRST_STEPS or self._gave_back:  # what is resident now, one step needs
            self._usual = max(self._usual, resident)
        self._gave_back = False
        if resident > GROWTH * self._usual:
            self._gave_back = give_back_free_memory()


def give_back_free_memory() -> bool:
    """Return the heap's free pages to the system; False where the C library has no such call."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        return bool(ctypes.CDLL(None).malloc_trim(0))
    return False


def out_of_memory(error: BaseException) -> str | None:
    """Return a message about an error of something that does not fit in memory; None of any other error."""
    if not isinstance(error, MemoryError) and not (isinstance(error, RuntimeError) and TOO_LARGE.search(str(error))):
        return None
    asked = ""
    if found := re.search(r"tried to allocate (\d+) bytes", str(error)):
        asked = f" ({int(found[1]) / 1e9:,.1f} GB more were asked for)"
    elif found := re.search(r"Unable to allocate ([\d.]+ \w+)", str(error)):
        asked = f" ({found[1]} more were asked for)"
    return f"out of memory{asked}: give it a smaller model, batch or input, or end what else runs here"


def peak_bytes() -> int:
    """Return the most memory that this process has had.

    Linux counts in `ru_maxrss` what the process had that started this one, a notebook's say.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_bytes() -> int | None:
    """Return the resident memory of this process in bytes; None where the system does not tell."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
