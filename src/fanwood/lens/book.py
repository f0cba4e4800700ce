"""The lenses of a process: one for each tree that somebody looks at."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from math import inf
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakValueDictionary

from fanwood.lens.lens import Lens

if TYPE_CHECKING:
    from fanwood.clock import Clock
    from fanwood.lens.pieces import Piece
    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store

MEMORY = 64 << 20
"""Bytes that they may take together, or about that."""
Shelf = Callable[[bytes], Awaitable[Lens | None]]
"""Where the lens of a tree is, if there is one that has read it."""


async def no_lens(root_id: bytes) -> Lens | None:  # noqa: ARG001
    """A shelf without any."""
    return None


async def segments_of(shelf: Shelf, parent: RunRecord) -> list[Piece]:
    """What a lens knows of a run's children, if they are many; nothing if there is none."""
    lens = await shelf(parent.root_id)
    return [] if lens is None else lens.segments(parent.id)


class Lenses:
    """They are kept while there is room: those that were asked for last. Each is refreshed by one at a time, and never
    more often than it wants."""

    def __init__(self, clock: Clock, memory: int = MEMORY) -> None:
        self._clock = clock
        self._memory = memory
        self._lenses: OrderedDict[bytes, Lens] = OrderedDict()
        self._locks = WeakValueDictionary[bytes, asyncio.Lock]()
        self._due = WeakKeyDictionary[Lens, float]()
        self._made = 0

    def __len__(self) -> int:
        return len(self._lenses)

    async def tree(self, store: Store, root_id: bytes) -> Lens:
        """That of a tree, refreshed if it is time. A new one has taken its first step.

        Raises:
            RunNotFoundError: there is no such run.
        """
        async with self._locks.setdefault(root_id, asyncio.Lock()):
            lens = self._lenses.get(root_id)
            if lens is None:
                self._made += 1
                lens = Lens(root_id, self._clock, f"{store.now():x}{self._made:x}")
            if self._clock.monotonic() >= self._due.get(lens, 0.0):
                await lens.refresh(store)
                self._due[lens] = self._clock.monotonic() + lens.interval
            self._keep(lens)
            return lens

    async def known(self, store: Store, root_id: bytes) -> Lens | None:
        """That of a tree, if there is one that has read all of it."""
        lens = self._lenses.get(root_id)
        return None if lens is None or lens.done < 1 else await self.tree(store, root_id)

    async def warm(self, store: Store, root_id: bytes, patience: float = inf) -> Lens:
        """That of a tree, once it has read all of it, or after so many seconds.

        Raises:
            RunNotFoundError: there is no such run.
        """
        until = self._clock.monotonic() + patience
        while (lens := await self.tree(store, root_id)).done < 1 and self._clock.monotonic() < until:
            pass
        return lens

    def touched(self, run: RunRecord) -> None:
        """Somebody has just done something to a run: whoever looks at its tree is to see that soon."""
        lens = self._lenses.get(run.root_id)
        if lens is not None:
            lens.touched(run)
            self._due.pop(lens, None)

    def _keep(self, lens: Lens) -> None:
        self._lenses[lens.root] = lens
        self._lenses.move_to_end(lens.root)
        while len(self._lenses) > 1 and sum(one.size for one in self._lenses.values()) > self._memory:
            self._lenses.popitem(last=False)

    def forget(self, root_id: bytes) -> None:
        """It is gone."""
        self._lenses.pop(root_id, None)
