"""Fanwood's store in one SQLite file, shared by any number of processes of one machine.

The engine's thread does all writing, in place: a commit is a few steps and one fsync. Reading for people goes
through a second connection on a thread of its own, so that a look at a big tree doesn't hold up the runs.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from fanwood.errors import RunNotFoundError, StoreUnavailableError
from fanwood.model.commands import FIRST_CHUNK, Batch, Committed, TaskInfo, WorkerInfo
from fanwood.model.records import (
    Around,
    Few,
    Page,
    PruneCount,
    PruneCursor,
    Pruned,
    RunFilter,
    RunRecord,
    StoreReport,
    Swept,
    TaskCount,
    TreeRun,
    Unserved,
    WorkerRecord,
)
from fanwood.model.states import TERMINAL, RunState
from fanwood.store import budgets, finding, rows, why
from fanwood.store.cancelling import OWN, fenced
from fanwood.store.children import children
from fanwood.store.looked import SqlLooks
from fanwood.store.parts import must_sleep, refuse_part
from fanwood.store.retention import Deed, Plan, after_failure, taking_apart
from fanwood.store.sqlite import connection as opening
from fanwood.store.sqlite import reading, upkeep
from fanwood.store.sqlite.byhand import SqliteByHand
from fanwood.store.sqlite.chores import Chores, Held, missing
from fanwood.store.sqlite.connection import Transaction, connect, file_identity, migrate, syncing, translated
from fanwood.store.sqlite.hot import HotPath
from fanwood.store.sqlite.leaving import Leaving
from fanwood.store.sqlite.outside import SqliteOutside
from fanwood.store.sqlite.reader import Reader
from fanwood.store.sqlite.sweeping import Sweeping
from fanwood.store.sqlite.telling import SqliteTelling
from fanwood.store.sqlite.time import FileClock
from fanwood.store.sqlite.watching import Watch
from fanwood.store.store import START, Store
from fanwood.store.urls import no_file

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from fanwood.clock import Clock
    from fanwood.model.records import AttemptRecord, Audited, Circumstances, Known, LeftOver, LogRecord, Recorded, Walk
    from fanwood.store.sqlite.driver import Database
    from fanwood.store.store import Place


class SqliteStore(SqliteOutside, SqliteByHand, SqliteTelling, SqlLooks, Store):
    """One SQLite file. `poll` is how often, in seconds, to look whether others have changed it. `looks`: it is there,
    and opened for looking only; no look takes more seconds."""

    embedded = True

    def __init__(
        self, path: Path, clock: Clock, *, poll: float = 0.01, create: bool = True, looks: float | None = None
    ) -> None:
        super().__init__()
        self.path = path
        self._name = str(path)
        self.url = f"sqlite:///{path}"
        self._clock = clock
        self._watch = Watch(path, poll)
        self._create = create
        self._looks = looks
        self._connection: Database | None = None
        self._reader = Reader(path, clock, looks)
        self._read = self._reader.read
        self._time = FileClock(clock)
        self._identity: tuple[int, int] | None = None  # of the file that we opened

    # --- its life --------------------------------------------------------------------------------------------------

    async def open(self, on_notify: Callable[[], None]) -> None:
        self._on_notify = on_notify
        self._connection = self._connect()
        try:
            self._prepare(self._connection)
            with translated(self.path):
                self._time.begin(self._connection)
        except BaseException:
            self._connection.close()
            raise
        self._identity = file_identity(self._name)
        self._watch.begin(self._connection, on_notify)

    def _prepare(self, connection: Database) -> None:
        migrate(connection, self.path)
        self._hot = HotPath(connection)
        self._leaving, self._moving = self._hot.leaving, self._hot.moving
        self._sweeping = Sweeping(connection, self._leaving)
        self._chores = Chores(connection, self._leaving)
        opening.check_writable(connection, self.path)

    def _connect(self) -> Database:
        if self._create and self._looks is None:
            opening.make_folder(self.path.parent)
        elif not self.path.exists():
            raise no_file(self.path)
        return connect(self.path, read_only=self._looks is not None)

    async def migrate(self, *, dry_run: bool = False) -> list[str]:
        if dry_run:
            return opening.pending(self.path)
        connection = self._connect()
        try:
            return migrate(connection, self.path)
        finally:
            connection.close()

    async def close(self) -> None:
        self._reader.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def watch(self) -> None:
        await self._watch.run()

    async def attend(self) -> None:
        self._watch.attend()

    async def hush(self) -> None:
        self._watch.hush()

    def now(self) -> int:
        return self._time.now()

    def _instant(self) -> int:
        """The time of a transaction. On the engine's thread only."""
        return self._time.instant()

    # --- the hot verb ----------------------------------------------------------------------------------------------

    async def commit(self, worker_id: int, batch: Batch) -> Committed:
        if batch.only_looks:  # without the lock: most looks, of all processes, find nothing
            with translated(self.path):
                if not self._hot.finds(worker_id, batch):
                    return Committed()
        with self._transaction():
            done = self._hot.run(worker_id, self._instant(), batch)
        self._hot.committed(worker_id)
        return done

    @contextmanager
    def _unsynced(self) -> Generator[None, None, None]:
        """A transaction that may be lost in a crash of the machine (and none that came before it), since what it does
        would be done again: for sweeps, whose gates are there still, and for what is due."""
        assert self._connection is not None
        self._connection.pragma("synchronous", "normal")
        try:
            with self._transaction():
                yield
        finally:
            self._connection.pragma("synchronous", "full")

    def _transaction(self) -> AbstractContextManager[Database]:
        assert self._connection is not None
        if file_identity(self._name) != self._identity:
            raise StoreUnavailableError(
                f"{self.path} is gone: it was removed or replaced while it was in use. Nothing more can be written to "
                f"it. Restart the programs that use it, with the file in its place or with a new one."
            )
        return Transaction(self._connection, self.path)

    async def fail_unreadable(self, tasks: str) -> int:
        with self._transaction():
            return self._hot.claiming.fail_unreadable(self._instant(), tasks)

    # --- engines and leases ----------------------------------------------------------------------------------------

    async def register(self, info: WorkerInfo, tasks: Sequence[TaskInfo]) -> int:
        with self._transaction() as db:
            self._time.enter(db)
            return self._chores.register(info, tasks, self._instant())

    async def publish(self, worker_id: int, tasks: Sequence[TaskInfo]) -> None:
        with self._transaction():
            self._chores.publish(worker_id, [task.name for task in tasks], tasks, self._instant())

    async def renew(self, worker_id: int) -> bool:
        with self._transaction():
            return self._chores.renew(worker_id, self._instant())

    async def look_around(self, worker_id: int, host: str) -> Around:
        assert self._connection is not None
        with translated(self.path):
            self._time.follow(self._connection)
            return self._chores.look_around(worker_id, host, self._instant())

    async def contended(self, worker_id: int) -> frozenset[str]:
        with translated(self.path):
            return self._chores.contended(worker_id, self._instant())

    async def reap(self, worker_id: int, deaths_limit: int, *, if_lapsed: bool = False) -> int:
        with self._transaction():
            if not self._chores.take_lease(worker_id, self._instant(), if_lapsed=if_lapsed):
                return 0
        released = 0
        while held := self._held(worker_id):
            for run in held:
                if run.unsure:
                    run.waited = await self._has_living(run)
            began = self._clock.monotonic()
            with self._transaction():
                released += self._chores.release(held, self._instant(), deaths_limit)
            await asyncio.sleep(self._clock.monotonic() - began)  # commits and heartbeats have their turn
        with self._transaction():
            self._chores.remove_worker(worker_id)
        return released

    def _held(self, worker_id: int) -> list[Held]:
        with translated(self.path):
            return self._chores.held(worker_id, self._instant())

    async def _has_living(self, run: Held) -> bool:
        """A long look through its children, beside everything else."""
        return await self._read(lambda db: Chores(db, Leaving(db)).has_living(run.id, run.root_id))

    async def unregister(self, worker_id: int) -> None:
        with self._transaction():
            self._chores.remove_worker(worker_id)

    async def workers(self) -> list[WorkerRecord]:
        return await self._read(reading.workers)

    async def tasks(self) -> list[TaskInfo]:
        return await self._read(reading.tasks)

    async def served(self, worker_id: int, task: str) -> bool:
        with translated(self.path):
            return self._chores.served(worker_id, task, self._instant())

    async def left_over(self, tasks: Sequence[str], programs: Sequence[int], limit: int) -> list[LeftOver]:
        return await self._read(lambda db: reading.left_over(db, tasks, programs, limit))

    async def unserved(self) -> list[Unserved]:
        return await self._read(lambda db: reading.unserved(db, self.now()))

    # --- timers ----------------------------------------------------------------------------------------------------

    async def tick(self) -> int | None:
        with translated(self.path):
            due = self._chores.next_due()
        if due is None or due > self._instant():
            return due
        with self._unsynced():  # should it be lost, it is done again
            self._chores.promote(self._instant())
        if self._chores.has_expired(self._instant()):
            with self._transaction():
                self._chores.expire(self._instant())
        with translated(self.path):
            return self._chores.next_due()

    async def deadlines(self, run_ids: Sequence[bytes]) -> dict[bytes, int]:
        with translated(self.path):
            return self._moving.true_deadlines(run_ids)

    # --- what people ask for ---------------------------------------------------------------------------------------

    async def cancel(self, run_id: bytes, reason: str, attempt: int | None = None) -> bool:
        with self._transaction():
            state, current, *_ = self._about(run_id)
            if attempt is not None and (attempt != current or state not in OWN):
                raise fenced(run_id, attempt)
            cancelled = self._chores.cancel(run_id, state, current, reason, self._instant())
        self._on_notify()  # our own worker is told as well
        return cancelled

    async def cancel_children(self, parent_id: bytes, attempt: int, ids: Sequence[bytes], reason: str) -> int:
        with self._transaction():
            ended = self._chores.cancel_children(parent_id, attempt, ids, reason, self._instant())
        self._on_notify()
        return ended

    async def is_heard(self, *ids: bytes) -> bool:
        with translated(self.path):
            return all(self._chores.is_heard(id_, self._instant()) for id_ in ids)

    async def sweep(self, run_id: bytes | None = None) -> Swept:
        ended, told, held = Swept(0, more=False), Swept(0, more=False), 0.0
        if self._leaving.gated:
            with self._unsynced():
                began = self._clock.monotonic()  # not before: a wait for others is no page that took long
                root = None if run_id is None else self._about(run_id)[2]
                ended = self._sweeping.sweep(self._instant(), root)
            held = self._clock.monotonic() - began
            self._sweeping.note(held)
        if run_id is None and self._moving.pending:
            with self._unsynced():
                began = self._clock.monotonic()
                told = self._moving.tell(self._instant())
            held += self._clock.monotonic() - began
        follows, took = self._follow(run_id)
        looked = told.looked + follows.looked
        if ended.ended or looked:
            self._on_notify()
        return Swept(ended.ended, ended.more or told.more or follows.more, looked, held + took)

    async def replay(self, run_id: bytes, allow: Iterable[RunState]) -> bool:
        while True:
            with budgets.replaying(run_id), self._transaction():
                state, attempt, root, parent, kind = self._about(run_id)
                refuse_part(run_id, kind, parent)
                if state not in allow or state not in TERMINAL:
                    return False
                if self._chores.replay(run_id, state, attempt, root, self._instant()):
                    return True
            await self.sweep(run_id)
            await asyncio.sleep(0)

    async def wake(self, run_id: bytes) -> bool:
        with self._transaction():
            state, attempt, _, _, kind = self._about(run_id)
            must_sleep(run_id, kind)
            woken = self._chores.wake(run_id, state, attempt, self._instant())
        self._on_notify()
        return woken

    def _about(self, run_id: bytes) -> tuple[RunState, int, bytes, bytes, int]:
        return self._chores.about(run_id, self.url)

    async def get(self, run_id: bytes) -> RunRecord:
        record = await self._read(lambda db: reading.run(db, run_id))
        if record is None:
            raise RunNotFoundError(missing(run_id, self.url))
        return record

    async def circumstances(self, run_id: bytes) -> Circumstances:
        return await why.circumstances(self.looked, await self.get(run_id), self.now())

    async def looked(self, name: str, /, **bindings: Any) -> list[Any]:
        return await self._read(lambda db: reading.looked(db, name, bindings))

    async def find(self, digits: str, limit: int = 2) -> list[bytes]:
        return await finding.find(self.looked, digits, limit, self._ends)

    async def previews(self, ids: Sequence[bytes], length: int) -> list[str]:
        return await self._read(lambda db: reading.previews(db, ids, length))

    async def listing(self, filter_: RunFilter) -> Page:
        return await self._read(lambda db: reading.listing(db, filter_))

    async def children(
        self,
        parent_id: bytes,
        *,
        task: str | None = None,
        state: RunState | None = None,
        after: bytes = b"",
        limit: int = 1000,
    ) -> list[RunRecord]:
        return await children(self.looked, limit, parent=parent_id, task=task, state=state, after=after)

    async def recalled(self, parent_id: bytes, after: bytes = b"", limit: int = 1000, most: int = 0) -> list[Known]:
        return await self._read(lambda db: reading.recalled(db, parent_id, after, limit, most))

    async def recorded(self, parent_id: bytes, after: bytes = b"", limit: int = 1000) -> list[Recorded]:
        return rows.recorded(await self.looked("recorded", parent=parent_id, after=after, limit=limit))

    async def recorded_few(self, parents: Sequence[tuple[bytes, bytes]], limit: int, most: int) -> list[Few]:
        return await self._read(lambda db: reading.recorded_few(db, parents, limit, most))

    async def child_counts(self, parent_id: bytes) -> list[TaskCount]:
        return await self._read(lambda db: reading.counts(db, "child_counts", {"parent": parent_id}))

    async def tree_counts(self, run_id: bytes) -> list[TaskCount]:
        return await self._read(lambda db: reading.tree_counts(db, run_id))

    async def tree_slowest(self, run_id: bytes, task: str | None, limit: int) -> list[TreeRun]:
        return await self._read(lambda db: reading.slowest(db, run_id, task, limit))

    async def tree_failures(self, run_id: bytes, task: str | None, limit: int) -> list[TreeRun]:
        return await self._read(lambda db: reading.failures(db, run_id, task, limit))

    async def logs(self, run_id: bytes, after: int = -1, limit: int = 1000, stop: int = FIRST_CHUNK) -> list[LogRecord]:
        return await self._read(lambda db: reading.logs(db, run_id, after, limit, stop))

    async def attempts(self, run_id: bytes) -> list[AttemptRecord]:
        return await self._read(lambda db: reading.attempts(db, run_id))

    async def log_end(self, run_id: bytes) -> int:
        return await self._read(lambda db: reading.log_end(db, run_id))

    async def report(self, *, full: bool = False) -> StoreReport:
        assert self._connection is not None
        seen = reading.Seen(self.path, self.url, self._instant(), syncing(self._connection))
        report = await self._read(lambda db: reading.report(db, seen, full=full))
        off = self._time.off_the_wall
        return replace(report, problems=[*report.problems, off]) if off else report

    async def audit(self, walk: Walk, after: Place, limit: int) -> list[Audited]:
        return await self._read(lambda db: reading.audit(db, walk, after, limit))

    # --- looking after it ------------------------------------------------------------------------------------------

    async def prune(self, before: int, limit: int, cursor: PruneCursor = START, namespace: str = "") -> Pruned:
        planned = await self._read(lambda db: upkeep.planned(db, before, limit, cursor, namespace))
        if planned.deed is Deed.NOTHING or (planned.deed is Deed.DELETE and not planned.ids):
            return Pruned(0, planned.cursor)
        with self._transaction() as db:
            deleted = upkeep.carry_out(db, planned, before, self._instant())
        return Pruned(deleted or 0, after_failure(planned) if deleted is None else planned.cursor)

    async def begin_deleting(self, root_id: bytes) -> PruneCursor | None:
        with self._transaction() as db:
            now = self._instant()
            marked = upkeep.carry_out(db, Plan(Deed.MARK, None, root=root_id), now + 1, now) is not None
        return taking_apart((await self.get(root_id)).created_at, root_id) if marked else None

    async def tidy(self) -> None:
        """There is nothing: an update takes the place of what it replaces."""

    async def prunable(self, before: int, namespace: str = "") -> PruneCount:
        return await self._read(lambda db: upkeep.prunable(db, before, namespace))

    async def copy_out(self, table: str, after: tuple[Any, ...], limit: int) -> list[tuple[Any, ...]]:
        return await self._read(lambda db: upkeep.copy_out(db, table, after, limit))

    async def copy_in(self, table: str, rows: Sequence[tuple[Any, ...]]) -> int:
        with self._transaction() as db:
            return upkeep.copy_in(db, table, rows)

    async def count(self, table: str) -> int:
        return await self._read(lambda db: upkeep.count(db, table))
