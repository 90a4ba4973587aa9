"""The processor's cores that this process may use."""

import os


def num_cores() -> int:
    """Return on how many cores this process may run: those that it was given, as by `taskset` or a batch system; on a
    system that does not tell, all."""
    given = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()  # not on macOS
    return given or 1
