"""Who waits for which run, inside this process.

A `Collector` gathers the ends of a number of runs, one or a hundred thousand, and tells its waiter once: when all
are there, or when there is no point in waiting for more. So a fan-out costs one wake-up, not one per child.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.model.states import RunState

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.model.commands import Finished


class Collector:
    """The ends of `size` runs, in the order of their spawning. Filled by the engine's thread, read by one waiter."""

    __slots__ = ("_on_ready", "error", "fail_fast", "first_failure", "pending_acks", "ready", "remaining", "results")

    def __init__(self, size: int, *, fail_fast: bool) -> None:
        self.results: list[Finished | None] = [None] * size
        self.remaining = size
        self.fail_fast = fail_fast
        self.first_failure: int | None = None
        self.pending_acks = 0
        self.error: BaseException | None = None
        self.ready = size == 0
        self._on_ready: Callable[[], None] | None = None

    def grow(self, count: int) -> int:
        """Make room for `count` more; the index of the first of them."""
        start = len(self.results)
        self.results.extend([None] * count)
        self.remaining += count
        return start

    def put(self, index: int, finished: Finished) -> None:
        """Run number `index` has ended."""
        if self.results[index] is None:
            self.results[index] = finished
            self.remaining -= 1
            if finished.state is not RunState.COMPLETED and self.first_failure is None:
                self.first_failure = index
            if self.remaining == 0 or (self.fail_fast and self.first_failure is not None):
                self._be_ready()

    def fail(self, error: BaseException) -> None:
        """Nothing more will come."""
        if self.error is None:
            self.error = error
        self._be_ready()

    def when_ready(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, from the engine's thread, when the wait is over; at once if it is over already."""
        self._on_ready = callback
        if self.ready:
            self._tell()

    def _be_ready(self) -> None:
        self.ready = True
        self._tell()

    def _tell(self) -> None:
        # Both threads may come here at the same time; a list's pop is what only one of them wins.
        callback, self._on_ready = self._on_ready, None
        if callback is not None:
            callback()


class Waits:
    """From run id to those who wait for it. Belongs to the engine's thread."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, tuple[Collector, int] | list[tuple[Collector, int]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, run_id: bytes, collector: Collector, index: int) -> None:
        """`collector` wants the end of `run_id` as its number `index`."""
        present = self._waiting.get(run_id)
        if present is None:
            self._waiting[run_id] = (collector, index)
        elif isinstance(present, list):
            present.append((collector, index))
        else:
            self._waiting[run_id] = [present, (collector, index)]

    def deliver(self, run_id: bytes, finished: Finished) -> None:
        """`run_id` has ended: tell all who wait for it."""
        waiting = self._waiting.pop(run_id, None)
        if waiting is None:
            return
        if isinstance(waiting, list):
            for collector, index in waiting:
                collector.put(index, finished)
        else:
            waiting[0].put(waiting[1], finished)

    def fail(self, run_id: bytes, error: BaseException) -> None:
        """`run_id` can't be waited for."""
        waiting = self._waiting.pop(run_id, None)
        for collector, _ in waiting if isinstance(waiting, list) else [waiting] if waiting else []:
            collector.fail(error)

    def fail_all(self, error: BaseException) -> None:
        """The engine stops: nothing more will be delivered."""
        for run_id in list(self._waiting):
            self.fail(run_id, error)

    def some(self, count: int) -> list[bytes]:
        """Those that have waited longest, at most `count`; they go to the end of the line."""
        ids = list(self._waiting)[:count] if len(self._waiting) <= count else _first(self._waiting, count)
        for run_id in ids:
            self._waiting[run_id] = self._waiting.pop(run_id)
        return ids


def _first(waiting: dict[bytes, object], count: int) -> list[bytes]:
    ids: list[bytes] = []
    for run_id in waiting:
        ids.append(run_id)
        if len(ids) == count:
            break
    return ids
