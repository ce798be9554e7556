"""Memory that is kept for the next use, and not handed back to the system each time."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's numbers for ``mallopt``
_KEPT = 2**30  # bytes: more than any map of the default network takes


def keep_freed_memory() -> bool:
    """Let the C library keep up to a gigabyte of what is freed, for the whole process; returns whether it does.

    A network's maps are dozens of megabytes each. glibc asks Linux for such a piece every time and hands it back, and Linux
    fills each new page with zeros: a fifth of the time of ``CoSegmenter.predict`` on a CPU. The command ``co3`` and the
    notebooks call this. The library itself does not: the process is its caller's. Where there is no glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(name, _KEPT) for name in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
