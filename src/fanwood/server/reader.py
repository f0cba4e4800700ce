"""The store for reading: a thread with a loop, and on it a store of its own that is opened when first asked.

Nothing is asked of the database by itself: while nobody looks, no query runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from fanwood import logs
from fanwood.engine.health import as_answer, current_task, is_meant
from fanwood.errors import StoreError
from fanwood.store.opening import store_for
from fanwood.store.urls import without_password

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from fanwood.clock import Clock
    from fanwood.settings import Settings
    from fanwood.store.store import Store

T = TypeVar("T")

logger = logs.logger("fanwood.server")

LOOK = 5.0
"""Seconds that a statement may take."""
PATIENCE = 1.0
"""Seconds before it is watched again after an error."""


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
        self._watchers = 0
        self._watch: asyncio.Future[None] | None = None
        self._told = False  # and they have not looked yet: nothing more need be heard
        self._ear: asyncio.Lock | None = None
        self._hushing: asyncio.Task[None] | None = None
        self.on_change: Callable[[], None] = lambda: None
        """Called on the loop of who watches, when somebody else has changed something."""

    async def ask(self, verb: Callable[[Store], Awaitable[T]]) -> T:
        """What `verb` makes of the store, on the thread."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._ask(verb), self._started()))

    async def _ask(self, verb: Callable[[Store], Awaitable[T]]) -> T:
        """Whatever a driver raises is told to who asked, and ends neither the thread nor what he waits for."""
        mine = current_task()
        try:
            return await verb(await self._opened())
        except BaseException as error:
            if is_meant(error, mine) or (told := as_answer(error, self._url())) is error:
                raise
            raise told from error

    def _url(self) -> str:
        return without_password(self._settings.database_url)

    async def _opened(self) -> Store:
        assert self._opening is not None
        async with self._opening:
            if self._store is None:
                store = self._given or store_for(self._settings, self._clock, create=False, looks=LOOK)
                await store.open(self._changed)
                self._store = store
        return self._store

    # --- changes ---------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def watched(self) -> AsyncGenerator[None, None]:
        """Meanwhile `on_change` is called."""
        self._watchers += 1
        if self._watchers == 1:
            self._home = asyncio.get_running_loop()
            self._watch = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._keep_watching(), self._started()))
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers and self._watch is not None:
                self._watch.cancel()
                self._watch, self._told = None, True
                if self._loop is not None:
                    self._loop.call_soon_threadsafe(self._hush_soon)

    async def _keep_watching(self) -> None:
        mine = current_task()
        while True:
            try:
                await (await self._opened()).watch()
            except BaseException as error:
                if is_meant(error, mine):
                    raise
                if not isinstance(error, StoreError):  # (of which whoever looks is told)
                    logger.exception("the database can't be watched; it is tried again")
                await asyncio.sleep(PATIENCE)
                self._changed()

    async def attend(self) -> None:
        """Somebody is about to look: what is changed from now on is told, once."""
        if self._told:
            await self.ask(self._attend)

    async def _attend(self, store: Store) -> None:
        assert self._ear is not None
        async with self._ear:
            self._told = False
            await store.attend()

    def _changed(self) -> None:
        """On the thread. Of thousands of changes a second one is told, and no more until somebody looks."""
        if not self._told and self._watchers:
            self._told = True
            self._hush_soon()
            with contextlib.suppress(RuntimeError):  # the server has ended
                self._home.call_soon_threadsafe(self.on_change)

    def _hush_soon(self) -> None:
        self._hushing = asyncio.ensure_future(self._hush())

    async def _hush(self) -> None:
        assert self._ear is not None
        async with self._ear:
            if self._told and self._store is not None:
                mine = current_task()
                try:
                    await self._store.hush()
                except BaseException as error:
                    if is_meant(error, mine):
                        raise
                    logger.debug("it goes on telling of changes: %r", error)  # whoever looks is told

    # --- its life --------------------------------------------------------------------------------------------------

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = loop = asyncio.new_event_loop()
            self._opening, self._ear = asyncio.Lock(), asyncio.Lock()
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
        if self._hushing is not None:
            await self._hushing
        if self._store is not None:
            await self._store.close()
            self._store = None
