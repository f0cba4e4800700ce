"""Events that are pushed at the same moment are one transaction: each by itself would pay for a disk's confirmation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from fanwood.engine.health import as_told, current_task, is_meant
from fanwood.errors import EngineClosedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.model.matching import Event
    from fanwood.store.store import Store

AT_ONCE = 1_000
"""Events of one transaction."""


class _Push(NamedTuple):
    events: Sequence[Event]
    pushed: asyncio.Future[list[Event]]


class Pushing:
    """The pushes of one host. On the engine's loop."""

    def __init__(self) -> None:
        self._waiting: list[_Push] = []
        self._worker: asyncio.Task[None] | None = None

    async def push(self, store: Store, events: Sequence[Event]) -> list[Event]:
        """See `Store.push`; with those that others push."""
        loop = asyncio.get_running_loop()
        one = _Push(events, loop.create_future())
        self._waiting.append(one)
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._work(store))
        return await one.pushed

    async def _work(self, store: Store) -> None:
        taken: list[_Push] = []
        try:
            while self._waiting:
                await asyncio.sleep(0)  # who comes in this turn of the loop goes with them
                taken = self._taken()
                await _push_all(store, taken)
        finally:
            for one in [*taken, *self._waiting]:
                if not one.pushed.done():
                    one.pushed.set_exception(EngineClosedError("the engine was closed before the event was pushed"))
            self._waiting.clear()

    def _taken(self) -> list[_Push]:
        size, taken = 0, list[_Push]()
        while self._waiting and (not taken or size + len(self._waiting[0].events) <= AT_ONCE):
            taken.append(self._waiting.pop(0))
            size += len(taken[-1].events)
        return taken


async def _push_all(store: Store, taken: list[_Push]) -> None:
    """Together; if that can't be, each by itself."""
    mine = current_task()
    if len(taken) > 1:
        try:
            pushed = await store.push([event for one in taken for event in one.events])
        except BaseException as error:
            if is_meant(error, mine):
                raise
            pushed = None  # whose fault it is, each is told by itself
        if pushed is not None:
            for one in taken:
                own, pushed = pushed[: len(one.events)], pushed[len(one.events) :]
                _tell(one, own)
            return
    for one in taken:
        try:
            _tell(one, await store.push(one.events))
        except BaseException as error:
            if is_meant(error, mine):
                raise
            if not one.pushed.done():
                one.pushed.set_exception(as_told(error, store.url))


def _tell(one: _Push, pushed: list[Event]) -> None:
    if not one.pushed.done():
        one.pushed.set_result(pushed)
