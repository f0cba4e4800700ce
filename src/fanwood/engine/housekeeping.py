"""What an engine does beside its ticks: renew its lease, look for dead peers, let timers fire, look twice.

Everything here is a guarded verb of the store, so any number of engines may do it at the same time; there is no
leader. And all of it could stop without a wrong result: only recovery would be late.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Protocol

from fanwood.engine.peers import host_identity, is_dead
from fanwood.engine.retention import Retention
from fanwood.engine.tidying import Tidying
from fanwood.errors import StoreError
from fanwood.model.commands import Failure, WorkerInfo
from fanwood.store.expiry import expiry

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from fanwood.engine.dispatcher import Dispatcher
    from fanwood.engine.inbox import SpawnRequest
    from fanwood.model.commands import Batch
    from fanwood.settings import Settings
    from fanwood.store.store import Store

logger = logging.getLogger("fanwood.engine")

RECHECK_EVERY = 5.0  # seconds


class Housed(Protocol):
    """The engine, as far as its chores know it."""

    name: str
    settings: Settings
    store: Store
    worker_id: int
    dispatcher: Dispatcher
    rivals: frozenset[str]

    def look(self) -> None: ...
    def nudge(self) -> None: ...
    def recheck(self) -> None: ...
    async def enter_again(self) -> None: ...


class Housekeeping:
    """The chores of one engine, on its loop."""

    def __init__(self, engine: Housed) -> None:
        self._engine = engine
        self._host = host_identity()
        self._due: int | None = None
        self._bell: asyncio.Event | None = None
        self._trouble: str | None = None
        self._unsettled_at = 0  # when the store was last found to be away, or first found to be there

    def info(self, tasks: tuple[str, ...], slots: int = 0) -> WorkerInfo:
        """How this engine enters itself."""
        engine = self._engine
        lease = round(engine.settings.lease * 1e6)
        return WorkerInfo(engine.name, self._host, os.getpid(), slots, tasks, lease)

    def expect(self, when: int) -> None:
        """Something in the store is due at `when`."""
        if self._due is None or when < self._due:
            self._due = when
            if self._bell is not None:
                self._bell.set()

    def expect_of(self, batch: Batch, requests: Sequence[SpawnRequest]) -> None:
        """What the store's timers will have to do because of this batch."""
        now = self._engine.store.now()
        for request in requests:
            for kind in request.kinds:
                when = expiry(now, kind.schedule_timeout, kind.deadline)
                if when is not None:
                    self.expect(when)
        for outcome in batch.outcomes:
            if outcome.delay:
                self.expect(now + outcome.delay)

    async def run(self) -> None:
        """All chores, for ever."""
        engine = self._engine
        retention = Retention(engine.store, engine.settings, lambda: engine.dispatcher.slots > 0, self.note_trouble)
        tidying = Tidying(engine.store, lambda: engine.dispatcher.slots > 0, self.note_trouble)
        beside = [asyncio.create_task(retention.run()), asyncio.create_task(tidying.run())]
        try:
            await self._look_after()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)

    async def _look_after(self) -> None:
        settings, store = self._engine.settings, self._engine.store
        self._bell = asyncio.Event()
        self._unsettled_at = store.now()
        beat = sweep = recheck = store.now()
        while True:
            now = store.now()
            if now >= beat:
                beat = now + round(settings.heartbeat * 1e6)
                await self._guarded(self._renew())
            if now >= sweep:
                sweep = now + round(settings.sweep * 1e6)
                await self._guarded(self._bury_dead())
                await self._guarded(self._look_for_rivals())
                if store.embedded:  # others hint, or poll, by themselves
                    self._engine.nudge()
                await self._guarded(self._fire_timers())
            if now >= recheck:
                recheck = now + round(RECHECK_EVERY * 1e6)
                self._engine.recheck()
            if self._due is not None and now >= self._due:
                await self._guarded(self._fire_timers())
            await self._pause(min(beat, sweep, self._due or sweep))

    async def _pause(self, until: int) -> None:
        assert self._bell is not None
        self._bell.clear()
        try:
            async with asyncio.timeout(max(0.001, (until - self._engine.store.now()) / 1e6)):
                await self._bell.wait()
        except TimeoutError:
            pass

    async def _guarded(self, chore: Coroutine[None, None, None]) -> None:
        try:
            await chore
        except StoreError as error:
            self.note_trouble(error)

    async def _renew(self) -> None:
        engine = self._engine
        if await engine.store.renew(engine.worker_id):
            return
        logger.warning("this worker's lease lapsed and its runs were taken over; it starts anew")
        engine.dispatcher.abandon(Failure("cancelled", message="the worker lost its lease"))
        await engine.enter_again()

    async def _bury_dead(self) -> None:
        engine, store = self._engine, self._engine.store
        now = store.now()
        for peer in await store.peers(engine.worker_id, self._host):
            dead = peer.host == self._host and is_dead(peer.pid)
            if dead or (peer.lease_expires_at <= now and self._may_judge(now)):
                count = await store.bury(peer.id, engine.settings.deaths_limit, if_lapsed=not dead)
                why = "its process is gone" if dead else "its lease lapsed"
                logger.warning(
                    "worker %s (%d) is lost, %s: %d run(s) go back to the queue", peer.name, peer.id, why, count
                )
                engine.look()

    async def _look_for_rivals(self) -> None:
        engine = self._engine
        if engine.dispatcher.slots:
            engine.rivals = await engine.store.rivals(engine.worker_id)

    def _may_judge(self, now: int) -> bool:
        """Whether a lapsed lease means something. When a server comes back after an outage, all have lapsed: let those
        who live renew theirs before anybody is taken for dead."""
        return self._engine.store.embedded or now - self._unsettled_at >= 2e6 * self._engine.settings.heartbeat

    async def _fire_timers(self) -> None:
        expected, self._due = self._due, await self._engine.store.tick()
        if expected != self._due:  # something fired, perhaps what others had queued
            self._engine.look()

    def note_trouble(self, error: StoreError) -> None:
        """The store could not be written to; say so once per kind of trouble."""
        self._unsettled_at = self._engine.store.now()
        if self._trouble != type(error).__name__:
            self._trouble = type(error).__name__
            logger.error("%s Nothing is lost; trying again until it works.", error)

    def note_health(self) -> None:
        """The store was written to."""
        if self._trouble is not None:
            self._trouble = None
            logger.warning("the store can be written to again: work goes on")
