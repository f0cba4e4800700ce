"""Actions on all that a filter lets through, for programs: the same tasks as the server's, on an engine that is there
until the action has ended. What a program that died has left is gone on with by the next that begins one, or by a
server."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import msgspec
from msgspec.structs import replace

from fanwood.engine.waits import Collector
from fanwood.errors import FanwoodError, UsageError
from fanwood.ids import id_bytes, id_text, new_secret
from fanwood.server import previews
from fanwood.server.choosing import ActionFilter, Wanted
from fanwood.server.deeds import Bulk, Tally, declare
from fanwood.server.hands import LOOK, Hands
from fanwood.store.progress import progress_of
from fanwood.worker.carrying import has_unfinished

if TYPE_CHECKING:
    from fanwood.engine.engine import Engine
    from fanwood.server.previews import Seen
    from fanwood.settings import Settings
    from fanwood.store.store import Store


def wanted(action: Any, namespace: str, moment: int, priority: int | None, **filter_: Any) -> Wanted | None:
    """What is asked for; None: the filter says nothing."""
    found = ActionFilter(**filter_)
    return Wanted(action, found, namespace, moment, priority) if found.is_narrowed else None


async def look(store: Store, asked: Wanted) -> Seen:
    """How many runs that is, or is at least; the first of them.

    Raises:
        RunNotFoundError: there is no such tree, or run.
        UsageError: what is named as a tree is below another run.
    """
    for run in asked.filter.ids:
        await store.get(id_bytes(run))
    if asked.filter.tree is not None:
        top = await store.get(id_bytes(asked.filter.tree))
        if top.parent_id is not None:
            raise UsageError(
                f"tree= takes the id of a root, and {asked.filter.tree} is below {id_text(top.root_id)}: name that, or "
                f"the run itself in ids=, with which all below it is meant"
            )
    return await previews.look(store, asked)


def hands(settings: Settings) -> Hands:
    """For a worker, which goes on with what others have left."""
    return Hands(settings)


def deed_text(asked: Wanted, by: str, count: int, *, at_least: bool) -> str:
    """What is to be done, as it can be kept until it is begun."""
    return msgspec.json.encode(Bulk(asked, by, count, at_least)).decode()


class Begun:
    """One that is under way, with an engine of its own. That is there until somebody closes it; or, where nobody waits
    for the result, until this action has ended, and those that it has gone on with."""

    def __init__(self, settings: Settings) -> None:
        self._deeds = declare(settings)
        self.id = ""
        self._ref: Any = None
        self._engine: Engine | None = None  # that tells of its end
        self._waiting = 0
        self._over = False
        self._closed = threading.Event()

    @classmethod
    def before(cls, settings: Settings, run_id: str) -> Begun:
        """One that was begun before; if that was in this process, the same."""
        found = _under_way.get((os.getpid(), run_id))
        if found is None:
            found = cls(settings)
            found.attach(run_id)
        return found

    async def begin(self, text: str, token: str | None) -> None:
        """It is done once for a token."""
        token = token or new_secret()
        deed = replace(msgspec.json.decode(text, type=Bulk), token=token[:8])
        about = {"by": deed.by, "namespace": deed.wanted.namespace}
        self._ref = await self._deeds.bulk.aio_run_no_wait(
            deed, idempotency_key=token, additional_metadata=about, detached=True
        )
        self.id = self._ref.id
        self._watch()

    def attach(self, run_id: str) -> None:
        """One that was begun before."""
        self.id, self._ref = run_id, self._deeds.app.runs.get_run_ref(run_id)

    async def result(self, timeout: float | None) -> tuple[int, int]:
        """To how many it was done, and how many had changed."""
        self._waiting += 1
        try:
            if self._watch():  # whoever has begun it may be gone
                await self._deeds.app.prepare([self._deeds.bulk.name])
            tally = msgspec.to_builtins(await self._ref.aio_result(timeout))
        except BaseException:  # (a wait that is interrupted closes nothing by itself: its thread, or loop, is to go on)
            self._waiting -= 1
            if self._over:
                self._close_beside()
            raise
        self._waiting -= 1
        tally = msgspec.convert(tally, Tally)  # (or as it is stored)
        return tally.done, tally.left

    async def seen(self) -> int:
        """At how many runs it has been, so far."""
        said = await self._deeds.ask(lambda store: progress_of(store, id_bytes(self.id)))
        return int(said.done) if said else 0

    def close(self) -> None:
        """What is under way goes on with the next one."""
        _under_way.pop((os.getpid(), self.id), None)
        self._closed.set()
        self._deeds.app.close()

    def _watch(self) -> bool:
        """Hear of its end, on the engine that there is now; whether that is news."""
        engine = self._deeds.app.engine()
        if engine is self._engine:
            return False
        collector = Collector(fail_fast=False)
        collector.grow(1)
        collector.close()
        self._engine = engine
        self._closed.clear()
        _under_way[os.getpid(), self.id] = self
        engine.watch(id_bytes(self.id), collector, 0)
        collector.when_ready(lambda: self._ended(collector))
        return True

    def _ended(self, collector: Collector) -> None:
        """On the engine's thread. Who waits for the result closes it once that is there."""
        if collector.error is None:  # (else the engine is over)
            self._over = True
            if not self._waiting:
                self._close_beside()

    def _close_beside(self) -> None:
        threading.Thread(target=self._close_when_idle, name="fanwood: an action is over", daemon=True).start()

    def _close_when_idle(self) -> None:
        with contextlib.suppress(FanwoodError):  # it was closed, or can't be asked: others go on with what is left
            while self._engine is not None and self._engine.call(has_unfinished).result():
                if self._closed.wait(LOOK):
                    return
        self.close()


_under_way: WeakValueDictionary[tuple[int, str], Begun] = WeakValueDictionary()
"""By process and id, for code that is run again. Their engines hold them."""
