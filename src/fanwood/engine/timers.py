"""Limits of the runs that execute here: execution timeouts and inherited deadlines.

They are kept by the engine's thread, so a task that blocks its loop or its thread can't outrun its own limit.
"""

from __future__ import annotations

import heapq

import msgspec


class _Entry(msgspec.Struct, order=True, frozen=True):
    when: int
    run: str
    attempt: int


SLACK = 64
"""Entries that are no longer current and may stay in the heap, beside as many as are."""


class Timers:
    """A heap of limits, by the store's clock. A later limit for the same run replaces the earlier, but for that of an
    attempt that another has taken the place of."""

    def __init__(self) -> None:
        self._heap: list[_Entry] = []
        self._current: dict[str, _Entry] = {}

    def set(self, run: str, attempt: int, when: int) -> None:
        """The limit of `run` is now `when`."""
        current = self._current.get(run)
        if current is not None and current.attempt > attempt:
            return
        entry = _Entry(when, run, attempt)
        self._current[run] = entry
        heapq.heappush(self._heap, entry)
        self._clear()

    def drop(self, run: str, attempt: int) -> None:
        """That attempt has no limit any more. (A later one, on the same worker, keeps its own.)"""
        current = self._current.get(run)
        if current is not None and current.attempt <= attempt:
            del self._current[run]
            self._clear()

    def _clear(self) -> None:
        """What is over leaves the heap once it is the greater part: it may be behind one that comes first for long."""
        if len(self._heap) > 2 * len(self._current) + SLACK:
            self._heap = list(self._current.values())
            heapq.heapify(self._heap)

    def next(self) -> int | None:
        """When the next limit is due."""
        while self._heap and self._current.get(self._heap[0].run) is not self._heap[0]:
            heapq.heappop(self._heap)
        return self._heap[0].when if self._heap else None

    def due(self, now: int) -> list[tuple[str, int]]:
        """The runs, with their attempts, whose limits have come; each is told once."""
        found: list[tuple[str, int]] = []
        while (when := self.next()) is not None and when <= now:
            entry = heapq.heappop(self._heap)
            del self._current[entry.run]
            found.append((entry.run, entry.attempt))
        return found
