"""Cold verbs of the store, called from any thread, each beside the ticks of the engine."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Any, TypeVar

from fanwood.engine.health import as_told, current_task, is_meant

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fanwood.engine.commits import Commits, Patience
    from fanwood.store.store import Store

T = TypeVar("T")

LATER = 0.001
"""Seconds until there is a look at what a call has changed, if it has ended what is waited for here: whoever waited
goes on first, and would have to share the interpreter with that look."""


class Calls:
    """The calls of one engine that are under way, on its loop."""

    def __init__(
        self, store: Store, commits: Commits, tell_ended: Callable[[], bool], on_change: Callable[[], None]
    ) -> None:
        self._store = store
        self._commits = commits
        self._tell_ended = tell_ended
        self._on_change = on_change
        self._tasks: set[asyncio.Task[None]] = set()
        self._unanswered: dict[Future[Any], None] = {}  # in their order; each is put in by its caller's thread
        self._finished = False

    def begin(
        self,
        loop: asyncio.AbstractEventLoop,
        verb: Callable[[Store], Awaitable[T]],
        *,
        changes: bool,
        patience: Patience,
    ) -> Future[T]:
        """From any thread: call `verb`; `changes`: others may have to look then."""
        result: Future[T] = Future()
        self._unanswered[result] = None
        result.add_done_callback(lambda done: self._unanswered.pop(done, None))

        def start() -> None:
            if self._finished:  # the store is about to be closed; `fail_all` says so
                return
            task = loop.create_task(self._run(verb, result, changes=changes, patience=patience))
            self._tasks.add(task)
            task.add_done_callback(lambda task: self._end(task, result))

        with contextlib.suppress(RuntimeError):  # the loop was closed at this moment: `fail_all` has run, or will
            loop.call_soon_threadsafe(start)
        return result

    async def _run(
        self,
        verb: Callable[[Store], Awaitable[T]],
        result: Future[T],
        *,
        changes: bool,
        patience: Patience,
    ) -> None:
        mine, has_ended = current_task(), False
        try:
            answer = await self._commits.patiently(lambda: verb(self._store), patience)
        except BaseException as error:
            if is_meant(error, mine):  # the engine ends; `fail_all` says why
                raise
            with contextlib.suppress(InvalidStateError):  # the engine was over sooner, and said so
                result.set_exception(as_told(error, self._store.url))
        else:
            has_ended = changes and self._tell_ended()
            with contextlib.suppress(InvalidStateError):
                result.set_result(answer)
        if has_ended:
            asyncio.get_running_loop().call_later(LATER, self._on_change)
        elif changes:
            self._on_change()

    def _end(self, task: asyncio.Task[None], result: Future[Any]) -> None:
        """Whatever it ended by, the caller has an answer. (If it was cancelled, the engine ends: see `fail_all`.)"""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not result.done():
            with contextlib.suppress(InvalidStateError):
                result.set_exception(as_told(error, self._store.url))

    async def finish(self) -> None:
        """Returns when all have ended."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._finished = True

    def fail_all(self, error: BaseException) -> None:
        """From any thread: the engine is over, and what has no answer gets none but this."""
        for result in list(self._unanswered):
            with contextlib.suppress(InvalidStateError):
                result.set_exception(error)
