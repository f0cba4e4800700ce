"""Fanwood's store in a PostgreSQL database, for any number of processes on any number of machines.

Commits are one call of one function each (`hot.py`, `migrations/0005_commit.sql`); what is cold is the common SQL in
short transactions. The server's clock is the store's.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from fanwood.clock import SystemClock
from fanwood.errors import RunNotFoundError, SettingsError, StoreBusyError, StoreUnavailableError
from fanwood.ids import id_text
from fanwood.model.commands import TaskInfo
from fanwood.model.records import LogRecord, Peer, WorkerRecord
from fanwood.model.states import TERMINAL, RunState
from fanwood.store import rows
from fanwood.store.postgres import reading, schema, upkeep
from fanwood.store.postgres.chores import Chores
from fanwood.store.postgres.connection import Address, Link
from fanwood.store.postgres.hot import PARAMETERS, Call, decode_answer
from fanwood.store.postgres.troubles import translated
from fanwood.store.postgres.wakeups import Wakeups
from fanwood.store.statements import load
from fanwood.store.store import START, Store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

    from fanwood.clock import Clock
    from fanwood.model.commands import Batch, Committed, WorkerInfo
    from fanwood.model.records import (
        PruneCount,
        PruneCursor,
        Pruned,
        RunFilter,
        RunRecord,
        StoreReport,
        TaskCount,
        TreeRun,
    )
    from fanwood.store.postgres.connection import Transaction

_SQL = load("sql/lifecycle.sql", "sql/workers.sql", "sql/reading.sql", "postgres/chores.sql")
LETTERS_AT_A_TIME, LARGE_ANSWER = 20, 8_000_000  # see `read_mail`
_ARGUMENTS = ", ".join(f"${number}" for number in range(1, PARAMETERS + 1))
OPENING_SECONDS = 10.0
"""How long to wait for a server that is just starting, when a process begins."""
REFUSED_SECONDS = 2.0
"""... and for one whose port nobody listens at: a restart takes about as long."""
OPENING_PAUSE = 0.25
CROSSWISE = 5
"""How often to try a cancellation that meets others crosswise."""


class PostgresStore(Store):
    """One schema of a PostgreSQL database. `notify`: tell others of changes at once, and listen to them."""

    embedded = False

    def __init__(
        self,
        address: Address,
        clock: Clock,
        *,
        notify: bool = True,
        listen_at: Address | None = None,
        create: bool = True,
    ) -> None:
        self.url = address.shown
        self._address = address
        self._clock = clock
        self._servers_clock = isinstance(clock, SystemClock)  # a clock that somebody moves by hand is the store's own
        self._notify = notify
        self._create = create
        listens = notify and (listen_at is not None or not address.pooled)
        self._wakeups = Wakeups(address.schema, listens=listens)
        self._hot = Link(address, "hot")
        self._side = Link(listen_at or address, "side", on_connect=self._wakeups.listen)
        self._reader = Link(address, "reader", patience=None)
        self._wakeups.own_pid = lambda: self._hot.pid
        self._commit_sql = f'select "{address.schema}".commit_batch({_ARGUMENTS})'
        self._seqs: dict[int, int] = {}  # from worker to the number of its last commit
        self._unanswered: Batch | None = None  # it was sent, and may have been done
        self._read: list[int] = []  # letters that were read, and are to be taken away
        self._on_hint: Callable[[], None] = _nothing
        self._offset = 0.0  # of the server's clock, in seconds, from our monotonic one
        self._synchronised = False

    # --- its life --------------------------------------------------------------------------------------------------

    async def open(self, on_hint: Callable[[], None]) -> None:
        self._on_hint = on_hint
        try:
            await self._open()
        except BaseException:
            await self.close()
            raise
        self._wakeups.start(on_hint, self._side)

    async def _open(self) -> None:
        begin = asyncio.get_running_loop().time()
        while True:
            try:
                async with self._side.use() as connection:
                    await schema.check(connection, self._address, create=self._create)
                break
            except StoreUnavailableError as error:
                if not _is_worth_waiting_for(error, asyncio.get_running_loop().time() - begin):
                    raise
            await asyncio.sleep(OPENING_PAUSE)
        async with self._side.transaction() as db:
            await self._synchronise(db)
            made = await db.rows("made", _SQL["made"])
        if self._side.address is not self._address:
            async with self._hot.transaction() as db:
                if await db.rows("made", _SQL["made"]) != made:
                    raise SettingsError(
                        f"The listen_url {self._side.address.shown} leads to another database than {self.url}. It must "
                        f"be the same one, without the pooler between."
                    )

    async def migrate(self, *, dry_run: bool = False) -> list[str]:
        connection = await self._address.connect("migrate")
        try:
            with translated(self.url):
                if dry_run:
                    taken = await schema.pending(connection, self._address)
                else:
                    taken = await schema.migrate(connection, self._address)
        finally:
            await connection.close(timeout=1.0)
        return [step.name for step in taken]

    async def close(self) -> None:
        self._wakeups.stop()
        for link in (self._hot, self._side, self._reader):
            await link.close()

    # --- time ------------------------------------------------------------------------------------------------------

    def now(self) -> int:
        if not self._servers_clock or not self._synchronised:
            return self._clock.now()
        return round((self._clock.monotonic() + self._offset) * 1e6)

    async def _synchronise(self, db: Transaction) -> None:
        """Learn the server's time: it is that of the middle of the question."""
        before = self._clock.monotonic()
        ((there,),) = await db.rows("server_time", _SQL["server_time"])
        self._offset = there / 1e6 - (before + self._clock.monotonic()) / 2
        self._synchronised = True

    async def _instant(self, db: Transaction) -> int:
        if not self._servers_clock:
            return self._clock.now()
        ((now,),) = await db.rows("server_time", _SQL["server_time"])
        return now

    # --- the hot verb ----------------------------------------------------------------------------------------------

    async def commit(self, worker_id: int, batch: Batch) -> Committed:
        self._wakeups.worker_id = worker_id
        call = Call(batch)
        again, self._unanswered = self._unanswered is batch, batch
        while True:
            seq = self._seqs.get(worker_id, 0) + 1
            text = await self._ask(call.arguments(
                worker_id, seq, None if self._servers_clock else self._clock.now(),
                again=again, notify=self._notify, read=self._read,
            ))  # fmt: skip
            answer = decode_answer(text)
            if answer.used is not None:
                break
            self._seqs[worker_id] = int(answer.registered)  # another instance has committed under this worker
            again = False
        self._unanswered = None
        if not answer.used:
            return call.committed(worker_id, answer)
        self._seqs[worker_id] = seq
        self._read = list({letter[0] for letter in answer.letters})
        if len(self._read) >= LETTERS_AT_A_TIME or len(text) > LARGE_ANSWER:
            self._on_hint()  # there may be more
        self._wakeups.note_activity()
        return call.committed(worker_id, answer)

    async def _ask(self, arguments: tuple[Any, ...]) -> str:
        if self._address.pooled:  # prepare and execute must meet one and the same connection
            async with self._hot.transaction() as db:
                return await db.value(self._commit_sql, *arguments)
        async with self._hot.use() as connection:
            return await connection.fetchval(self._commit_sql, *arguments)

    # --- engines and leases ----------------------------------------------------------------------------------------

    async def register(self, info: WorkerInfo, tasks: Sequence[TaskInfo]) -> int:
        about = {"name": info.name, "host": info.host, "pid": info.pid, "slots": info.slots, "lease": info.lease}
        async with self._side.transaction() as db:
            now = await self._instant(db)
            ((worker_id,),) = await db.rows("register_worker", _SQL["register_worker"], **about, now=now)
            await self._publish(db, worker_id, info.tasks, tasks, now)
        self._wakeups.worker_id = worker_id
        self._wakeups.tasks = frozenset(info.tasks if info.slots else ())
        return worker_id

    async def publish(self, worker_id: int, tasks: Sequence[TaskInfo]) -> None:
        names = [task.name for task in tasks]
        async with self._side.transaction() as db:
            await self._publish(db, worker_id, names, tasks, await self._instant(db))
        self._wakeups.tasks = (self._wakeups.tasks or frozenset()) | frozenset(names)

    async def _publish(
        self, db: Transaction, worker_id: int, serves: Sequence[str], tasks: Sequence[TaskInfo], now: int
    ) -> None:
        for name in sorted(serves):  # in order, as others may be publishing the same
            await db.rows("register_worker_task", _SQL["register_worker_task"], task=name, worker_id=worker_id)
        for task in sorted(tasks, key=lambda task: task.name):
            await db.rows("publish_task", _SQL["publish_task"], **rows.task_bindings(task), now=now)

    async def renew(self, worker_id: int) -> bool:
        try:
            return await self._renew(worker_id)
        except StoreUnavailableError:
            self._reader.lose()  # it may be waiting for an answer that never comes
            raise

    async def _renew(self, worker_id: int) -> bool:
        async with self._side.transaction() as db:
            await self._synchronise(db)
            now = await self._instant(db)
            if not await db.rows("renew_lease", _SQL["renew_lease"], id=worker_id, now=now):
                return False
            if self._read:  # and nothing has been committed since; after the worker's row, as commits do it
                await db.value("select take_away($1, $2)", worker_id, self._read)
            # A server that forgot commits (an earlier state was restored, a standby that lagged was promoted) may have
            # runs under this worker that it has long ended, and never looks at again.
            ((seq,),) = await db.rows("last_commit", _SQL["last_commit"], worker=worker_id)
            return seq >= self._seqs.get(worker_id, 0)

    async def peers(self, worker_id: int, host: str | None = None) -> list[Peer]:
        async with self._side.transaction() as db:
            now = await self._instant(db)
            return [Peer(*row) for row in await db.rows("peers", _SQL["peers"], me=worker_id, host=host, now=now)]

    async def rivals(self, worker_id: int) -> frozenset[str]:
        async with self._side.transaction() as db:
            found = await db.rows("rivals", _SQL["rivals"], me=worker_id, now=await self._instant(db))
        return frozenset(row[0] for row in found)

    async def bury(self, worker_id: int, deaths_limit: int, *, if_lapsed: bool = False) -> int:
        async with self._chores(self._side) as chores:
            return await chores.bury(worker_id, deaths_limit, if_lapsed=if_lapsed)

    async def unregister(self, worker_id: int) -> None:
        async with self._chores(self._side) as chores:
            await chores.remove_worker(worker_id)

    async def workers(self) -> list[WorkerRecord]:
        return [WorkerRecord(*row) for row in await self._rows("workers")]

    async def tasks(self) -> list[TaskInfo]:
        return [TaskInfo(*row) for row in await self._rows("known_tasks")]

    async def served(self, worker_id: int, task: str) -> bool:
        async with self._side.transaction() as db:
            now = await self._instant(db)
            ((served,),) = await db.rows("serving", _SQL["serving"], task=task, me=worker_id, now=now)
        return bool(served)

    # --- timers ----------------------------------------------------------------------------------------------------

    async def tick(self) -> int | None:
        async with self._chores(self._side) as chores:
            due = await chores.next_due()
            if due is None or due > self.now():
                return due
            return await chores.fire()

    # --- what people ask for ---------------------------------------------------------------------------------------

    async def cancel(self, run_id: bytes, reason: str) -> int:
        for _ in range(CROSSWISE - 1):  # a large tree, in which others commit
            with suppress(StoreBusyError):
                return await self._cancel(run_id, reason)
        return await self._cancel(run_id, reason)

    async def _cancel(self, run_id: bytes, reason: str) -> int:
        async with self._chores(self._reader) as chores:
            await self._state(chores.db, run_id)
            return await chores.cancel(run_id, reason)

    async def replay(self, run_id: bytes, allow: Iterable[RunState]) -> bool:
        async with self._chores(self._reader) as chores:
            state = await self._state(chores.db, run_id)
            return state in allow and state in TERMINAL and await chores.replay(run_id)

    async def _state(self, db: Transaction, run_id: bytes) -> RunState:
        found = await db.rows("get_state", _SQL["get_state"], id=run_id)
        if not found:
            raise RunNotFoundError(f"There is no run {id_text(run_id)} in {self.url}")
        return RunState(found[0][0])

    async def get(self, run_id: bytes) -> RunRecord:
        found = await self._rows("get_run", id=run_id)
        if not found:
            raise RunNotFoundError(f"There is no run {id_text(run_id)} in {self.url}")
        return rows.record(found[0])

    async def find(self, prefix: str) -> bytes:
        return rows.the_one(await self._rows("runs_from", **rows.id_range(prefix)), prefix, self.url)

    async def roots(self, filter_: RunFilter) -> list[RunRecord]:
        return [rows.record(row) for row in await self._rows("list_roots", **rows.roots_bindings(filter_))]

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
        return [rows.record(row) for row in await self._rows("list_children", **about)]

    async def identities(self, parent_id: bytes) -> dict[bytes, bytes]:
        return {row[0]: row[1] for row in await self._rows("child_identities", parent=parent_id)}

    async def child_counts(self, parent_id: bytes) -> list[TaskCount]:
        return rows.counts(await self._rows("child_counts", parent=parent_id))

    async def tree_counts(self, run_id: bytes) -> list[TaskCount]:
        return rows.counts(await self._rows("tree_counts", id=run_id))

    async def tree_slowest(self, run_id: bytes, task: str | None, limit: int) -> list[TreeRun]:
        return rows.slowest(await self._rows("tree_slowest", id=run_id, task=task, limit=limit))

    async def tree_failures(self, run_id: bytes, task: str | None, limit: int) -> list[TreeRun]:
        return rows.failures(await self._rows("tree_failures", id=run_id, task=task, limit=limit))

    async def logs(self, run_id: bytes, after: int = -1, limit: int = 1000) -> list[LogRecord]:
        return [LogRecord(*row) for row in await self._rows("logs", id=run_id, after=after, limit=limit)]

    async def report(self) -> StoreReport:
        async with self._reader.transaction() as db:
            return await reading.report(db, self._address, await self._instant(db))

    # --- looking after it ------------------------------------------------------------------------------------------

    async def prune(self, before: int, limit: int, cursor: PruneCursor = START, namespace: str = "") -> Pruned:
        async with self._reader.transaction() as db:
            return await upkeep.prune(db, before, limit, cursor, namespace)

    async def tidy(self) -> None:
        async with self._reader.use() as connection:
            await upkeep.tidy(connection, self._address.schema)

    async def prunable(self, before: int, namespace: str = "") -> PruneCount:
        async with self._reader.transaction() as db:
            return await upkeep.prunable(db, before, namespace)

    async def copy_out(self, table: str, after: tuple[Any, ...], limit: int) -> list[tuple[Any, ...]]:
        async with self._reader.transaction() as db:
            return await upkeep.copy_out(db, table, after, limit)

    async def copy_in(self, table: str, rows: Sequence[tuple[Any, ...]]) -> int:
        async with self._reader.transaction() as db:
            return await upkeep.copy_in(db, table, rows)

    async def count(self, table: str) -> int:
        async with self._reader.transaction() as db:
            return await upkeep.count(db, table)

    # --- within ----------------------------------------------------------------------------------------------------

    async def _rows(self, name: str, /, **bindings: Any) -> list[Any]:
        async with self._reader.transaction() as db:
            return await db.rows(name, _SQL[name], **bindings)

    @asynccontextmanager
    async def _chores(self, link: Link) -> AsyncGenerator[Chores, None]:
        async with link.transaction() as db:
            chores = Chores(db, await self._instant(db))
            yield chores
            if self._notify:
                await chores.notify()


def _nothing() -> None:
    pass


def _is_worth_waiting_for(error: StoreUnavailableError, waited: float) -> bool:
    """Somebody is there, but isn't ready; or nobody is, but he may be back in a moment."""
    cause = error.__cause__
    if getattr(cause, "sqlstate", "") in {"57P03", "57P01", "57P02", "53300"}:
        return waited < OPENING_SECONDS
    return isinstance(cause, ConnectionError) and waited < REFUSED_SECONDS
