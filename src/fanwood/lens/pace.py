"""How fast a tree is coming on, and how long it takes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from fanwood.lens.picture import percentile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fanwood.lens.views import Counts

LATELY, LONGER = 30, 300
"""Seconds over which a rate is taken; from one to the other goes what is expected."""
KEPT = 0.5
"""Seconds between two notes, at least."""
AGE, ENDS = 15, 20
"""Seconds, and runs that have ended, before anything is expected."""
STILL, PATIENCE = 10.0, 3
"""Seconds without a change, and so many times what is usual, after which something has stalled."""


class Pace:
    """What ended when, as far as it was seen."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int]] = deque()
        self._changed_at = 0
        self._now = 0

    def note(self, now: int, ended: int, *, changed: bool) -> None:
        """So many had ended by now."""
        self._now = now
        if changed or not self._changed_at:
            self._changed_at = now
        if len(self._seen) > 1 and now - self._seen[-2][0] < KEPT * 1e6:
            self._seen.pop()
        self._seen.append((now, ended))
        while len(self._seen) > 2 and self._seen[1][0] <= now - LONGER * 1e6:
            self._seen.popleft()

    def recall(self, now: int, began: int, ends: Mapping[int, int]) -> None:
        """What had ended before anybody looked: so many, by when. (What was noted while a tree was being read says only
        how fast it was read.)"""
        self._seen.clear()
        for at in sorted({max(began, now - seconds * 1_000_000) for seconds in (LATELY, LONGER)}):
            self._seen.append((at, sum(count for end, count in ends.items() if end <= at)))

    def rate(self, seconds: float) -> float:
        """Ends a second, over about so many seconds."""
        if len(self._seen) < 2:
            return 0.0
        since = self._now - seconds * 1e6
        began, before = next((note for note in self._seen if note[0] >= since), self._seen[0])
        (at, ended) = self._seen[-1]
        return max(0, ended - before) * 1e6 / (at - began) if at > began else 0.0

    def eta(self, left: int, age: float) -> tuple[float, float] | None:
        """Seconds that the rest takes, from ... to."""
        if not left or age < AGE or not self._seen or self._seen[-1][1] < ENDS:
            return None
        rates = [rate for rate in (self.rate(LATELY), self.rate(LONGER)) if rate > 0]
        return (left / max(rates), left / min(rates)) if rates else None

    def is_stalled(self, counts: Counts, took: Mapping[str, Mapping[int, int]], running: Mapping[str, int]) -> bool:
        """Whether something has not ended, is not delayed, and nothing changes. What never ended before may take as
        long as it likes."""
        if not (counts.running or counts.queued) or not self._changed_at:
            return False
        usual = [percentile(took.get(task, {}), 0.99) for task in running]
        if any(one is None for one in usual):
            return False
        patience = max(STILL, *(PATIENCE * (one or 0) / 1e6 for one in usual)) if usual else STILL
        return self._now - self._changed_at > patience * 1e6
