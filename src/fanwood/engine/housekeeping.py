"""What an engine does beside its ticks: renew its lease, look for dead peers, let timers fire, look twice.

Everything here is a guarded verb of the store, so any number of engines may do it at the same time; there is no
leader. And all of it could stop without a wrong result: only recovery would be late. Each thing is a service of its own
(services.py), so that none waits for another: above all not the lease.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Protocol

from fanwood.engine.closing import Closing
from fanwood.engine.peers import host_identity, is_dead
from fanwood.engine.retention import Retention
from fanwood.engine.services import Services
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
TROUBLED_PAUSE = 0.2
LONGEST_PAUSE = 3600.0  # seconds
TIMER_REST, TIMER_REST_OF_SERVERS = 0.8, 0.1
"""How many times as long as a step of the timers took to rest after it, while more is due. (A server takes it beside
our commits, and not between them.)"""


class Housed(Protocol):
    """The engine, as far as its chores know it."""

    name: str
    settings: Settings
    store: Store
    worker_id: int
    dispatcher: Dispatcher
    rivals: frozenset[str]

    def leased(self, until: float) -> None: ...
    def look(self) -> None: ...
    def nudge(self) -> None: ...
    def recheck(self) -> None: ...
    async def enter_again(self, lost: int, failure: Failure) -> bool: ...


class Housekeeping:
    """The chores of one engine, on its loop."""

    def __init__(self, engine: Housed) -> None:
        self._engine = engine
        self._host = host_identity()
        self._due: int | None = None
        self._bell: asyncio.Event | None = None
        self._trouble: str | None = None
        self._unsettled_at = 0  # when the store was last found to be away, or first found to be there
        self._fleet: int | None = None  # as `rivals` saw it
        self._progress = ""  # of what is being closed, as it was seen last
        self._services = Services()
        self.closing = Closing(lambda: engine.store, engine.look, self.note_trouble)

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

    def start(self) -> None:
        """All services, until `stop`."""
        engine, start = self._engine, self._services.start

        def works() -> bool:
            return engine.dispatcher.slots > 0

        self._bell = asyncio.Event()
        self._unsettled_at = engine.store.now()
        start("the lease", self._keep_lease)
        start("looking around", self._look_after)
        start("timers", self._keep_time)
        start("closing", self.closing.run)
        start("retention", Retention(engine.store, engine.settings, works, self.note_trouble).run)
        start("tidying", Tidying(engine.store, works, self.note_trouble).run)

    async def stop(self) -> None:
        """End them; returns when they have."""
        await self._services.stop()

    async def _keep_lease(self) -> None:
        while True:
            await self._guarded(self._renew())
            await asyncio.sleep(self._engine.settings.heartbeat)

    async def _look_after(self) -> None:
        engine, recheck = self._engine, 0.0
        while True:
            await self._guarded(self._look_around())
            if engine.store.embedded:  # others hint, or poll, by themselves
                engine.nudge()
            recheck += engine.settings.sweep
            if recheck >= RECHECK_EVERY:
                recheck = 0.0
                engine.recheck()
            await asyncio.sleep(engine.settings.sweep)

    async def _keep_time(self) -> None:
        loop, rest = asyncio.get_running_loop(), TIMER_REST if self._engine.store.embedded else TIMER_REST_OF_SERVERS
        while True:
            if self._due is None or self._due > self._engine.store.now():
                await self._pause(self._due)
                continue
            began = loop.time()
            fired = await self._guarded(self._fire_timers())
            await asyncio.sleep(max(0.001, rest * (loop.time() - began)) if fired else TROUBLED_PAUSE)

    async def _pause(self, until: int | None) -> None:
        """Until then, or until something is due sooner."""
        assert self._bell is not None
        self._bell.clear()
        pause = None if until is None else min(LONGEST_PAUSE, max(0.001, (until - self._engine.store.now()) / 1e6))
        try:
            async with asyncio.timeout(pause):
                await self._bell.wait()
        except TimeoutError:
            pass

    async def _guarded(self, chore: Coroutine[None, None, None]) -> bool:
        """Whether the store let us."""
        try:
            await chore
        except StoreError as error:
            self.note_trouble(error)
            return False
        return True

    async def _renew(self) -> None:
        engine, loop = self._engine, asyncio.get_running_loop()
        asked, me = loop.time(), engine.worker_id
        if await engine.store.renew(me):
            engine.leased(asked + engine.settings.lease)
        elif await engine.enter_again(me, Failure("cancelled", message="the worker lost its lease")):
            logger.warning("this worker's lease lapsed and its runs were taken over; it starts anew")

    async def _look_around(self) -> None:
        engine, store = self._engine, self._engine.store
        around = await store.look_around(engine.worker_id, self._host)
        if around.closed and (not around.progress or around.progress == self._progress):
            self.closing.note()  # nobody is at it; or anybody may be
        self._progress = around.progress
        if around.due is not None:
            self.expect(around.due)
        if around.fleet != self._fleet and engine.dispatcher.slots:
            engine.rivals = await store.rivals(engine.worker_id)
            self._fleet = around.fleet
        now = store.now()
        for peer in around.peers:
            dead = peer.host == self._host and is_dead(peer.pid)
            if dead or (peer.lease_expires_at <= now and self._may_judge(now)):
                count = await store.bury(peer.id, engine.settings.deaths_limit, if_lapsed=not dead)
                if count or peer.lease_expires_at:  # else it was being buried, by itself or by another one
                    why = "its process is gone" if dead else "its lease lapsed"
                    logger.warning(
                        "worker %s (%d) is lost, %s: %d run(s) go back to the queue", peer.name, peer.id, why, count
                    )
                engine.look()

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
