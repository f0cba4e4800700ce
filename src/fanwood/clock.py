"""Time as an argument.

Everything above this floor is handed a `Clock`; nothing else in the package looks at the system's clocks. A store
compares only its own clock with itself (leases, timers, deadlines), never one machine's clock with another's.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Protocol

MICROSECONDS = 1_000_000
"""How many of the store's time units make a second. All stored times are integer microseconds since the epoch."""


_LAST = 253_402_214_400  # seconds: the last day of the year 9999, which is the last that Python has


def moment(microseconds: int) -> datetime:
    """A stored time, in UTC. One that no calendar has, as somebody wrote it by hand, is the nearest that it has."""
    return datetime.fromtimestamp(min(max(microseconds / MICROSECONDS, -_LAST // 5), _LAST), UTC)


class Clock(Protocol):
    """Two readings of time."""

    def now(self) -> int:
        """Wall-clock time, in microseconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """A reading that never goes back, in seconds; only differences mean something."""
        ...


def timeline_of(clock: Clock) -> str:
    """Monotonic readings of two clocks, perhaps of two processes, can be compared if this is equal, and not empty."""
    return str(getattr(clock, "timeline", ""))


@cache
def _boot() -> str:
    """Equal for processes that see the same monotonic clock: since the machine was started, and (for containers) in one
    namespace of time."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/time').readlink()}"
    except OSError:
        return ""  # not Linux: nobody can tell


class SystemClock:
    """The machine's own clocks. (The monotonic one stands still while the machine sleeps.)"""

    @property
    def timeline(self) -> str:
        """See `timeline_of`."""
        return _boot()

    monotonic = staticmethod(time.monotonic)

    def now(self) -> int:
        return time.time_ns() // 1000


def processor_seconds() -> float:
    """What this process has had of processors; only differences mean something."""
    return time.process_time()


class ManualClock:
    """A clock that stands still until it is moved. For tests and simulations."""

    def __init__(self, start: int = 1_700_000_000 * MICROSECONDS) -> None:
        self._now = start
        self._started_at = start

    def now(self) -> int:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._started_at) / MICROSECONDS

    def advance(self, seconds: float) -> None:
        """Move time forward by `seconds`."""
        self._now += round(seconds * MICROSECONDS)
