"""Who this engine is among those that share the store: its id, its lease, and what it executes.

A process is a client first (it serves nothing), and may become a worker, and a client again. Each time, and after a
lost lease, it enters the store anew, under another id; what belonged to the old one goes back to the queue.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from fanwood import logs
from fanwood.engine.dispatcher import Dispatcher, NoDispatcher
from fanwood.engine.health import current_task, is_meant
from fanwood.engine.lease import Lease
from fanwood.engine.liveness import host_identity
from fanwood.errors import UsageError
from fanwood.model.commands import Failure, WorkerInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fanwood.engine.claims import Claims
    from fanwood.model.commands import Outcome
    from fanwood.settings import Settings
    from fanwood.store.store import Store

logger = logs.logger("fanwood.engine")

RETIRE_SECONDS = 5.0
"""How long a worker that stops waits for the store."""


class Membership:
    """Of one engine, on its loop. `report` takes what is handed back; `on_entered` is called after a change of id."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        name: str,
        claims: Claims,
        report: Callable[[list[Outcome]], None],
        on_entered: Callable[[], None],
    ) -> None:
        self.worker_id = 0
        self.host = host_identity()
        self.dispatcher: Dispatcher = NoDispatcher()
        self.contended: frozenset[str] = frozenset()
        """Those of our tasks that other workers serve as well."""
        self.turn = asyncio.Lock()
        """A commit is under one worker id, from its making to its delivery."""
        self._changing = asyncio.Lock()  # whoever becomes a worker, or ceases to be one, does so in turn
        self._store = store
        self._settings = settings
        self._name = name
        self._claims = claims
        self._report = report
        self._on_entered = on_entered
        self._loop: asyncio.AbstractEventLoop | None = None
        self.lease = Lease()

    @property
    def is_worker(self) -> bool:
        """Whether it executes anything."""
        return self.dispatcher.slots > 0

    @property
    def most_runs(self) -> int:
        """How many a tree may have."""
        return self._settings.max_tree_runs

    async def enter(self) -> None:
        """For the first time, as a client."""
        self._loop = asyncio.get_running_loop()
        self.lease.clock = self._loop.time
        until = self._loop.time() + self._settings.lease
        self.worker_id = await self._store.register(self._info(()), ())
        self.lease.until = until

    def _info(self, tasks: tuple[str, ...], slots: int = 0, programs: Sequence[int] = ()) -> WorkerInfo:
        """How this engine enters itself."""
        lease = round(self._settings.lease * 1e6)
        return WorkerInfo(self._name, self.host, os.getpid(), slots, tasks, lease, tuple(programs))

    # --- the lease -------------------------------------------------------------------------------------------------

    async def renew(self) -> None:
        """Keep the lease; if it was lost, enter anew with the same tasks."""
        assert self._loop is not None
        asked, me = self._loop.time(), self.worker_id
        if await self._store.renew(me):
            self._leased(asked + self._settings.lease)
        elif await self._enter_again(me, Failure("cancelled", message="the worker lost its lease")):
            logger.warning("this worker's lease lapsed and its runs were taken over; it starts anew")

    def _leased(self, until: float) -> None:
        """The lease lasts until then, by the loop's clock. If it had lapsed, what has not begun goes back first."""
        lapsed = not self.lease.is_held
        self.lease.until = max(self.lease.until, until)
        if lapsed:
            self.lease.lapses += 1  # (what a claim that is under way brings is given back by who has made it)
            self._report(self.dispatcher.hand_back())
            self.dispatcher.go_on()

    async def _enter_again(self, lost: int, failure: Failure) -> bool:
        """The lease of `lost` was lost; not if we are another one already."""
        return await self._register(self.dispatcher, (lost, failure))

    # --- becoming and ceasing to be a worker -----------------------------------------------------------------------

    async def employ(self, dispatcher: Dispatcher) -> None:
        """From now on claim runs for `dispatcher`; its tasks are published then.

        Raises:
            UsageError: this is a worker already.
        """
        async with self._changing:
            if self.is_worker:
                raise UsageError("This process is a worker already: one Fanwood object is one worker at a time")
            await self._register(dispatcher)
            await self.look_for_others()
            self.dispatcher = dispatcher
            self._claims.begin([task.name for task in dispatcher.tasks()], dispatcher.programs)

    async def serve_more(self) -> None:
        """The dispatcher has got more tasks; they are published then."""
        async with self._changing:
            tasks = self.dispatcher.tasks()
            await self._store.publish(self.worker_id, tasks)
            self._claims.begin([task.name for task in tasks], self.dispatcher.programs)

    def look_after_runs(self) -> None:
        """Now and then: nothing should wait here that others could begin."""
        self._report(self.dispatcher.look_after(self.contended))

    async def look_for_others(self) -> None:
        """Which of our tasks do other workers serve as well?"""
        self.contended = await self._store.contended(self.worker_id)

    async def retire(self) -> None:
        """Be a client again."""
        mine = current_task()
        try:
            async with asyncio.timeout(RETIRE_SECONDS), self._changing:
                self._cease()
                await self._register(self.dispatcher)
        except BaseException as error:
            if is_meant(error, mine):
                raise
            self._cease()  # a worker stops, whatever the store says
            logger.warning("%r: what this worker had goes on elsewhere once its lease has lapsed.", error)

    def _cease(self) -> None:
        self.dispatcher = NoDispatcher()
        self._claims.begin(())

    async def leave(self) -> None:
        """For good, if the store takes it."""
        mine = current_task()
        try:
            await self._store.unregister(self.worker_id)
        except BaseException as error:
            if is_meant(error, mine):
                raise
            logger.debug("this engine is not taken out of the store: %r", error)  # its lease will lapse

    async def _register(self, dispatcher: Dispatcher, lost: tuple[int, Failure] | None = None) -> bool:
        """Be a new worker from now on; what the old one had (born claimed meanwhile, say) goes back to the queue."""
        assert self._loop is not None
        async with self.turn:
            if lost is not None:
                if self.worker_id != lost[0]:
                    return False
                self.dispatcher.abandon(lost[1])
            tasks = dispatcher.tasks()
            info = self._info(tuple(task.name for task in tasks), dispatcher.slots, dispatcher.programs)
            until = self._loop.time() + self._settings.lease
            old, self.worker_id = self.worker_id, await self._store.register(info, tasks)
            self.lease.until = until
        try:
            await self._store.reap(old, self._settings.deaths_limit)
        finally:
            self._on_entered()
        return True
