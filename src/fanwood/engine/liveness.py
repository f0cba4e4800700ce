"""Which other engines are dead: what the operating system knows, long before a lease lapses.

Two engines can judge each other's pids only if a pid means the same to both: same machine, same boot, same pid
namespace. `host_identity` is equal for exactly those. A mistake would do no harm (the fence), only wasted work.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path


def host_identity() -> str:
    """Equal on two engines only if a pid means the same to both."""
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    except OSError:
        pass  # not Linux: the host's name must do, and the lease is the judge of last resort
    return "/".join(parts)


def is_dead(pid: int) -> bool:
    """Whether no process of that pid runs (a zombie does not run)."""
    if os.name != "posix":
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in {"Z", "X"}
