"""Fanwood's store in memory, for simulations and tests: all its promises but one, that anything is kept.

Every verb is done in place, under a lock that the stores of one memory share. There is no input or output, and no
thread; time comes in as an argument.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from fanwood.errors import RunNotFoundError, StoreUnavailableError, StoreValueError
from fanwood.ids import id_text
from fanwood.model.commands import FIRST_CHUNK, Batch, Committed
from fanwood.model.records import PruneCursor, Pruned, Swept
from fanwood.model.states import TERMINAL, RunState
from fanwood.store import finding
from fanwood.store.budgets import replaying
from fanwood.store.cancelling import OWN, fenced
from fanwood.store.memory import auditing, reading, upkeep
from fanwood.store.memory import memory as memories
from fanwood.store.memory.byhand import MemoryByHand
from fanwood.store.memory.looks import MemoryLooks
from fanwood.store.memory.outside import MemoryOutside
from fanwood.store.memory.tables import Run, Tables, check_values
from fanwood.store.memory.why import circumstances
from fanwood.store.parts import must_sleep, refuse_part
from fanwood.store.retention import Deed, Plan, after_failure, plan, taking_apart
from fanwood.store.store import START, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from fanwood.clock import Clock
    from fanwood.model.commands import TaskInfo, WorkerInfo
    from fanwood.model.records import (
        Around,
        AttemptRecord,
        Audited,
        Circumstances,
        Few,
        Known,
        LeftOver,
        LogRecord,
        Page,
        PruneCount,
        Recorded,
        RunFilter,
        RunRecord,
        StoreReport,
        TaskCount,
        TreeRun,
        Unserved,
        Walk,
        WorkerRecord,
    )
    from fanwood.store.memory.memory import Memory
    from fanwood.store.store import Place


class MemoryStore(MemoryOutside, MemoryByHand, MemoryLooks, Store):
    """One engine's way to a memory: to a given one, or to that which has the URL for its name in this process."""

    embedded = True

    def __init__(
        self, clock: Clock, *, memory: Memory | None = None, url: str = "memory:", create: bool = True
    ) -> None:
        self.url = url
        self._given = memory
        self._clock = clock
        self._create = create
        self._user = 0
        self._ends = finding.Ends()
        self._hinted = False  # somebody has changed something
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bell: asyncio.Event | None = None  # ... that `watch` has not told of

    # --- its life --------------------------------------------------------------------------------------------------

    async def open(self, on_notify: Callable[[], None]) -> None:
        if not self._create:
            raise StoreUnavailableError(f"{self.url}: what is in memory is seen by the process that has it there only")
        self._on_notify = on_notify
        if self._given is None:
            self._memory, self._user = memories.join(self.url, self._clock, self._hint)
        else:
            self._memory, self._user = self._given, self._given.join(self._clock, self._hint)

    def _hint(self) -> None:
        """From any thread."""
        if not self._hinted:
            self._hinted = True
            if self._loop is not None and self._bell is not None:
                with contextlib.suppress(RuntimeError):  # it has ended
                    self._loop.call_soon_threadsafe(self._bell.set)

    async def watch(self) -> None:
        self._loop, self._bell = asyncio.get_running_loop(), asyncio.Event()
        while True:
            if not self._hinted:
                await self._bell.wait()
            self._bell.clear()
            self._hinted = False  # first: what comes now is told of again
            self._on_notify()

    async def migrate(self, *, dry_run: bool = False) -> list[str]:  # noqa: ARG002
        return []

    async def close(self) -> None:
        if self._user:
            self._memory.leave(self._user)

    def now(self) -> int:
        return self._memory.now() if self._user else self._clock.now()  # (it may be asked for before it is open)

    # --- the hot verb ----------------------------------------------------------------------------------------------

    async def commit(self, worker_id: int, batch: Batch) -> Committed:
        hot = self._memory.hot
        if batch.only_looks:
            with self._memory.reading():
                if not hot.finds(worker_id, batch):
                    return Committed()
        else:
            self._check(batch)
        with self._memory.transaction(self._user) as now:
            return hot.run(worker_id, now, batch)

    def _check(self, batch: Batch) -> None:
        """Before anything is done: all of it, or nothing."""
        check_values(self.url, batch)
        there = self._memory.tables.runs
        if any(spawn.id in there for spawn in batch.spawns):
            raise StoreValueError(f"{self.url}: a run of that id is there already")

    async def fail_unreadable(self, tasks: str) -> int:
        with self._memory.transaction(self._user) as now:
            return self._memory.hot.claiming.fail_unreadable(now, tasks)

    # --- engines and leases ----------------------------------------------------------------------------------------

    async def register(self, info: WorkerInfo, tasks: Sequence[TaskInfo]) -> int:
        with self._memory.transaction(self._user) as now:
            return self._memory.chores.register(info, tasks, now)

    async def publish(self, worker_id: int, tasks: Sequence[TaskInfo]) -> None:
        with self._memory.transaction(self._user) as now:
            self._memory.chores.publish(worker_id, [task.name for task in tasks], tasks, now)

    async def renew(self, worker_id: int) -> bool:
        with self._memory.transaction(self._user) as now:
            return self._memory.chores.renew(worker_id, now)

    async def look_around(self, worker_id: int, host: str) -> Around:
        with self._memory.reading():
            return self._memory.chores.look_around(worker_id, host, self.now())

    async def contended(self, worker_id: int) -> frozenset[str]:
        with self._memory.reading():
            return self._memory.chores.contended(worker_id, self.now())

    async def reap(self, worker_id: int, deaths_limit: int, *, if_lapsed: bool = False) -> int:
        chores = self._memory.chores
        with self._memory.transaction(self._user) as now:
            if not chores.take_lease(worker_id, now, if_lapsed=if_lapsed):
                return 0
        total, more = 0, True
        while more:
            with self._memory.transaction(self._user) as now:
                released, more = chores.release(worker_id, now, deaths_limit)
            total += released
            await asyncio.sleep(0)  # commits and heartbeats have their turn
        with self._memory.transaction(self._user):
            chores.remove_worker(worker_id)
        return total

    async def unregister(self, worker_id: int) -> None:
        with self._memory.transaction(self._user):
            self._memory.chores.remove_worker(worker_id)

    async def workers(self) -> list[WorkerRecord]:
        with self._memory.reading() as tables:
            return reading.workers(tables)

    async def tasks(self) -> list[TaskInfo]:
        with self._memory.reading() as tables:
            return [tables.tasks[name] for name in sorted(tables.tasks)]

    async def served(self, worker_id: int, task: str) -> bool:
        with self._memory.reading():
            return self._memory.chores.served(worker_id, task, self.now())

    async def left_over(self, tasks: Sequence[str], programs: Sequence[int], limit: int) -> list[LeftOver]:
        with self._memory.reading() as tables:
            return reading.left_over(tables, tasks, programs, limit)

    async def unserved(self) -> list[Unserved]:
        with self._memory.reading() as tables:
            return reading.unserved(tables, self.now())

    # --- timers ----------------------------------------------------------------------------------------------------

    async def tick(self) -> int | None:
        chores = self._memory.chores
        with self._memory.transaction(self._user) as now:
            due = chores.next_due()
            if due is not None and due <= now:
                chores.tick(now)
            return chores.next_due()

    async def deadlines(self, run_ids: Sequence[bytes]) -> dict[bytes, int]:
        with self._memory.reading() as tables:
            there = [tables.runs[id_] for id_ in run_ids if id_ in tables.runs]
            found = {run.id: self._memory.hot.moving.true_deadline(run) for run in there}
        return {id_: deadline for id_, deadline in found.items() if deadline is not None}

    # --- what people ask for ---------------------------------------------------------------------------------------

    async def cancel(self, run_id: bytes, reason: str, attempt: int | None = None) -> bool:
        check_values(self.url, reason)
        with self._memory.transaction(self._user) as now:
            run = self._run(run_id)
            if attempt is not None and (attempt != run.attempt or run.state not in OWN):
                raise fenced(run_id, attempt)
            cancelled = self._memory.chores.cancel(run, reason, now)
        self._on_notify()  # our own worker is told as well
        return cancelled

    async def cancel_children(self, parent_id: bytes, attempt: int, ids: Sequence[bytes], reason: str) -> int:
        check_values(self.url, reason)
        with self._memory.transaction(self._user) as now:
            children = (self._memory.tables.runs.get(id_) for id_ in ids)
            asked = [run for run in children if run and run.parent_id == parent_id and run.asked == attempt]
            ended = sum(self._memory.chores.cancel(run, reason, now) for run in asked if not run.is_over)
        self._on_notify()
        return ended

    async def is_heard(self, *ids: bytes) -> bool:
        with self._memory.reading():
            return all(self._memory.chores.is_heard(id_, self.now()) for id_ in ids)

    async def sweep(self, run_id: bytes | None = None) -> Swept:
        memory = self._memory
        with memory.transaction(self._user) as now:
            ended = memory.sweeping.sweep(now, None if run_id is None else self._run(run_id).root_id)
            told = memory.hot.moving.tell(now) if run_id is None else Swept(0, more=False)
            root = None if run_id is None else self._run(run_id).root_id
            released = memory.hot.pauses.release(now, root)
            urged, heard = memory.hot.urgency.tell(now, root)
            if heard is not None:
                memory.chores.tell_workers(heard, now)
        looked = told.looked + released.looked + urged.looked
        if ended.ended or looked:
            self._on_notify()
        return Swept(ended.ended, ended.more or told.more or released.more or urged.more, looked)

    async def replay(self, run_id: bytes, allow: Iterable[RunState]) -> bool:
        allowed = set(allow)
        while True:
            with replaying(run_id), self._memory.transaction(self._user) as now:
                run = self._run(run_id)
                refuse_part(run_id, run.kind, run.parent_id)
                if run.state not in allowed or run.state not in TERMINAL:
                    return False
                if self._memory.chores.is_pruned(run.root_id):
                    raise RunNotFoundError(f"Run {id_text(run_id)} is being deleted: its tree is too old to be kept")
                self._memory.hot.urgency.set([run])
                if self._memory.chores.replay(run, now):
                    return True
            await self.sweep(run_id)
            await asyncio.sleep(0)

    async def wake(self, run_id: bytes) -> bool:
        with self._memory.transaction(self._user) as now:
            run = self._run(run_id)
            must_sleep(run_id, run.kind)
            woken = self._memory.chores.wake(run, now)
        self._on_notify()
        return woken

    def _run(self, run_id: bytes) -> Run:
        run = self._memory.tables.runs.get(run_id)
        if run is None:
            raise RunNotFoundError(f"There is no run {id_text(run_id)} in {self.url}")
        return run

    async def get(self, run_id: bytes) -> RunRecord:
        with self._memory.reading():
            return reading.record(self._run(run_id))

    async def circumstances(self, run_id: bytes) -> Circumstances:
        with self._memory.reading() as tables:
            return circumstances(tables, self._memory.hot, self._run(run_id), self.now())

    async def find(self, digits: str, limit: int = 2) -> list[bytes]:
        async def ids(name: str, /, **bindings: Any) -> list[Any]:
            with self._memory.reading() as tables:
                return reading.ids_of(tables, name, bindings)

        return await finding.find(ids, digits, limit, self._ends)

    async def previews(self, ids: Sequence[bytes], length: int) -> list[str]:
        with self._memory.reading() as tables:
            return [tables.runs[id_].input[:length] if id_ in tables.runs else "" for id_ in ids]

    async def listing(self, filter_: RunFilter) -> Page:
        with self._memory.reading() as tables:
            return reading.listing(tables, filter_)

    async def children(
        self,
        parent_id: bytes,
        *,
        task: str | None = None,
        state: RunState | None = None,
        after: bytes = b"",
        limit: int = 1000,
    ) -> list[RunRecord]:
        with self._memory.reading() as tables:
            return reading.children(tables, parent_id, task, state, after, limit)

    async def recalled(self, parent_id: bytes, after: bytes = b"", limit: int = 1000, most: int = 0) -> list[Known]:
        with self._memory.reading() as tables:
            return reading.recalled(tables, parent_id, after, limit, most)

    async def recorded(self, parent_id: bytes, after: bytes = b"", limit: int = 1000) -> list[Recorded]:
        with self._memory.reading() as tables:
            return reading.recorded(tables, parent_id, after, limit)

    async def recorded_few(self, parents: Sequence[tuple[bytes, bytes]], limit: int, most: int) -> list[Few]:
        with self._memory.reading() as tables:
            return [reading.recorded_few(tables, *each, limit, most) for each in parents]

    async def child_counts(self, parent_id: bytes) -> list[TaskCount]:
        with self._memory.reading() as tables:
            return reading.child_counts(tables, parent_id)

    async def tree_counts(self, run_id: bytes) -> list[TaskCount]:
        with self._memory.reading() as tables:
            return reading.tree_counts(tables, run_id)

    async def tree_slowest(self, run_id: bytes, task: str | None, limit: int) -> list[TreeRun]:
        with self._memory.reading() as tables:
            return reading.slowest(tables, run_id, task, limit)

    async def tree_failures(self, run_id: bytes, task: str | None, limit: int) -> list[TreeRun]:
        with self._memory.reading() as tables:
            return reading.failures(tables, run_id, task, limit)

    async def logs(self, run_id: bytes, after: int = -1, limit: int = 1000, stop: int = FIRST_CHUNK) -> list[LogRecord]:
        with self._memory.reading() as tables:
            return reading.logs(tables, run_id, after, limit, stop)

    async def attempts(self, run_id: bytes) -> list[AttemptRecord]:
        with self._memory.reading() as tables:
            return reading.attempts(tables, run_id)

    async def log_end(self, run_id: bytes) -> int:
        with self._memory.reading() as tables:
            return max((seq for seq in tables.logs.get(run_id, {}) if seq < FIRST_CHUNK), default=-1)

    async def report(self, *, full: bool = False) -> StoreReport:
        with self._memory.reading() as tables:
            return reading.report(tables, self.url, self.now(), full=full)

    async def audit(self, walk: Walk, after: Place, limit: int) -> list[Audited]:
        with self._memory.reading() as tables:
            return auditing.audit(tables, walk, after, limit)

    def reading(self) -> AbstractContextManager[Tables]:
        return self._memory.reading()

    # --- looking after it ------------------------------------------------------------------------------------------

    async def prune(self, before: int, limit: int, cursor: PruneCursor = START, namespace: str = "") -> Pruned:
        with self._memory.transaction(self._user) as now:
            planned = await plan(upkeep.Ground(self._memory.tables), before, limit, cursor, namespace)
            if planned.deed is Deed.NOTHING or (planned.deed is Deed.DELETE and not planned.ids):
                return Pruned(0, planned.cursor)
            deleted = upkeep.carry_out(self._memory.tables, planned, before, now)
        return Pruned(deleted or 0, after_failure(planned) if deleted is None else planned.cursor)

    async def begin_deleting(self, root_id: bytes) -> PruneCursor | None:
        with self._memory.transaction(self._user) as now:
            mark = Plan(Deed.MARK, None, root=root_id)
            if upkeep.carry_out(self._memory.tables, mark, now + 1, now) is None:
                return None
            return taking_apart(self._run(root_id).created_at, root_id)

    async def tidy(self) -> None:
        """There is nothing: a row is changed where it stands."""

    async def prunable(self, before: int, namespace: str = "") -> PruneCount:
        with self._memory.reading() as tables:
            return upkeep.prunable(tables, before, namespace)

    async def copy_out(self, table: str, after: tuple[Any, ...], limit: int) -> list[tuple[Any, ...]]:
        with self._memory.reading() as tables:
            return upkeep.copy_out(tables, table, after, limit)

    async def copy_in(self, table: str, rows: Sequence[tuple[Any, ...]]) -> int:
        with self._memory.transaction(self._user):
            return upkeep.copy_in(self._memory.tables, table, rows)

    async def count(self, table: str) -> int:
        with self._memory.reading() as tables:
            return upkeep.count(tables, table)

    async def turns(self, name: str, /, **bindings: Any) -> list[Any]:
        with self._memory.transaction(self._user):
            return upkeep.turns(self._memory.tables.told, name, **bindings)
