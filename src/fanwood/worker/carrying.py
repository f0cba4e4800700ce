"""Actions on many runs whose program has died, and who goes on with them: a worker that lives.

An action is a tree of runs, executed by who began it (`runs.bulk`, a command with filters, a server). A worker looks
whether one was left alone whenever workers have come or gone, which it hears anyway; only then it asks anything.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from fanwood import logs
from fanwood.errors import FanwoodError
from fanwood.handed import handed
from fanwood.model.actions import BULK, PIECE, SPACE
from fanwood.model.records import RunFilter
from fanwood.model.states import UNFINISHED
from fanwood.sdk.listing import collect
from fanwood.sdk.running.waiting import called

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fanwood.engine.engine import Engine
    from fanwood.settings import Settings
    from fanwood.store.store import Store

logger = logs.logger("fanwood.worker")

LOOK_SECONDS = 1.0
"""How often it is looked whether workers have come or gone. That asks nobody."""


async def has_unfinished(store: Store) -> bool:
    """Whether there is an action that has not ended."""
    for name in (BULK, PIECE):
        for state in UNFINISHED:
            filter_ = RunFilter(task=f"{SPACE}/{name}", state=state, limit=1)
            if (await collect(store.listing, filter_)).runs:
                return True
    return False


async def abandoned(store: Store) -> bool:
    """Whether there is one, and no live engine that executes such."""
    return not await store.served(0, f"{SPACE}/{BULK}") and await has_unfinished(store)


@contextlib.asynccontextmanager
async def carrying(engine: Engine, settings: Settings) -> AsyncGenerator[None, None]:
    """Meanwhile what was left alone is gone on with, by an engine that is there for that."""
    carrier = _Carrier(engine, settings)
    task = asyncio.create_task(carrier.run(), name="fanwood: actions that were left")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await carrier.close()


class _Carrier:
    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._seen: int | None = None
        self._hands: Any = None

    async def run(self) -> None:
        while self._engine.alive:
            members = self._engine.members
            if members != self._seen:
                try:
                    if await called(self._engine.call(abandoned)):
                        await self._go_on()
                    self._seen = members
                except FanwoodError as error:  # it is looked again
                    logger.warning("what is left of actions on many runs could not be looked at: %s", error)
                except Exception:  # a mistake of ours, which would be there again at once
                    logger.exception("what is left of actions on many runs is not gone on with before workers change")
                    self._seen = members
            await asyncio.sleep(LOOK_SECONDS)

    async def _go_on(self) -> None:
        self._hands = self._hands or await asyncio.to_thread(self._new_hands)
        logger.info("an action on many runs was left by who began it: this process goes on with it")
        await self._hands.carry_on()

    def _new_hands(self) -> Any:
        return handed("actions").hands(self._settings)

    async def close(self) -> None:
        if self._hands is not None:
            await self._hands.close()
