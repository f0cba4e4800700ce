"""Having the store cleared of what updates leave behind, before it slows down those who look for work.

A database that keeps old versions of rows clears them away by itself, but seldom. What was claimed stays in the queue's
index until then, and every look walks through it. So workers see to it. It takes a bounded share of the time: after a
clearing its worker rests for a few times as long as that took.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fanwood.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.store.store import Store

LOOK_EVERY = 5.0
"""Seconds between two looks whether there is enough to be cleared."""
REST = 4
"""How many times as long as a clearing took to rest after it."""


class Tidying:
    """The clearing of one engine, on its loop."""

    def __init__(self, store: Store, works: Callable[[], bool], on_error: Callable[[StoreError], None]) -> None:
        self._store = store
        self._works = works  # whether this engine is a worker's
        self._on_error = on_error

    async def run(self) -> None:
        """For ever; not at all for a store that needs none of it."""
        pause = LOOK_EVERY
        while not self._store.embedded:
            await asyncio.sleep(pause)
            pause = LOOK_EVERY
            if self._works():
                began = self._store.now()
                try:
                    await self._store.tidy()
                except StoreError as error:
                    self._on_error(error)
                pause = max(LOOK_EVERY, REST * (self._store.now() - began) / 1e6)
