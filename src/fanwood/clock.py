"""Time as an argument.

Everything above this floor is handed a `Clock`; nothing else in the package looks at the system's clocks. A store
compares only its own clock with itself (leases, timers, deadlines), never one machine's clock with another's.
"""

from __future__ import annotations

import time
from typing import Protocol

MICROSECONDS = 1_000_000
"""How many of the store's time units make a second. All stored times are integer microseconds since the epoch."""


class Clock(Protocol):
    """Two readings of time."""

    def now(self) -> int:
        """Wall-clock time, in microseconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """A reading that never goes back, in seconds; only differences mean something."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()


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
