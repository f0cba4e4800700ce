"""
Ends servers and removes their folder as soon as the process that started it is gone, however that came about: then
this program's stdin ends. Before, it is told there, line by line, which processes there are: +PID, and -PID when one
has ended.

It is run by its path, and imports nothing of ours: it has to be there at once.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

PATIENCE = 60.0
LOOK = 0.02


def main(folder: Path) -> None:
    pids: set[int] = set()
    for line in sys.stdin:
        pid = int(line[1:])
        (pids.add if line[0] == "+" else pids.discard)(pid)
    for pid in pids:
        _signal(pid, signal.SIGCONT)
        _signal(pid, signal.SIGQUIT)  # PostgreSQL's immediate shutdown, which takes its children along
    _wait_for(pids)
    for pid in pids:
        _signal(pid, signal.SIGKILL)
    _remove(folder)


def _signal(pid: int, number: int) -> bool:
    with contextlib.suppress(OSError):
        os.kill(pid, number)
        return True
    return False


def _wait_for(pids: set[int]) -> None:
    deadline = time.monotonic() + PATIENCE
    while any(_signal(pid, 0) for pid in pids) and time.monotonic() < deadline:
        time.sleep(LOOK)


def _remove(folder: Path) -> None:
    """More than once: a server's children may outlive it for a moment, and write."""
    deadline = time.monotonic() + PATIENCE
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(LOOK if folder.exists() else 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
