"""Time that passes when there is nothing to do."""

from __future__ import annotations

from fanwood.clock import MICROSECONDS, SystemClock


class VirtualTime:
    """Of one world, in microseconds. It begins now."""

    def __init__(self) -> None:
        self.now = self.start = SystemClock().now()
        self.ahead = 0  # of the wall clock, as somebody has set it

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return (self.now - self.start) / MICROSECONDS

    def at(self, seconds: float) -> int:
        """When so many seconds have gone by since the beginning: not sooner."""
        return self.start - int(-seconds * MICROSECONDS // 1)


class WorldClock:
    """The clock of all that is in a world."""

    def __init__(self, time: VirtualTime) -> None:
        self._time = time

    def now(self) -> int:
        return self._time.now + self._time.ahead

    def monotonic(self) -> float:
        return self._time.seconds
