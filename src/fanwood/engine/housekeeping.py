"""What an engine does beside its ticks: renew its lease, look for dead workers, let timers fire, look twice.

Everything here is a guarded verb of the store, so any number of engines may do it at the same time; there is no
leader. Each thing is a service of its own (services.py), so that none waits for another: above all not the lease.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from weakref import WeakSet

from fanwood import logs
from fanwood.engine.closing import Closing
from fanwood.engine.liveness import is_dead
from fanwood.engine.retention import Retention
from fanwood.engine.services import Services
from fanwood.engine.spreading import Spreading
from fanwood.engine.tidying import Tidying
from fanwood.store.expiry import expiry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fanwood.engine.health import Health
    from fanwood.engine.inbox import SpawnRequest
    from fanwood.engine.membership import Membership
    from fanwood.ids import SystemIds
    from fanwood.model.commands import Batch, Committed
    from fanwood.settings import Settings
    from fanwood.store.store import Store

logger = logs.logger("fanwood.engine")

RECHECK_EVERY = 5.0  # seconds
LONGEST_PAUSE = 3600.0  # seconds
BRIEFLY = 2.0  # seconds
LINKS_EVERY = 50_000
"""Microseconds from a look for links that are to be told of an end to the next, while one claim after another meets
what is closed."""
TIMER_REST, TIMER_REST_OF_SERVERS = 0.8, 0.4
"""How many times as long as a step of the timers took to rest after it, while more is due. (A server takes it beside
our commits, and not between them; but they share a disk.)"""


class Housekeeping:
    """The chores of one engine, on its loop."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        membership: Membership,
        health: Health,
        look: Callable[..., None],
        recheck: Callable[[bool], None],
    ) -> None:
        self._store = store
        self._settings = settings
        self._membership = membership
        self._health = health
        self._look = look
        self._recheck = recheck
        self.ids: WeakSet[SystemIds] = WeakSet()  # kept in time with the store
        self._due: int | None = None
        self._links_at = 0
        self._bell: asyncio.Event | None = None
        self.members: int | None = None
        """How often workers had changed when we looked at them last, as a worker."""
        self._progress = ""  # of what is being closed, as it was seen last
        self._services = Services(health.note_trouble)
        self._closing = Closing(lambda: store, look, health.note_trouble)

    def expect(self, when: int) -> None:
        """Something in the store is due at `when`."""
        if self._due is None or when < self._due:
            self._due = when
            if self._bell is not None:
                self._bell.set()

    def note_commit(self, batch: Batch, requests: Sequence[SpawnRequest], committed: Committed) -> None:
        """What there will be to do because of a batch that was committed."""
        self._health.note_success()
        if committed.has_closed:
            self._closing.note()
            now = self._store.now()  # perhaps there are links that are to be told of an end
            self.expect(now if batch.outcomes or batch.records else max(now, self._links_at))
            self._links_at = now + LINKS_EVERY
        for request in requests:
            for kind in request.kinds:
                if kind.schedule_timeout is not None or kind.deadline is not None:
                    when = expiry(self._store.now(), kind.schedule_timeout, kind.deadline)
                    if when is not None:
                        self.expect(when)
        if batch.records or batch.hedges:
            self._note_records(batch, self._store.now())
        for outcome in batch.outcomes:
            if outcome.delay:
                self.expect(self._store.now() + outcome.delay)

    def _note_records(self, batch: Batch, now: int) -> None:
        for record in batch.records:
            if record.due_at is not None:
                self.expect(record.due_at)
            if (when := record.expires_at(now)) is not None:
                self.expect(when)
            if record.share is not None and (limit := record.share.kind.schedule_timeout) is not None:
                self.expect(now + limit)
        for hedge in batch.hedges:
            self.expect(now + hedge.delay)

    def start(self) -> None:
        """All services, until `stop`."""
        store, start, trouble = self._store, self._services.start, self._health.note_trouble

        def works() -> bool:
            return self._membership.is_worker

        self._bell = asyncio.Event()
        self._health.note_opened()
        start("the lease", self._keep_lease)
        start("watching the store", store.watch)
        start("looking around", self._look_after)
        start("timers", self._keep_time)
        start("closing", self._closing.run)
        start("retention", Retention(store, self._settings, works, trouble).run)
        start("events", Spreading(store, self._settings, works, trouble).run)
        start("tidying", Tidying(store, works, trouble).run)

    async def stop(self) -> None:
        """End them; returns when they have."""
        await self._services.stop()

    async def _keep_lease(self) -> None:
        while True:
            await self._membership.renew()
            for ids in list(self.ids):
                ids.follow(self._store.now())
            await asyncio.sleep(self._settings.heartbeat)

    async def _look_after(self) -> None:
        sweep, recheck = self._settings.sweep, 0.0
        while True:
            await self.look_around()
            self._membership.look_after_runs()
            self._health.note_quiet()
            if self._store.embedded:  # others notify, or poll, by themselves
                self._look(mail=False)
            recheck += sweep
            self._recheck(recheck >= RECHECK_EVERY)
            recheck %= RECHECK_EVERY
            await asyncio.sleep(sweep)

    async def _keep_time(self) -> None:
        loop, rest = asyncio.get_running_loop(), TIMER_REST if self._store.embedded else TIMER_REST_OF_SERVERS
        while True:
            if self._due is None or self._due > self._store.now():
                await self._pause(self._due)
                continue
            began = loop.time()
            await self._fire_timers()
            await asyncio.sleep(max(0.001, rest * (loop.time() - began)))

    async def _pause(self, until: int | None) -> None:
        """Until then, or until something is due sooner."""
        assert self._bell is not None
        self._bell.clear()
        pause = None if until is None else min(LONGEST_PAUSE, max(0.001, (until - self._store.now()) / 1e6))
        try:
            async with asyncio.timeout(pause):
                await self._bell.wait()
        except TimeoutError:
            pass

    async def look_around(self) -> None:
        """Who has died, what is due, whether something is being closed."""
        store, membership = self._store, self._membership
        around = await store.look_around(membership.worker_id, membership.host)
        if around.closed and (not around.progress or around.progress == self._progress):
            self._closing.note()  # nobody is at it; or anybody may be
        self._progress = around.progress
        if around.due is not None:
            self.expect(around.due)
        if around.members != self.members and membership.is_worker:
            await membership.look_for_others()
            self.members = around.members
        now = store.now()
        for other in around.others:
            dead = other.host == membership.host and is_dead(other.pid)
            if dead or (other.lease_expires_at <= now and self._may_judge(now)):
                count = await store.reap(other.id, self._settings.deaths_limit, if_lapsed=not dead)
                if count or other.lease_expires_at:  # else it was being reaped, by itself or by another one
                    why = "its process is gone" if dead else "its lease lapsed"
                    logger.warning(
                        "worker %s (%d) is lost, %s: %d run(s) go back to the queue", other.name, other.id, why, count
                    )
                self._look()

    async def look_around_briefly(self) -> None:
        """For somebody who waits for it. The dead may have had very much: the next turns do the rest."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BRIEFLY):
                await self.look_around()

    def _may_judge(self, now: int) -> bool:
        """Whether a lapsed lease means something. When a server comes back after an outage, all have lapsed: let those
        who live renew theirs before anybody is taken for dead."""
        return self._store.embedded or now - self._health.disturbed_at >= 2e6 * self._settings.heartbeat

    async def _fire_timers(self) -> None:
        expected, self._due = self._due, await self._store.tick()
        if expected != self._due:  # something fired, perhaps what others had queued
            self._look()
