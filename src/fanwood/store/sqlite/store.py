"""Fanwood's store in one SQLite file, shared by any number of processes of one machine.

The engine's thread does all writing, in place: a commit is a few steps and one fsync. Reading for people goes
through a second connection on a thread of its own, so that a look at a big tree doesn't hold up the runs.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from fanwood.errors import RunNotFoundError, StoreReadOnlyError, StoreUnavailableError
from fanwood.ids import id_text
from fanwood.model.commands import Batch, Committed, Failure, TaskInfo, WorkerInfo
from fanwood.model.records import (
    Peer,
    PruneCount,
    PruneCursor,
    Pruned,
    RunFilter,
    RunRecord,
    StoreReport,
    TaskCount,
    TreeRun,
    WorkerRecord,
)
from fanwood.model.states import TERMINAL, RunState
from fanwood.store.failures import encode_failure, expired, poisoned
from fanwood.store.rows import task_bindings
from fanwood.store.sqlite import reading, upkeep
from fanwood.store.sqlite.connection import connect, file_identity, migrate, pending, translated
from fanwood.store.sqlite.hot import HotPath
from fanwood.store.statements import load
from fanwood.store.store import START, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from pathlib import Path

    from fanwood.clock import Clock
    from fanwood.model.records import LogRecord
    from fanwood.store.sqlite.driver import Database

T = TypeVar("T")

_SQL = load("sql/lifecycle.sql", "sql/workers.sql", "sql/reading.sql")


class SqliteStore(Store):
    """One SQLite file. `poll` is how often, in seconds, to look whether others have changed it."""

    embedded = True

    def __init__(self, path: Path, clock: Clock, *, poll: float = 0.01, create: bool = True) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self._clock = clock
        self._poll = poll
        self._create = create
        self._connection: Database | None = None
        self._reader: Database | None = None
        self._reader_thread = ThreadPoolExecutor(1, thread_name_prefix="fanwood-reader")
        self._watcher: asyncio.Task[None] | None = None
        self._last_now = 0
        self._identity: tuple[int, int] | None = None  # of the file that we opened

    # --- its life --------------------------------------------------------------------------------------------------

    async def open(self, on_hint: Callable[[], None]) -> None:
        self._connection = self._connect()
        try:
            migrate(self._connection, self.path)
            self._hot = HotPath(self._connection)
            self._check_writable()
        except BaseException:
            self._connection.close()
            raise
        self._identity = file_identity(self.path)
        self._watcher = asyncio.get_running_loop().create_task(
            self._watch(on_hint, self._connection.pragma("data_version"))
        )

    def _connect(self) -> Database:
        if self._create:
            self._make_folder()
        elif not self.path.exists():
            raise StoreUnavailableError(f"{self.path} does not exist: nothing has run there yet.")
        return connect(self.path)

    async def migrate(self, *, dry_run: bool = False) -> list[str]:
        if dry_run:
            return pending(self.path)
        connection = self._connect()
        try:
            return migrate(connection, self.path)
        finally:
            connection.close()

    def _make_folder(self) -> None:
        try:
            ours = self.path.parent.name == ".fanwood"
            self.path.parent.mkdir(
                mode=0o700 if ours else 0o777, parents=True, exist_ok=True
            )  # payloads may be private
            if ours:
                ignore = self.path.parent / ".gitignore"
                if not ignore.exists():
                    ignore.write_text("*\n", encoding="utf-8")
        except OSError as error:
            raise StoreUnavailableError(f"{self.path.parent} can't be made: {error.strerror}") from error

    def _check_writable(self) -> None:
        """SQLite opens a file that it can't write as read-only, and says so only at the first write."""
        assert self._connection is not None
        if self._connection.readonly("main"):
            raise StoreReadOnlyError(
                f"{self.path} can't be written to. Check the permissions of the file and of its folder."
            )

    async def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None
        self._reader_thread.shutdown(wait=True)
        for connection in (self._reader, self._connection):
            if connection is not None:
                connection.close()
        self._reader = self._connection = None

    async def _watch(self, on_hint: Callable[[], None], seen: Any) -> None:
        """`data_version` moves when another connection has committed; reading it costs a microsecond."""
        assert self._connection is not None
        while True:
            await asyncio.sleep(self._poll)
            version = self._connection.pragma("data_version")
            if version != seen:
                seen = version
                on_hint()

    def now(self) -> int:
        return max(self._clock.now(), self._last_now)

    def _instant(self) -> int:
        """The time of a transaction: strictly rising, so that it marks just this one. On the engine's thread only."""
        self._last_now = max(self._clock.now(), self._last_now + 1)
        return self._last_now

    # --- the hot verb ----------------------------------------------------------------------------------------------

    async def commit(self, worker_id: int, batch: Batch) -> Committed:
        if batch.only_looks:  # without the lock: most looks, of all processes, find nothing
            with translated(self.path):
                if not self._hot.finds(worker_id, batch):
                    return Committed()
        with self._transaction():
            return self._hot.run(worker_id, self._instant(), batch)

    @contextmanager
    def _transaction(self) -> Generator[Database, None, None]:
        assert self._connection is not None
        connection = self._connection
        if file_identity(self.path) != self._identity:
            raise StoreUnavailableError(
                f"{self.path} is gone: it was removed or replaced while it was in use. Nothing more can be written to "
                f"it. Restart the programs that use it, with the file in its place or with a new one."
            )
        with translated(self.path):
            connection.execute("begin immediate")
            try:
                yield connection
                connection.execute("commit")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("rollback")
                raise

    # --- engines and leases ----------------------------------------------------------------------------------------

    async def register(self, info: WorkerInfo, tasks: Sequence[TaskInfo]) -> int:
        with self._transaction() as db:
            now = self._instant()
            about = {"name": info.name, "host": info.host, "pid": info.pid, "slots": info.slots, "lease": info.lease}
            worker_id = int(db.execute(_SQL["register_worker"], {**about, "now": now}).get)
            self._publish(db, worker_id, info.tasks, tasks)
        return worker_id

    async def publish(self, worker_id: int, tasks: Sequence[TaskInfo]) -> None:
        with self._transaction() as db:
            self._publish(db, worker_id, [task.name for task in tasks], tasks)

    def _publish(self, db: Database, worker_id: int, serves: Sequence[str], tasks: Sequence[TaskInfo]) -> None:
        now = self._instant()
        for name in serves:
            db.execute(_SQL["register_worker_task"], {"task": name, "worker_id": worker_id})
        for task in tasks:
            db.execute(_SQL["publish_task"], {**task_bindings(task), "now": now})

    async def renew(self, worker_id: int) -> bool:
        with self._transaction() as db:
            return db.execute(_SQL["renew_lease"], {"id": worker_id, "now": self._instant()}).get is not None

    async def peers(self, worker_id: int, host: str | None = None) -> list[Peer]:
        with translated(self.path):
            return [Peer(*row) for row in self._rows("peers", me=worker_id, host=host, now=self._instant())]

    async def rivals(self, worker_id: int) -> frozenset[str]:
        with translated(self.path):
            return frozenset(row[0] for row in self._rows("rivals", me=worker_id, now=self._instant()))

    async def bury(self, worker_id: int, deaths_limit: int, *, if_lapsed: bool = False) -> int:
        with self._transaction() as db:
            now = self._instant()
            if if_lapsed and not self._one("has_lapsed", worker=worker_id, now=now):
                return 0
            fatal = self._rows("poisoned_runs", worker=worker_id, limit=deaths_limit)
            db.execute(_SQL["release_runs"], {"worker": worker_id, "now": now})  # while it shows who waited for whom
            released = db.changes()
            for run_id, task, deaths in fatal:
                error = encode_failure(poisoned(task, deaths + 1))
                db.execute(_SQL["poison_run"], {"id": run_id, "worker": worker_id, "now": now, "error": error})
                self._tell(db, run_id)
                self._settle(db, run_id, now, "failed")
            self._remove_worker(db, worker_id)
        return released - len(fatal)

    async def unregister(self, worker_id: int) -> None:
        with self._transaction() as db:
            self._remove_worker(db, worker_id)

    def _remove_worker(self, db: Database, worker_id: int) -> None:
        for name in ("remove_worker_tasks", "remove_worker_mail", "remove_worker_watches", "remove_worker"):
            db.execute(_SQL[name], {"worker": worker_id})

    def _tell(self, db: Database, run_id: bytes) -> None:
        db.execute(_SQL["mail_ended_run"], {"id": run_id})
        db.execute(_SQL["forget_watch"], {"id": run_id})

    async def workers(self) -> list[WorkerRecord]:
        return await self._read(reading.workers)

    async def tasks(self) -> list[TaskInfo]:
        return await self._read(reading.tasks)

    async def served(self, worker_id: int, task: str) -> bool:
        with translated(self.path):
            return bool(self._one("serving", task=task, me=worker_id, now=self._instant()))

    # --- timers ----------------------------------------------------------------------------------------------------

    async def tick(self) -> int | None:
        with translated(self.path):
            due = self._one("next_due")
        if due is None or due > self._instant():
            return due
        with self._transaction() as db:
            now = self._instant()
            db.execute(_SQL["promote_due"], {"now": now})
            for row in self._rows("expired_runs", now=now):
                run_id, task, deadline, deadline_by, schedule_timeout, expires_at, _parent = row
                by_deadline = deadline is not None and deadline <= expires_at
                failure = expired(task, run_id, deadline_by if by_deadline else None, schedule_timeout)
                db.execute(_SQL["expire_run"], {"id": run_id, "now": now, "error": encode_failure(failure)})
                self._tell(db, run_id)
                self._settle(db, run_id, now, "timed out")
            return self._one("next_due")

    def _settle(self, db: Database, run_id: bytes, now: int, how: str) -> None:
        which = {"parent": run_id, "all": 1, "attempt": 0}
        db.execute(_SQL["settle_mail"], which)
        error = encode_failure(Failure("cancelled", message=f"its ancestor {id_text(run_id)} {how}"))
        db.execute(_SQL["settle_runs"], {**which, "now": now, "error": error})

    # --- what people ask for ---------------------------------------------------------------------------------------

    async def cancel(self, run_id: bytes, reason: str) -> int:
        below = f"its ancestor {id_text(run_id)} was cancelled: {reason}"
        with self._transaction() as db:
            self._must_exist(run_id)
            db.execute(_SQL["cancel_mail"], {"id": run_id})
            db.execute(_SQL["cancel_watches"], {"id": run_id})
            error = encode_failure(Failure("cancelled", message=reason))
            error_below = encode_failure(Failure("cancelled", message=below))
            bindings = {"id": run_id, "now": self._instant(), "error": error, "error_below": error_below}
            db.execute(_SQL["cancel_runs"], bindings)
            return db.changes()

    async def replay(self, run_id: bytes, allow: Iterable[RunState]) -> bool:
        with self._transaction() as db:
            self._must_exist(run_id)
            state = RunState(self._one_in(db, "get_state", id=run_id))
            if state not in allow or state not in TERMINAL:
                return False
            db.execute(_SQL["replay_run"], {"id": run_id, "now": self._instant()})
            return True

    def _must_exist(self, run_id: bytes) -> None:
        if self._one("get_state", id=run_id) is None:
            raise RunNotFoundError(f"There is no run {id_text(run_id)} in {self.url}")

    async def get(self, run_id: bytes) -> RunRecord:
        record = await self._read(lambda db: reading.run(db, run_id))
        if record is None:
            raise RunNotFoundError(f"There is no run {id_text(run_id)} in {self.url}")
        return record

    async def find(self, prefix: str) -> bytes:
        return await self._read(lambda db: reading.find(db, prefix, self.url))

    async def roots(self, filter_: RunFilter) -> list[RunRecord]:
        return await self._read(lambda db: reading.roots(db, filter_))

    async def children(
        self,
        parent_id: bytes,
        *,
        task: str | None = None,
        state: RunState | None = None,
        after: bytes = b"",
        limit: int = 1000,
    ) -> list[RunRecord]:
        about = {"parent": parent_id, "task": task, "state": state, "after": after, "limit": limit}
        return await self._read(lambda db: reading.children(db, about))

    async def identities(self, parent_id: bytes) -> dict[bytes, bytes]:
        return await self._read(lambda db: dict(db.execute(_SQL["child_identities"], {"parent": parent_id}).fetchall()))

    async def child_counts(self, parent_id: bytes) -> list[TaskCount]:
        return await self._read(lambda db: reading.counts(db, "child_counts", {"parent": parent_id}))

    async def tree_counts(self, run_id: bytes) -> list[TaskCount]:
        return await self._read(lambda db: reading.counts(db, "tree_counts", {"id": run_id}))

    async def tree_slowest(self, run_id: bytes, task: str | None, limit: int) -> list[TreeRun]:
        return await self._read(lambda db: reading.slowest(db, run_id, task, limit))

    async def tree_failures(self, run_id: bytes, task: str | None, limit: int) -> list[TreeRun]:
        return await self._read(lambda db: reading.failures(db, run_id, task, limit))

    async def logs(self, run_id: bytes, after: int = -1, limit: int = 1000) -> list[LogRecord]:
        return await self._read(lambda db: reading.logs(db, run_id, after, limit))

    async def report(self) -> StoreReport:
        return await self._read(lambda db: reading.report(db, self.path, self.url, self._instant()))

    # --- looking after it ------------------------------------------------------------------------------------------

    async def prune(self, before: int, limit: int, cursor: PruneCursor = START, namespace: str = "") -> Pruned:
        ids, further = await self._read(lambda db: upkeep.find(db, before, limit, cursor, namespace))
        if not ids:
            return Pruned(0, further)
        with self._transaction() as db:
            deleted = upkeep.delete(db, ids)
        return Pruned(deleted, further if deleted else None)

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

    # --- within ----------------------------------------------------------------------------------------------------

    def _rows(self, name: str, **bindings: Any) -> list[Any]:
        assert self._connection is not None
        return self._connection.execute(_SQL[name], bindings).fetchall()

    def _one(self, name: str, **bindings: Any) -> Any:
        assert self._connection is not None
        return self._one_in(self._connection, name, **bindings)

    @staticmethod
    def _one_in(db: Database, name: str, **bindings: Any) -> Any:
        return db.execute(_SQL[name], bindings).get

    async def _read(self, query: Callable[[Database], T]) -> T:
        def read() -> T:
            with translated(self.path):
                if self._reader is None:
                    self._reader = connect(self.path, read_only=True)
                return query(self._reader)

        return await asyncio.get_running_loop().run_in_executor(self._reader_thread, read)
