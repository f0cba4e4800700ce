"""What runs that go on have recorded, where that is little: of many at once.

A hundred thousand that slept and are due begin in the same moments, and each has a row or two to be told of. One look
for each would cost more than all else that is done for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from fanwood.engine.health import current_task, is_meant
from fanwood.engine.signals import Signal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fanwood.model.records import Few
    from fanwood.store.store import Store

AT_ONCE = 100
"""Runs that are read together."""
MANY = 50
"""A run that has more children is read by itself, in pages;"""
LONG = 4_096
"""and so is one with more bytes than that in something that it recorded."""


class _Asked:
    """By one attempt."""

    __slots__ = ("after", "found", "run_id", "signal")

    def __init__(self, run_id: bytes, after: bytes) -> None:
        self.run_id = run_id
        self.after = after
        self.found: Few = None
        self.signal = Signal()


class Littles:
    """Of one engine. What goes wrong is not told here: who has no answer asks by himself, and is told then."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asked = deque[_Asked]()
        self._called = False  # the loop is, and has not looked yet
        self._closed = False
        self._worker: asyncio.Task[None] | None = None

    async def read(self, loop: asyncio.AbstractEventLoop, run_id: bytes, after: bytes) -> Few:
        """From any thread, in either colour."""
        one = _Asked(run_id, after)
        self._asked.append(one)
        if not self._called:
            self._called = True
            try:
                loop.call_soon_threadsafe(self._begin)
            except RuntimeError:  # it is closed
                self.close()
        if self._closed:
            self._give_up()
        await one.signal.wait()
        return one.found

    def close(self) -> None:
        """From any thread: nobody is answered any more."""
        self._closed = True
        self._give_up()

    def _begin(self) -> None:
        """On the loop."""
        self._called = False  # first: who comes from here on calls again
        if self._worker is None or self._worker.done():
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        mine = current_task()
        while self._asked:
            taken = [*islice(self._taken(), AT_ONCE)]
            try:
                found = await self._store.recorded_few([(one.run_id, one.after) for one in taken], MANY, LONG)
                for one, few in zip(taken, found, strict=True):
                    one.found = few
            except BaseException as error:
                if is_meant(error, mine):
                    self._give_up()  # those that have not been taken as well
                    raise
            finally:
                for one in taken:
                    one.signal.fire()

    def _give_up(self) -> None:
        for one in self._taken():
            one.signal.fire()

    def _taken(self) -> Iterator[_Asked]:
        """Out of the queue, each by one thread."""
        while True:
            try:
                yield self._asked.popleft()
            except IndexError:
                return
