"""How many trees are started per second: as many as are wanted, or most of what the machine was found to give.

It is found in three phases. SEARCH: faster and faster, and slower when trees pile up. SETTLE: as found, and slower when
they pile up still: by now there are old trees to delete and dead rows to clear away, at the cost of the others.
STEADY: nothing is changed any more, but for trees that are held back when far too many are unfinished.
"""

from dataclasses import dataclass, field

CLIMB = 1.2
"""The next second's rate after one in which all kept up ..."""
DRAIN = 0.7
"""... and after one in which trees piled up, as a part of what was done in it."""
BEHIND_SECONDS = 0.5
"""Trees have piled up when there are more unfinished ones than are started in this time."""
KEPT = 0.8
"""The steady rate, as a part of what the machine gave when it was at its limit."""
HELD_SECONDS = 10.0
"""Unfinished trees of so much time: too many, none is started until they have become fewer."""
FEW = 10
"""No more unfinished trees than that mean nothing."""
SEEN = 3
"""How often the limit must have been met to be known."""


SEARCH, SETTLE, STEADY = "search", "settle", "steady"


@dataclass
class Pace:
    wanted: float
    rate: float = 0.0
    phase: str = SEARCH
    held: bool = False
    at_limit: list[float | None] = field(default_factory=list[float | None])  # what was done per second; None: all

    def __post_init__(self) -> None:
        self.rate = self.wanted / 4

    def note(self, seconds: float, started: int, before: int, after: int) -> None:
        """So many trees were started in this time; so many were unfinished before and after it."""
        if self.phase == STEADY:
            self.held = after > max(FEW, self.rate * HELD_SECONDS * (0.5 if self.held else 1))
        elif after > max(FEW, self.rate * BEHIND_SECONDS):
            done = max(0.0, (started + before - after) / seconds)
            self.at_limit.append(done)
            self.rate = min(self.wanted, max(1.0, done * DRAIN))
        else:
            self.at_limit.append(None)
            most = self.wanted if self.phase == SEARCH else self._most
            self.rate = min(most, self.rate * CLIMB)

    def enter(self, phase: str) -> None:
        self.phase = phase
        if phase != SEARCH:
            self.rate = self._most

    @property
    def limit(self) -> float | None:
        """What the machine gave lately (in the second half of the time), when it was at its limit; None if it never
        was."""
        late = [done for done in self.at_limit[len(self.at_limit) // 2 :] if done is not None]
        return sum(late) / len(late) if len(late) >= SEEN else None

    @property
    def _most(self) -> float:
        return self.wanted if self.limit is None else min(self.wanted, max(1.0, self.limit * KEPT))
