"""A store at which anything may go wrong: it is away, slow, full, or busy; an answer is lost; its caller dies or stands
still.

What it promises all the same is what a server does: a batch that is sent again, as its answer was lost, is done once.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fanwood.errors import StoreBusyError, StoreFullError, StoreUnavailableError
from fanwood.model.commands import Batch, Committed
from fanwood.model.states import RunState
from fanwood.store.memory.store import MemoryStore
from fanwood.store.store import Store
from tests.simulation import judging

if TYPE_CHECKING:
    from fanwood.store.memory.memory import Memory
    from tests.simulation.hosts import Host

LONGEST_DELAY = 2.0
"""Seconds that an answer may take."""


class Flaky(Store):
    """The way of one host to the world's store: before any that there is."""

    def surround(self, host: Host) -> None:
        """It is a host's."""
        self.embedded = host.world.embedded
        self.verb = ""  # what was asked for last
        self._host = host
        self._world = host.world
        self._happens = host.world.happens
        self.undelivered: set[bytes] = set()  # runs of which an answer tells that is still on its way
        self._doubtful: tuple[Batch, Committed] | None = None  # done, and the answer was lost

    async def open(self, on_notify: Callable[[], None]) -> None:
        await super().open(lambda: self._hinted_at(on_notify))

    def _hinted_at(self, on_notify: Callable[[], None]) -> None:
        happens = self._happens
        if happens("hint lost", "hint"):
            return
        if happens("hint late", "hint"):
            asyncio.get_running_loop().call_later(self._world.random.random(), on_notify)
            return
        on_notify()
        if happens("hint twice", "hint"):
            on_notify()

    @abstractmethod
    def part(self) -> None:
        """Its process is gone, without a word."""

    # --- each verb, with what may happen before and after it -------------------------------------------------------

    async def before(self, verb: str, said: str = "") -> int:
        """The way there; how often the store had begun anew by then."""
        world, happens, rates = self._world, self._happens, self._world.rates
        self.verb = verb
        world.note(self._host.name, said or verb)
        if rates["slow"] and happens("slow", verb):
            await asyncio.sleep(world.random.random() * LONGEST_DELAY)
        elif world.suspends and world.random.random() < world.suspends:
            await asyncio.sleep(world.random.random() * 0.002)
        if world.calm or world.harmless:
            return world.beginnings
        if rates["crash before"] and world.may_die(self._host) and happens("crash before", verb):
            await self._host.die()
        if rates["freeze"] and happens("freeze", verb):
            self._host.freeze()
            await asyncio.sleep(0)
        if rates["stop"] and self._host.worker is not None and happens("stop", verb):
            self._host.stop()
        if rates["clock jump"] and happens("clock jump", verb):
            self._host.jump()
        if world.away_until > world.time.now:
            raise StoreUnavailableError("the store is away")
        if rates["away"] and happens("away", verb):
            world.away_until = world.time.now + int(world.random.random() * 8e6)
            raise StoreUnavailableError("the store goes away")
        if rates["request lost"] and happens("request lost", verb):
            raise StoreUnavailableError("the connection is gone, before anything was done")
        if rates["busy"] and happens("busy", verb):
            raise StoreBusyError("the store is busy")
        if rates["full"] and verb not in READING and happens("full", verb):
            raise StoreFullError("the store is full")
        return world.beginnings

    async def after(self, verb: str, beginning: int) -> None:
        """The way back."""
        world, happens, rates = self._world, self._happens, self._world.rates
        if (world.calm or world.harmless) and world.beginnings == beginning:
            return
        if rates["crash after"] and world.may_die(self._host) and happens("crash after", verb):
            await self._host.die()
        if rates["restart"] and happens("restart", verb):
            world.beginnings += 1
            world.away_until = world.time.now + int(world.random.random() * 3e6)
        if rates["slow answer"] and happens("slow answer", verb):
            await asyncio.sleep(world.random.random() * LONGEST_DELAY)
        if world.beginnings != beginning:
            raise StoreUnavailableError("the store began anew, and the answer was lost")
        if rates["answer lost"] and happens("answer lost", verb):
            raise StoreUnavailableError("the answer was lost")

    async def commit(self, worker_id: int, batch: Batch) -> Committed:
        beginning = await self.before("commit", _said(batch))
        self._world.refuse(batch)
        if self._doubtful is not None and self._doubtful[0] is batch:
            done = self._as_it_is_now(worker_id, self._doubtful[1])
        else:
            was = judging.before(self._world.tables, batch)
            done = await super().commit(worker_id, batch)
            self._world.tell(judging.after(self._world.tables, was, batch, done))
            self._world.parts.asked_for([attach.id for attach in batch.attaches])
        if not batch.only_looks or done != Committed():
            self._world.note(self._host.name, f"as {worker_id} {_told(done)}")
        self._doubtful = (batch, done)
        self.undelivered = {notice.run_id for notice in done.mine}
        await self.after("commit", beginning)
        self._doubtful, self.undelivered = None, set()
        return done

    async def renew(self, worker_id: int) -> bool:
        beginning = await self.before("renew")
        worker = self._world.tables.workers.get(worker_id)
        had = worker is not None and worker.lease is not None
        renewed = await super().renew(worker_id)
        if renewed and not had:
            self._world.wrong(f"worker {worker_id} has a lease again that was taken away")
        await self.after("renew", beginning)
        return renewed

    async def reap(self, worker_id: int, deaths_limit: int, *, if_lapsed: bool = False) -> int:
        beginning = await self.before("reap")
        self._world.wakes(worker_id)
        released = await super().reap(worker_id, deaths_limit, if_lapsed=if_lapsed)
        await self.after("reap", beginning)
        return released

    async def cancel_children(self, parent_id: bytes, attempt: int, ids: Sequence[bytes], reason: str) -> int:
        beginning = await self.before("cancel_children")
        ended = await super().cancel_children(parent_id, attempt, ids, reason)
        self._world.tell(self._world.parts.let_go(parent_id, attempt, ids))
        await self.after("cancel_children", beginning)
        return ended

    def _as_it_is_now(self, worker_id: int, done: Committed) -> Committed:
        """The answer that was lost; what was claimed may have been taken away meanwhile."""
        runs = self._world.tables.runs
        done.claimed = [
            run
            for run in done.claimed
            if (now := runs.get(run.key)) is not None
            and now.is_at(RunState.RUNNING, run.attempt)
            and now.worker_id == worker_id
        ]
        done.has_more = True
        return done


def _said(batch: Batch) -> str:
    what = {name: getattr(batch, name) for name in ("spawns", "attaches", "records", "outcomes", "watch", "heard")}
    parts = [f"{len(found)} {name}" for name, found in what.items() if found]
    parts += ["claim"] if batch.claim else []
    return f"commit {', '.join(parts)}" if parts else "commit"


def _told(done: Committed) -> str:
    what = {"claimed": done.claimed, "finished": done.finished, "fenced": done.fenced_outcomes, "notices": done.mine}
    parts = [f"{len(found)} {name}" for name, found in what.items() if found]
    return f"is told {', '.join(parts)}{', and more' * done.has_more}" if parts or done.has_more else "committed"


READING = {"look_around", "contended", "served", "deadlines", "get", "recalled", "is_heard", "left_over", "workers"}
_PLAIN = {"open", "close", "watch", "migrate", "now", "commit", "renew", "reap", "cancel_children"}


def _surrounded(name: str) -> Any:
    async def verb(self: Flaky, *args: Any, **named: Any) -> Any:
        beginning = await self.before(name)
        answer = await getattr(super(Flaky, self), name)(*args, **named)
        await self.after(name, beginning)
        return answer

    return verb


for _name in sorted({*Store.__abstractmethods__, "left_over"} - _PLAIN):
    setattr(Flaky, _name, _surrounded(_name))


class FlakyMemory(Flaky, MemoryStore):
    """The world's memory."""

    def __init__(self, host: Host, memory: Memory) -> None:
        MemoryStore.__init__(self, host.world.clock, memory=memory)
        self.surround(host)
        self._is_open = False

    async def open(self, on_notify: Callable[[], None]) -> None:
        await super().open(on_notify)
        self._is_open = True
        if not self.embedded:
            self._poll(asyncio.get_running_loop())

    def _poll(self, loop: asyncio.AbstractEventLoop) -> None:
        """At a server everybody looks now and then, whether he was told of anything or not."""
        self._on_notify()
        loop.call_later(self._world.shape.poll, self._poll, loop)

    def part(self) -> None:
        if self._is_open:
            self._memory.leave(self._user)
