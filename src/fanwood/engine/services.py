"""What an engine does in the background, each thing in a task of its own, under one supervision.

A service is a coroutine that goes on for ever. Trouble with the store passes: it is noted, and the service begins anew
in a moment. Whatever else a service raises is a fault of ours: that is logged, and it begins anew after a pause. None
ends in silence, and none takes another with it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fanwood import logs
from fanwood.engine.health import current_task, is_meant
from fanwood.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

logger = logs.logger("fanwood.engine")

RESTART_SECONDS = 1.0
TROUBLED_SECONDS = 0.2


class Services:
    """The services of one engine, on its loop. One that returns has nothing to do."""

    def __init__(self, on_trouble: Callable[[StoreError], None]) -> None:
        self._on_trouble = on_trouble
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, service: Callable[[], Coroutine[None, None, None]]) -> None:
        """Have it run until `stop`."""
        task = asyncio.get_running_loop().create_task(self._supervised(name, service), name=f"fanwood-{name}")
        self._tasks[name] = task

    async def stop(self) -> None:
        """End them all; returns when they have."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _supervised(self, name: str, service: Callable[[], Coroutine[None, None, None]]) -> None:
        logger.debug("%s begins", name)
        mine = current_task()
        while True:
            try:
                return await service()
            except StoreError as error:
                self._on_trouble(error)
                pause = TROUBLED_SECONDS
            except BaseException as error:
                if is_meant(error, mine):
                    raise
                logger.exception("%s of this engine failed; it begins anew in %g s", name, RESTART_SECONDS)
                pause = RESTART_SECONDS
            await asyncio.sleep(pause)
