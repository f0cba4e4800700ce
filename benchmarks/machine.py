"""Where it was measured: what the figures must be judged by."""

import os
import platform
import statistics
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import apsw

WRITES = 200
PAGE = os.urandom(4096)


@dataclass(frozen=True)
class Machine:
    cores: int
    processor: str
    system: str
    python: str
    sqlite: str
    loop: str
    load: float  # of the last minute, before the first measurement
    fsync_ms: float

    def __str__(self) -> str:
        return (
            f"{self.cores} cores ({self.processor}, {self.system}), Python {self.python} ({self.loop}), "
            f"SQLite {self.sqlite}; load before: {self.load:.1f}; write of 4 KiB + fsync: {self.fsync_ms:.2f} ms"
        )


def examine(folder: Path) -> Machine:
    """This machine, and the disk that `folder` is on."""
    return Machine(
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        processor=_processor(),
        system=f"{platform.system()} {platform.release().partition('-')[0]}",
        python=platform.python_version(),
        sqlite=apsw.sqlite_lib_version(),
        loop="uvloop" if find_spec("uvloop") else "asyncio",
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
        fsync_ms=fsync_ms(folder),
    )


def fsync_ms(folder: Path) -> float:
    """What one write of a page and its fsync take: the median of many, at the growing end of a file."""
    sync = getattr(os, "fdatasync", os.fsync)
    path = folder / "fsync"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    taken: list[float] = []
    try:
        for _ in range(WRITES):
            start = time.perf_counter()
            os.write(descriptor, PAGE)
            sync(descriptor)
            taken.append(time.perf_counter() - start)
    finally:
        os.close(descriptor)
        path.unlink()
    return statistics.median(taken) * 1e3


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
