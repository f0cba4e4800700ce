"""Where it was measured: what the figures must be judged by."""

import asyncio
import os
import platform
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import apsw
import asyncpg

from fanwood.store.opening import without_password

WRITES = 200
ROUND_TRIPS = 200
SHOWN = ("shared_buffers", "max_wal_size", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method")
DURABLE = {"fsync": {"on"}, "synchronous_commit": {"on", "local", "remote_write", "remote_apply"}}
PAGE = os.urandom(4096)


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server."""

    version: str
    settings: Mapping[str, str]
    round_trip_ms: float

    @property
    def durable(self) -> bool:
        """Whether what it has confirmed is on its disk."""
        return all(self.settings[name] in safe for name, safe in DURABLE.items())

    def __str__(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        return f"PostgreSQL {self.version}, round trip: {self.round_trip_ms:.2f} ms; {settings}"


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
    postgres: Server | None  # where it is measured

    def __str__(self) -> str:
        text = (
            f"{self.cores} cores ({self.processor}, {self.system}), Python {self.python} ({self.loop}), "
            f"SQLite {self.sqlite}; load before: {self.load:.1f}; write of 4 KiB + fsync: {self.fsync_ms:.2f} ms"
        )
        return f"{text}\n{self.postgres}" if self.postgres else text


def examine(folder: Path, server_url: str = "") -> Machine:
    """This machine, the disk that `folder` is on, and a server.

    Raises:
        ValueError: nothing can be measured with that server.
    """
    return Machine(
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        processor=_processor(),
        system=f"{platform.system()} {platform.release().partition('-')[0]}",
        python=platform.python_version(),
        sqlite=apsw.sqlite_lib_version(),
        loop="uvloop" if find_spec("uvloop") else "asyncio",
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
        fsync_ms=fsync_ms(folder),
        postgres=asyncio.run(_ask(server_url)) if server_url else None,
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


async def _ask(url: str) -> Server:
    try:
        connection = await asyncpg.connect(url)
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise ValueError(f"{without_password(url)} can't be measured: {error or type(error).__name__}") from None
    try:
        if not await connection.fetchval("select has_database_privilege(current_database(), 'create')"):
            raise ValueError(f"{without_password(url)} can't be measured: this role may not create schemas there")
        settings = {name: await connection.fetchval("select current_setting($1)", name) for name in SHOWN}
        version = await connection.fetchval("show server_version")
        taken: list[float] = []
        for _ in range(ROUND_TRIPS):
            start = time.perf_counter()
            await connection.fetchval("select 1")
            taken.append(time.perf_counter() - start)
    finally:
        await connection.close()
    return Server(version.split()[0], settings, statistics.median(taken) * 1e3)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def peak_memory() -> float:
    """The most memory that this process has had, in MB (10^6 bytes)."""
    status = Path("/proc/self/status")
    if status.exists():  # here and not in getrusage: there Linux counts the parent's memory before exec as well
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) * 1024 / 1e6
    import resource  # not on Windows

    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_rss * (1 if sys.platform == "darwin" else 1024) / 1e6


def memory_of(pid: int) -> float:
    """What a process has now, in MB (10^6 bytes); 0 where that can't be seen."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return 0.0
    return (
        int(next(line for line in status.read_text().splitlines() if line.startswith("VmRSS")).split()[1]) * 1024 / 1e6
    )
