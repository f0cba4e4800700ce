"""The store for reading: a thread with a loop, and on it a store of its own that is opened when first asked.

Nothing is asked of the database by itself: while nobody looks, no query runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, TypeVar

from fanwood.store.opening import store_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fanwood.clock import Clock
    from fanwood.settings import Settings
    from fanwood.store.store import Store

T = TypeVar("T")


class Reader:
    """One store, asked from the loop of the server."""

    def __init__(self, settings: Settings, clock: Clock, store: Store | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._given = store  # of a test
        self._store: Store | None = None
        self._opening: asyncio.Lock | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._on_change: Callable[[], None] = lambda: None

    async def ask(self, verb: Callable[[Store], Awaitable[T]]) -> T:
        """What `verb` makes of the store, on the thread."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._ask(verb), self._started()))

    async def _ask(self, verb: Callable[[Store], Awaitable[T]]) -> T:
        return await verb(await self._opened())

    async def _opened(self) -> Store:
        assert self._opening is not None
        async with self._opening:
            if self._store is None:
                store = self._given or store_for(self._settings, self._clock, create=False)
                await store.open(self._changed)
                self._store = store
        return self._store

    def _changed(self) -> None:
        self._on_change()

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = loop = asyncio.new_event_loop()
            self._opening = asyncio.Lock()
            self._thread = threading.Thread(target=loop.run_forever, name="fanwood-ui-reader", daemon=True)
            self._thread.start()
        return self._loop

    async def close(self) -> None:
        """Let go of the store, and end the thread."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        with contextlib.suppress(Exception):
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._close(), loop))
        loop.call_soon_threadsafe(loop.stop)
        assert self._thread is not None
        await asyncio.to_thread(self._thread.join)
        loop.close()

    async def _close(self) -> None:
        if self._store is not None:
            await self._store.close()
            self._store = None
