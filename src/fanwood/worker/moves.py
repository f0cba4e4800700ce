"""Runs that were handed back because the loop on which they ran has ended: how often, until they end."""

from __future__ import annotations

MOST = 3
"""How often one run is. A loop that ends can't be told for sure from a task that cancels itself: some time it must be
taken for that."""


class Moves:
    """Of one worker."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._counts)

    @property
    def suffice(self) -> bool:
        """One more, and a run would fail that has done nothing: it must not meet another loop that may end."""
        return MOST - 1 in self._counts.values() or MOST in self._counts.values()

    def note(self, run_id: str) -> bool:
        """Whether it may be moved once more."""
        count = self._counts[run_id] = self._counts.get(run_id, 0) + 1
        return count <= MOST

    def forget(self, run_id: str) -> None:
        """It has ended."""
        self._counts.pop(run_id, None)
