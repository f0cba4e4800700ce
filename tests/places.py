"""Where tests put what they make, unless they say otherwise: into memory, where there is enough, so that none of them
waits for a disk. What a process that is killed has written is kept there as on any other."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")
ENOUGH = 2 << 30


def in_memory() -> Path | None:
    """A folder that is not on a disk, if there is one of a good size, where programs may lie too."""
    try:
        can = os.access(MEMORY, os.W_OK | os.X_OK) and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
        return MEMORY if can and shutil.disk_usage(MEMORY).free > ENOUGH else None
    except (AttributeError, OSError):  # Windows knows no statvfs
        return None
