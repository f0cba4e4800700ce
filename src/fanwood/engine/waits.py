"""Who waits for which run, inside this process.

A `Collector` gathers the ends of a number of runs, one or a hundred thousand, and tells its waiter once: when all
are there, or when there is no point in waiting for more. So a fan-out costs one wake-up, not one per child. A `Stream`
tells whenever some have come.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.model.commands import Finished
from fanwood.model.states import Awaited, RunState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fanwood.model.commands import Ended


def to_keep(ended: Ended) -> Ended:
    """How a run ended, without what else is known of the attempt that reported it."""
    if type(ended) is Finished:
        return ended
    return Finished(ended.state, ended.output, ended.error, ended.task)


class Collector:
    """The ends of some runs, in the order of their spawning, for one waiter.

    The waiter's thread adds and closes, the engine's thread puts: each counts for itself, so that neither needs a
    lock. Ready is: closed and complete; or failed, and the waiter wants to know at once.
    """

    __slots__ = (
        "_added",
        "_closed",
        "_lock",
        "_on_ready",
        "_put",
        "any_of",
        "due",
        "error",
        "fail_fast",
        "first_failure",
        "given_up",
        "holds",
        "owns",
        "ready",
        "results",
        "runs",
    )

    def __init__(self, *, fail_fast: bool, owns: bool = False) -> None:
        self.results: list[Ended | None] = []
        self.owns = owns  # its waiter has asked for these runs
        self.runs: Iterable[bytes] = ()  # whose ends they are, for as long as somebody waits
        self.due: int | None = None  # of a sleep: when it ends
        self.fail_fast = fail_fast
        self.first_failure: int | None = None
        self.error: BaseException | None = None
        self.ready = False
        self.given_up = False  # nobody waits any more
        self.holds = 0  # so many of these runs are not there yet: whoever waits had better stay
        self.any_of = False  # each end may be the one that is waited for
        self._added = 0
        self._put = 0
        self._closed = False
        self._on_ready: Callable[[], None] | None = None
        self._lock = threading.Lock()

    def grow(self, count: int) -> int:
        """Make room for `count` more; the index of the first of them."""
        start = self._added
        self.results.extend([None] * count)
        self._added += count
        return start

    def close(self) -> None:
        """No more will be added."""
        self._closed = True
        if self._put == self._added:
            self.be_ready()

    def awaited(self) -> tuple[list[bytes], Awaited, int]:
        """What a waiter still waits for whose code is unloaded: these runs (none: it had better stay), what the end of
        one means to him, and after how many of them his wait could be over. On the engine's thread."""
        if self.holds:
            return [], Awaited.WAKES, 0
        left = [id_ for id_, end in zip(self.runs, self.results, strict=False) if end is None]
        if len(self.results) == 1 or self.any_of:
            return left, Awaited.WAKES, len(left)
        return left, Awaited.ONE_OF_UNLESS_FAILED if self.fail_fast else Awaited.ONE_OF, len(left)

    @property
    def complete(self) -> bool:
        """Whether all are there."""
        return self._closed and self._put == self._added

    def put(self, index: int, finished: Ended) -> None:
        """Run number `index` has ended. On the engine's thread only."""
        if self.results[index] is None:
            self.results[index] = to_keep(finished)
            self._put += 1
            if finished.state is not RunState.COMPLETED and self.first_failure is None:
                self.first_failure = index
            if (self._closed and self._put == self._added) or (self.fail_fast and self.first_failure is not None):
                self.be_ready()

    def fail(self, error: BaseException) -> None:
        """Nothing more will come."""
        if self.error is None:
            self.error = error
        self.be_ready()

    def refuse(self, error: BaseException) -> None:
        """Some of what was asked for is refused. (A waiter that takes each as it comes hears that from its request.)"""
        self.fail(error)

    def when_ready(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, from whatever thread, when the wait is over; at once if it is over already."""
        with self._lock:
            if not self.ready:
                self._on_ready = callback
                return
        callback()

    def be_ready(self) -> None:
        """The wait is over."""
        with self._lock:
            self.ready = True
            callback, self._on_ready = self._on_ready, None
        if callback is not None:
            callback()


class Outputs(Collector):
    """The ends of runs of which there may be a million: of one that completed nothing is kept but its output."""

    __slots__ = ("values",)

    def __init__(self, *, fail_fast: bool, owns: bool = False) -> None:
        super().__init__(fail_fast=fail_fast, owns=owns)
        self.values: list[Any] = self.results  # outputs, as texts; other ends as they are

    def put(self, index: int, finished: Ended) -> None:
        """Run number `index` has ended. (Once all are there nothing is put any more: its waiter has the list.)"""
        values = self.values
        if self._put < self._added and values[index] is None:
            if finished.state is RunState.COMPLETED:
                values[index] = finished.output or "null"
            else:
                values[index] = to_keep(finished)
                if self.first_failure is None:
                    self.first_failure = index
            self._put += 1
            if (self._closed and self._put == self._added) or (self.fail_fast and self.first_failure is not None):
                self.be_ready()

    def end(self, index: int, task: str) -> Ended:
        """How number `index`, a run of `task`, has ended."""
        ended = self.values[index]
        return Finished(RunState.COMPLETED, ended, None, task) if isinstance(ended, str) else ended


class Stream(Collector):
    """The ends of runs as they come: ready whenever one is there that was not taken yet. Keeps nothing else, so that
    any number of runs can go through it."""

    __slots__ = ("_come", "_open", "under_way")

    def __init__(self, *, owns: bool = False) -> None:
        super().__init__(fail_fast=False, owns=owns)
        self._come: deque[tuple[int, Ended]] = deque()
        self._open: set[int] = set()  # added by the waiter's thread, taken out by the engine's
        self.under_way: Callable[[], Iterable[tuple[int, bytes]]] = tuple  # the numbers and ids of what is waited for

    def grow(self, count: int) -> int:
        """Make room for `count` more; the number of the first of them."""
        start = self._added
        self._added += count
        self._open.update(range(start, self._added))
        return start

    def put(self, index: int, finished: Ended) -> None:
        """Run number `index` has ended."""
        if index in self._open:
            self._open.discard(index)
            self._come.append((index, finished))
            self.nudge()

    def nudge(self) -> None:
        """Have the waiter look: at what has come, or at something of his own. From any thread."""
        if not self.ready:  # if it is, he hasn't looked yet
            self.be_ready()

    def awaited(self) -> tuple[list[bytes], Awaited, int]:
        """As above: each end is taken."""
        if self._come or self.holds:
            return [], Awaited.WAKES, 0
        return [id_ for number, id_ in self.under_way() if number in self._open], Awaited.WAKES, 1

    def take(self) -> list[tuple[int, Ended]]:
        """What has come since the last time, by number. On the waiter's thread."""
        self.ready = self.error is not None  # first: what comes from here on makes it ready again
        come = self._come
        return [come.popleft() for _ in range(len(come))]

    @property
    def complete(self) -> bool:
        """Whether nothing is under way."""
        return not self._open


class Waiting:
    """While inside, somebody waits for the ends of some runs; `give_up` is told of those that are not there then."""

    __slots__ = ("_collector", "_give_up", "_ids")

    def __init__(
        self, collector: Collector, ids: Iterable[bytes], give_up: Callable[[Collector, Iterable[bytes]], None]
    ) -> None:
        self._collector = collector
        self._ids = ids
        self._give_up = give_up

    def __enter__(self) -> None:
        self._collector.runs = () if hasattr(self._ids, "__next__") else self._ids

    def __exit__(self, *_: object) -> None:
        self._collector.runs = ()
        if not self._collector.complete:
            self._give_up(self._collector, self._ids)


class _Place(msgspec.Struct, frozen=True, gc=False):
    """Where the end of a run belongs."""

    collector: Collector
    index: int


class Waits:
    """From run id to those who wait for it. Belongs to the engine's thread."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, _Place | list[_Place]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, run_id: bytes) -> bool:
        return run_id in self._waiting

    def is_owned(self, run_id: bytes) -> bool:
        """Whether somebody who has asked for this run waits for it, and has not given up."""
        present = self._waiting.get(run_id)
        places = present if isinstance(present, list) else [present] if present else []
        return any(place.collector.owns and not place.collector.given_up for place in places)

    def add(self, run_id: bytes, collector: Collector, index: int) -> None:
        """`collector` wants the end of `run_id` as its number `index`."""
        present = self._waiting.get(run_id)
        if present is None:
            self._waiting[run_id] = _Place(collector, index)
        elif isinstance(present, list):
            present.append(_Place(collector, index))
        else:
            self._waiting[run_id] = [present, _Place(collector, index)]

    def add_all(self, ids: Sequence[bytes], collector: Collector, indexes: Sequence[int]) -> None:
        """`collector` wants the ends of these, as its numbers `indexes`."""
        waiting, add = self._waiting, self.add
        for run_id, index in zip(ids, indexes, strict=True):
            if run_id in waiting:
                add(run_id, collector, index)
            else:
                waiting[run_id] = _Place(collector, index)

    def deliver(self, run_id: bytes, finished: Ended) -> None:
        """`run_id` has ended: tell all who wait for it."""
        waiting = self._waiting.pop(run_id, None)
        if waiting is None:
            return
        if isinstance(waiting, list):
            for place in waiting:
                place.collector.put(place.index, finished)
        else:
            waiting.collector.put(waiting.index, finished)

    def remove(self, run_id: bytes, collector: Collector) -> None:
        """`collector` doesn't want the end of `run_id` any more."""
        present = self._waiting.get(run_id)
        places = present if isinstance(present, list) else [present] if present else []
        if not any(place.collector is collector for place in places):
            return
        left = [place for place in places if place.collector is not collector]
        if len(left) > 1:
            self._waiting[run_id] = left
        elif left:
            self._waiting[run_id] = left[0]
        else:
            del self._waiting[run_id]

    def fail(self, run_id: bytes, error: BaseException) -> None:
        """`run_id` can't be waited for."""
        waiting = self._waiting.pop(run_id, None)
        for place in waiting if isinstance(waiting, list) else [waiting] if waiting else []:
            place.collector.fail(error)

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


def _first(waiting: Iterable[bytes], count: int) -> list[bytes]:
    ids: list[bytes] = []
    for run_id in waiting:
        ids.append(run_id)
        if len(ids) == count:
            break
    return ids
