"""The lenses, as the server uses them: on the reader's thread, one step at a time, never more often than they want."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakValueDictionary

from fanwood.lens.book import Lenses

if TYPE_CHECKING:
    from fanwood.clock import Clock
    from fanwood.lens.lens import Lens
    from fanwood.store.store import Store


class Trees:
    """One lens for each tree that is looked at, whoever does."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lenses = Lenses(clock)
        self._locks = WeakValueDictionary[bytes, asyncio.Lock]()
        self._due = WeakKeyDictionary["Lens", float]()

    async def lens(self, store: Store, root_id: bytes) -> Lens:
        """That of a tree, refreshed if it is time.

        Raises:
            RunNotFoundError: the tree is gone.
        """
        lock = self._locks.setdefault(root_id, asyncio.Lock())
        async with lock:
            lens = await self._lenses.tree(store, root_id)
            if lens not in self._due:  # it has taken its first step just now
                self._due[lens] = self._clock.monotonic() + lens.interval
            elif self._due[lens] <= self._clock.monotonic():
                await lens.refresh(store)
                self._due[lens] = self._clock.monotonic() + lens.interval
        return lens
