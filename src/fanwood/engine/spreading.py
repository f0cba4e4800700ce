"""Events whose pusher has died before all waits were looked at, and events that are old."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fanwood.errors import StoreError
from fanwood.store.spreading import finish

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.settings import Settings
    from fanwood.store.store import Store

LOOK_EVERY = 5.0
"""Seconds between two looks: as a rule who has pushed an event ends it."""
FORGET_EVERY = 12
"""Looks between two at what is old."""
AT_ONCE = 1_000
OPEN = 100


class Spreading:
    """Of one engine, on its loop."""

    def __init__(
        self, store: Store, settings: Settings, works: Callable[[], bool], on_error: Callable[[StoreError], None]
    ) -> None:
        self._store = store
        self._kept = round(settings.event_retention * 1e6)
        self._works = works  # whether this engine is a worker's
        self._on_error = on_error

    async def run(self) -> None:
        """For ever."""
        turn = 0
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if not self._works():
                continue
            try:
                for event in await self._store.open_events(OPEN):
                    await finish(self._store, event)
                if turn % FORGET_EVERY == 0:
                    await self._forget()
            except StoreError as error:
                self._on_error(error)
            turn += 1

    async def _forget(self) -> None:
        before = self._store.now() - self._kept
        forgotten = AT_ONCE
        while forgotten == AT_ONCE:
            forgotten = await self._store.forget_events(before, AT_ONCE)
            await asyncio.sleep(0)
