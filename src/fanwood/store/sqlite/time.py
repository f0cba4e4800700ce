"""The clock of a SQLite file: one for all processes that have it open at a time.

Wall time as it was when the first of them opened the file, plus what has passed since by the machine's monotonic clock.
So nobody's wall clock matters after that: it may be set forward or back, and a process that comes later, with another
one, goes by that of those who are there. Which that is stands in the file, as the difference between the two.
Once nobody is at work there any more, the next one begins with the wall clock again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.clock import MICROSECONDS, timeline_of
from fanwood.store.statements import load

if TYPE_CHECKING:
    from fanwood.clock import Clock
    from fanwood.store.sqlite.driver import Database

_SQL = load("sqlite/time.sql")


FARTHEST = 2**60
"""So far, in microseconds, a file's time is from any monotonic clock at most."""
OFF_SECONDS = 60
"""So far it may be off the wall clock without a word."""


class FileClock:
    """The clock of one file, for one process that has it open."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seconds = clock.monotonic
        self._timeline = timeline_of(clock)
        self._offset: int | None = None  # of the file's time, from the monotonic clock
        self._last = 0

    def now(self) -> int:
        """The file's time, in microseconds. Never goes back."""
        if self._offset is None:
            return self._clock.now()
        now = self._offset + int(self._seconds() * MICROSECONDS)
        return max(now, self._last)

    def instant(self) -> int:
        """The time of a transaction: strictly rising, so that it marks just this one."""
        self._last = max(self.now(), self._last + 1)
        return self._last

    @property
    def off_the_wall(self) -> str:
        """What is to be said of it, if it is another one than this process' wall clock."""
        seconds = round((self.now() - self._clock.now()) / MICROSECONDS)
        if abs(seconds) < OFF_SECONDS:
            return ""
        way = "ahead of" if seconds > 0 else "behind"
        return (
            f"the file's clock is {abs(seconds):,} s {way} the wall clock, which was set, or the machine slept, "
            f"while the file was in use; times in it are off by as much, until all that use it have been stopped"
        )

    def _monotonic(self) -> int:
        return round(self._seconds() * MICROSECONDS)

    def begin(self, connection: Database) -> None:
        """Go by the clock of those who are at work there; or by the wall clock of this moment, if nobody is."""
        theirs = self._of_others(connection)
        self._offset = self._clock.now() - self._monotonic() if theirs is None else theirs

    def enter(self, connection: Database) -> None:
        """We begin to work there, in this transaction. If nobody else does, others go by our clock from now on. Leases
        of those who went by another one, and are dead, must not last longer by it than any lease does."""
        if not self._timeline:
            return
        theirs = self._of_others(connection)
        if theirs is not None:
            self._go_by(theirs)
            return
        connection.execute(_SQL["enter_clock"], {"value": msgspec.json.encode([self._timeline, self._offset]).decode()})
        connection.execute(_SQL["shorten_leases"], {"now": self.now()})

    def follow(self, connection: Database) -> None:
        """Before others are judged by it: if we were taken for dead, others may have begun with another clock."""
        written = self._written(connection)
        if written is not None:
            self._go_by(written)

    def _go_by(self, offset: int) -> None:
        if offset != self._offset:
            self._offset, self._last = offset, 0

    def _of_others(self, connection: Database) -> int | None:
        offset = self._written(connection)
        if offset is None:
            return None
        alive: Any = connection.execute(_SQL["is_at_work"], {"now": offset + self._monotonic()}).get
        return offset if alive else None

    def _written(self, connection: Database) -> int | None:
        """What stands in the file, if that means anything to us: not if it is from before the machine was started."""
        if not self._timeline:
            return None
        try:
            found: Any = connection.execute(_SQL["clock"]).get
            timeline, offset = msgspec.json.decode(found or "", type=tuple[str, int])
        except (msgspec.DecodeError, UnicodeError):  # there is none, or somebody has written there by hand
            return None
        return offset if timeline == self._timeline and abs(offset) < FARTHEST else None
