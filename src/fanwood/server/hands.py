"""The server's own engine: it is there while something is to be done, and else nobody is.

Reading needs none. An action opens it; once nothing that it began is left, and nobody has asked for anything for a
while, it is closed. What another server left when it died is gone on with by whoever looks at actions next.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from fanwood import logs
from fanwood.clock import SystemClock
from fanwood.engine.health import current_task, is_meant
from fanwood.engine.signals import block
from fanwood.errors import FanwoodError
from fanwood.server.deeds import declare
from fanwood.store.opening import store_for
from fanwood.worker.carrying import has_unfinished

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from fanwood.server.deeds import Deeds
    from fanwood.settings import Settings

T = TypeVar("T")

IDLE = 5.0
"""Seconds after which an engine that nobody needs is closed."""
LOOK = 1.0

logger = logs.logger("fanwood.server")


class Hands:
    """Opens the engine, and closes it."""

    def __init__(self, settings: Settings, *, idle: float = IDLE) -> None:
        self._settings = settings
        self.idle = idle
        self._deeds: Deeds | None = None
        self._lock = asyncio.Lock()
        self._asking = 0
        self._opening: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._used = 0.0

    @property
    def is_open(self) -> bool:
        """Whether there is an engine."""
        return self._deeds is not None

    async def do(self, verb: Callable[[Deeds], Coroutine[Any, Any, T]]) -> T:
        """Something with the engine."""
        self._asking += 1
        try:
            async with self._lock:
                deeds = self._deeds or await self._opened()
            # On a thread without a loop: the engine's tasks get one of their own, and leave that of the server alone.
            return await asyncio.to_thread(block, verb(deeds), "an action")
        finally:
            self._asking -= 1
            self._used = asyncio.get_running_loop().time()

    async def _opened(self) -> Deeds:
        """Who asks may be cancelled meanwhile. An engine that has begun is one that is closed."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
        await asyncio.shield(self._opening)
        assert self._deeds is not None
        return self._deeds

    async def _open(self) -> None:
        try:
            self._deeds = await asyncio.to_thread(_open, self._settings)
        finally:
            self._opening = None
        self._used = asyncio.get_running_loop().time()
        if self._watch is None:
            self._watch = asyncio.create_task(self._close_when_idle())

    async def go_on(self) -> None:
        """Take up what is there to be done, if there is anything."""
        if self._deeds is None and await _is_left(self._settings):
            await self.carry_on()

    async def carry_on(self) -> None:
        """Execute what there is until none is left."""
        await self.do(_serve)

    async def _close_when_idle(self) -> None:
        """Not while anything is under way."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(LOOK, self.idle))
            async with self._lock:
                deeds = self._deeds
                if deeds is None:
                    return
                if self._asking or loop.time() - self._used < self.idle:
                    continue
                try:
                    if await asyncio.wrap_future(deeds.app.engine().call(has_unfinished)):
                        continue
                except FanwoodError as error:
                    logger.warning("the engine of actions could not be asked: %s", error)
                await self._close()
                self._watch = None
                return

    async def _close(self) -> None:
        if self._deeds is not None:
            await self._deeds.app.aio_close()
            self._deeds = None

    async def close(self) -> None:
        """Let go of it. What is under way goes on with the next server."""
        if (opening := self._opening) is not None:
            await asyncio.gather(opening, return_exceptions=True)
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        async with self._lock:
            await self._close()


def _open(settings: Settings) -> Deeds:
    deeds = declare(settings)
    deeds.app.engine()
    return deeds


async def _serve(deeds: Deeds) -> None:
    await deeds.app.prepare([deeds.bulk.name])


async def _is_left(settings: Settings) -> bool:
    """Whether anything is unfinished, seen by a store that is there for this look only."""
    store = store_for(settings, SystemClock(), create=False)
    mine = current_task()
    try:
        await store.open(lambda: None)
        return await has_unfinished(store)
    except BaseException as error:
        if is_meant(error, mine):
            raise
        if not isinstance(error, FanwoodError):  # there is no database yet, or not now
            logger.exception("whether an action is to be gone on with could not be seen")
        return False
    finally:
        await store.close()
