"""Ending what is below runs that have ended, a page at a time, beside everything else.

A parent's end, or a call, only records that what is below is closed; from then on nothing of it can be born or begin.
This ends it. It takes a bounded share of the time: after each page it rests for most of what that held up others.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fanwood.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.model.records import Swept
    from fanwood.store.store import Store

REST = 0.7
"""How many times as long as a page held up others to rest after it."""
REST_OF_SERVERS = 0.15
"""How many times as long as a page took. A server does it beside our commits, and not between them; but they share its
processors, and its log."""
LEAST_REST = 0.0005
LATER = 0.05
"""Seconds until a look again after trouble."""
LOOK_EVERY = 0.2
"""Seconds between two looks at the queue while what stands in front is being ended: each claim that meets it ends some
of it, more slowly than a sweep does."""
ELSEWHERE = 0.02
"""Seconds until the next try where another engine may be at it."""
IN_VAIN, LONGEST_REST = 3, 0.1
"""After so many pages in a row that ended nothing it rests twice as long each time, and at most so many seconds: a
failure that climbs a chain closes each of its levels, and below them nothing lives any more."""


class Closing:
    """The sweeping of one engine, on its loop. `note` it when something was closed."""

    def __init__(
        self, store: Callable[[], Store], on_ended: Callable[[], None], on_error: Callable[[StoreError], None]
    ) -> None:
        self._store = store
        self._on_ended = on_ended
        self._on_error = on_error
        self._bell: asyncio.Event | None = None
        self._noted = False
        self._in_vain = 0

    def note(self) -> None:
        """There is something to be ended."""
        self._noted = True
        if self._bell is not None:
            self._bell.set()

    async def run(self) -> None:
        """For ever."""
        self._bell = asyncio.Event()
        while True:
            if not self._noted:
                self._in_vain = 0
                self._bell.clear()
                await self._bell.wait()
            self._noted = False
            await self._sweep()

    async def _sweep(self) -> None:
        loop, more, looked = asyncio.get_running_loop(), True, 0.0
        while more:
            store, begun = self._store(), loop.time()
            try:
                swept = await store.sweep()
            except StoreError as error:
                self._on_error(error)
                self._noted = True
                await asyncio.sleep(LATER)
                return
            more, took = swept.more, loop.time() - begun
            if not more or loop.time() - looked > LOOK_EVERY:  # also if another engine is at it: claims wait for this
                looked = loop.time()
                self._on_ended()
            await asyncio.sleep(self._rest(swept, 0.0 if store.embedded else took))

    def _rest(self, swept: Swept, took: float = 0.0) -> float:
        """Seconds; `took`: what a page did on a server."""
        if swept.ended or swept.looked:
            self._in_vain = 0
            return max(LEAST_REST, REST * swept.held, REST_OF_SERVERS * took)
        self._in_vain = min(self._in_vain + 1, 2 * IN_VAIN)
        return min(ELSEWHERE * 2 ** max(0, self._in_vain - IN_VAIN), LONGEST_REST)
