"""Failures that nobody executed: what was not begun in time, or failed as its workers died. Some worker that has hooks
for them finds them in the store, and tells.

One at a time does so, by a turn that is kept in the store, as is how far that is: a worker that dies before its hooks
have returned leaves it where it was, and another one tells again. So hooks are told of each at least once.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from fanwood import logs
from fanwood.errors import EngineClosedError, RunNotFoundError, StoreError
from fanwood.ids import id_text
from fanwood.model.states import EndedBy, RunState
from fanwood.sdk.declaring.hooks import WAITING, RunEvent
from fanwood.store.failures import decode_failure, summary

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from fanwood.engine.engine import Engine
    from fanwood.model.looks import FailedRow
    from fanwood.sdk.declaring.hooks import Hooks
    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.declaring.spec import TaskSpec
    from fanwood.store.store import Store

logger = logs.logger("fanwood.hooks")

EVERY = 5.0
"""Seconds between two looks."""
TURN = 60.0
"""... and for which a turn lasts, at most: then hooks are taken to have been told of nothing."""
LATE, LATE_OF_SERVERS = 0, 5_000_000
"""Microseconds after which what ends is seen by all: on a server commits take their time, and then some."""
AT_ONCE = 200


class Untold:
    """Those that one executor looks for. All of it on the engine's thread."""

    def __init__(self, host: Host, engine: Engine, specs: Callable[[], dict[str, TaskSpec]]) -> None:
        self._host = host
        self._engine = engine
        self._specs = specs
        self._since = engine.store.now()
        self._next = 0.0
        self._looking: Future[None] | None = None
        self._told: tuple[str, int] | None = None  # hooks are called for these at the moment
        self._behind: set[Hooks] = set()
        self._place: tuple[int, bytes] = (0, b"")  # within a moment in which very much ended

    def look(self, now: float) -> None:
        """Now and then."""
        if self._looking is not None and not self._looking.done():
            return
        hooks = self._hooks()
        if not hooks or (now < self._next and not (self._told and not self._behind)):
            return
        self._next = now + EVERY
        try:
            self._looking = self._engine.call(lambda store: self._turn(store, hooks))
        except EngineClosedError:
            return
        self._looking.add_done_callback(_note)

    def _hooks(self) -> dict[str, Hooks]:
        """By task: those that want to hear of failures."""
        found = {name: (spec.host or self._host).hooks for name, spec in self._specs().items()}
        return {name: hooks for name, hooks in found.items() if "failure" in hooks.of}

    async def _turn(self, store: Store, hooks: dict[str, Hooks]) -> None:
        if self._told is not None:
            if not self._behind:
                (tasks, told), self._told = self._told, None
                await store.end_turn(tasks, told)
            return
        if any(each.waiting > WAITING // 2 for each in hooks.values()):
            return
        tasks, now = f"{zlib.crc32(chr(10).join(sorted(hooks)).encode()):08x}", store.now()
        begin = await store.take_turn(tasks, now, now + round(TURN * 1e6), self._since)
        if begin is None:
            return
        until = now - (LATE if store.embedded else LATE_OF_SERVERS)
        rows = await store.failed_at(max((begin, b""), self._place), until, AT_ONCE)
        if len(rows) == AT_ONCE:
            until, self._next = rows[-1].finished_at, 0.0
            self._place = until, rows[-1].id
        mine = [row for row in rows if row.ended_by != EndedBy.OUTCOME and row.task in hooks]
        await self._tell(store, hooks, mine)
        self._told = tasks, max(begin, until)
        for each in set(hooks.values()):
            self._behind.add(each)
            each.afterwards(lambda each=each: self._behind.discard(each))

    async def _tell(self, store: Store, hooks: dict[str, Hooks], rows: list[FailedRow]) -> None:
        for row in rows:
            try:
                run = await store.get(row.id)
            except RunNotFoundError:
                continue
            if run.state is not RunState.FAILED or run.attempt != row.attempt:
                continue  # it was asked for again
            failure = None if run.error is None else decode_failure(run.error)
            hooks[row.task].tell(
                "failure",
                RunEvent(
                    task_name=row.task,
                    run_id=id_text(row.id),
                    root_id=id_text(row.root_id),
                    parent_id=None if row.parent_id is None else id_text(row.parent_id),
                    attempt=run.attempt,
                    retry_count=run.retry_count,
                    seconds=0.0,
                    error=None if failure is None else summary(failure),
                    raw_input=run.input or "null",
                    raw_metadata=run.metadata or "{}",
                ),
            )


def _note(looked: Future[None]) -> None:
    """Trouble with the store is the engine's to tell; the next look is in a moment."""
    error = None if looked.cancelled() else looked.exception()
    if error is not None and not isinstance(error, (StoreError, EngineClosedError)):
        logger.error("looking for failures that hooks are to be told of: %r", error, exc_info=error)
