"""How many CPU cores there are for this process."""

import os


def cores() -> int:
    """Return the number of cores that this process may use; of the machine where that is unknown.

    Only Linux tells which cores a process may use.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
