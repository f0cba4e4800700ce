"""How long runs took that this process asked for and whose ends it saw: of tasks for which somebody wants to know."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FEWEST = 20
"""So many must have been seen before anything is said of a task."""
KEPT, TASKS, UNDER_WAY = 1_000, 1_000, 100_000
"""So many are kept of a task, the last ones; of so many tasks; and so many whose ends are to come."""


class Latencies:
    """Asked by any thread, told by the engine's."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._began: dict[bytes, tuple[str, float]] = {}
        self._seen: dict[str, deque[float]] = {}

    def __bool__(self) -> bool:
        return bool(self._began)

    def asked(self, task: str, run_id: bytes) -> None:
        """A run is asked for, of which its time is wanted."""
        if len(self._began) < UNDER_WAY:
            self._began.setdefault(run_id, (task, self._time()))

    def ended(self, ids: Iterable[bytes], *, counts: bool = True) -> None:
        """Runs have ended; `counts`: so that their time means something."""
        for run_id in ids:
            began = self._began.pop(run_id, None)
            if began is not None and counts:
                task, since = began
                if task not in self._seen and len(self._seen) >= TASKS:
                    del self._seen[next(iter(self._seen))]
                self._seen.setdefault(task, deque(maxlen=KEPT)).append(self._time() - since)

    def percentile(self, task: str, percent: int) -> float | None:
        """So many seconds no more than this share of its runs took; None: too few were seen."""
        seen = sorted(self._seen.get(task, ()))
        return seen[min(len(seen) - 1, len(seen) * percent // 100)] if len(seen) >= FEWEST else None
