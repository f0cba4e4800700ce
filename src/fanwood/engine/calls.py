"""Cold verbs of the store, called from any thread, each beside the ticks of the engine."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fanwood.engine.commits import Commits
    from fanwood.store.store import Store

T = TypeVar("T")


class Calls:
    """The calls of one engine that are under way, on its loop."""

    def __init__(self, store: Store, commits: Commits, on_change: Callable[[], None]) -> None:
        self._store = store
        self._commits = commits
        self._on_change = on_change
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(
        self,
        loop: asyncio.AbstractEventLoop,
        verb: Callable[[Store], Awaitable[T]],
        *,
        changes: bool,
        patience: float | None,
    ) -> Future[T]:
        """From any thread: call `verb`; `changes`: others may have to look then."""
        result: Future[T] = Future()

        def start() -> None:
            task = loop.create_task(self._run(verb, result, changes=changes, patience=patience))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        loop.call_soon_threadsafe(start)
        return result

    async def _run(
        self,
        verb: Callable[[Store], Awaitable[T]],
        result: Future[T],
        *,
        changes: bool,
        patience: float | None,
    ) -> None:
        try:
            answer = await self._commits.patiently(lambda: verb(self._store), patience)
        except BaseException as error:  # noqa: BLE001  (the caller gets it, whatever it is)
            result.set_exception(error)
        else:
            result.set_result(answer)
        if changes:
            self._on_change()

    async def finish(self) -> None:
        """Returns when all have ended."""
        await asyncio.gather(*self._tasks)
