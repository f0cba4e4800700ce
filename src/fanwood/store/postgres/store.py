"""Fanwood's store in a PostgreSQL database, for any number of processes on any number of machines.

Commits are one call of one function each (`hot.py`, `functions/09_commit.sql`; `steps.py`), and so are the renewal of a
lease and a look around; what else there is are short transactions. The server's clock is the store's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.clock import SystemClock
from fanwood.errors import RunNotFoundError, SettingsError, StoreUnavailableError
from fanwood.ids import id_text
from fanwood.model.commands import FIRST_CHUNK, Committed, TaskInfo
from fanwood.model.records import Around, AttemptRecord, LeftOver, LogRecord, OtherWorker, Unserved, WorkerRecord
from fanwood.store import finding, rows, telling, why
from fanwood.store.children import children
from fanwood.store.looked import SqlLooks
from fanwood.store.postgres import chores, gates, reading, schema, steps, upkeep
from fanwood.store.postgres.byhand import PostgresByHand
from fanwood.store.postgres.connection import Address, Link
from fanwood.store.postgres.hot import PARAMETERS, Call, decode_answer
from fanwood.store.postgres.keeping import PostgresKeeping
from fanwood.store.postgres.outside import PostgresOutside
from fanwood.store.postgres.troubles import is_worth_waiting_for, translated
from fanwood.store.postgres.wakeups import Wakeups
from fanwood.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fanwood.clock import Clock
    from fanwood.model.commands import Batch, WorkerInfo
    from fanwood.model.records import (
        Audited,
        Circumstances,
        Few,
        Known,
        Page,
        Recorded,
        RunFilter,
        RunRecord,
        StoreReport,
        TaskCount,
        TreeRun,
        Walk,
    )
    from fanwood.model.states import RunState
    from fanwood.store.postgres.connection import Transaction
    from fanwood.store.store import Place

OPENING_PAUSE = 0.25
OF_A_LEASE = 0.8
"""A commit, and a renewal, may take so much of a lease and no more."""
TIDY_SECONDS = 5.0  # how often to look whether it is time to vacuum, at most

_decode_renewed = msgspec.json.Decoder(tuple[int, bool, int]).decode
_decode_around = msgspec.json.Decoder(tuple[list[tuple[int, str, str, int, int]], int | None, bool, int]).decode


class PostgresStore(PostgresOutside, PostgresByHand, PostgresKeeping, SqlLooks, Store):
    """One schema of a PostgreSQL database. `notify`: tell others of changes at once, and listen to them. `lease`: that
    of the engine whose store it is, in seconds. `looks`: it only looks, and no statement takes more seconds."""

    embedded = False

    def __init__(
        self,
        address: Address,
        clock: Clock,
        *,
        notify: bool = True,
        listen_at: Address | None = None,
        create: bool = True,
        lease: float = 10.0,
        looks: float | None = None,
    ) -> None:
        super().__init__()
        self.url = address.shown
        self.lease = lease
        self.places = chores.Places()
        self._address = address
        self._clock = clock
        self._servers_clock = isinstance(clock, SystemClock)  # a clock that somebody moves by hand is the store's own
        self.notifies = notify
        self._create = create
        listens = notify and (listen_at is not None or not address.pooled)
        self._wakeups = Wakeups(address.schema, listens=listens)
        patience = lease * OF_A_LEASE
        self._hot = Link(address, "hot", patience=patience, timeout=patience, on_connect=address.for_commits)
        self._beat = Link(listen_at or address, "beat", patience=patience, on_connect=self._wakeups.listen)
        self.side = Link(address, "side")
        self._reader = Link(address, "reader", patience=None, timeout=looks or 0.0, on_connect=address.enter)
        self._wakeups.own_pid = lambda: self._hot.pid
        self._commit_sql = address.function("commit", PARAMETERS)
        self._steps_sql = address.function("commit_steps", steps.PARAMETERS)
        self._renew_sql = address.function("renew", 2)
        self._around_sql = address.function("look_around", 3)
        self._seqs: dict[int, int] = {}  # from worker to the number of its last commit
        self._unanswered: Batch | None = None  # it was sent, and may have been done
        self._read: list[int] = []  # letters that were read, and are to be taken away
        self._offset = 0.0  # of the server's clock, in seconds, from our monotonic one
        self._synchronised, self._tidied = False, float("-inf")

    # --- its life --------------------------------------------------------------------------------------------------

    async def open(self, on_notify: Callable[[], None]) -> None:
        try:
            await self._open()
        except BaseException:
            await self.close()
            raise
        self._wakeups.on_notify = on_notify

    async def watch(self) -> None:
        await self._wakeups.run(self._beat)

    async def attend(self) -> None:
        await self._wakeups.attend(self._beat)

    async def hush(self) -> None:
        await self._wakeups.hush(self._beat)

    async def _open(self) -> None:
        begin = asyncio.get_running_loop().time()
        while True:
            try:
                made = await self._meet()
                break
            except StoreUnavailableError as error:
                if not is_worth_waiting_for(error, asyncio.get_running_loop().time() - begin):
                    raise
            await asyncio.sleep(OPENING_PAUSE)
        if self._beat.address is not self._address:
            async with self._beat.transaction() as db:
                if await db.value("select to_regclass('schema_migration')::text") is None or made != (
                    await db.rows("made", chores.SQL["made"])
                ):
                    raise SettingsError(
                        f"The listen_url {self._beat.address.shown} leads to another database than {self.url}. It must "
                        f"be the same one, without the pooler between."
                    )

    async def _meet(self) -> list[Any]:
        """Look at the schema, and learn the time; by what this database is told from others."""
        async with self.side.use() as connection:
            await schema.check(connection, self._address, create=self._create)
        async with self.side.transaction() as db:
            before = self._clock.monotonic()
            self._synchronise(before, await db.value("select fw_micros()"))
            return await db.rows("made", chores.SQL["made"])

    async def migrate(self, *, dry_run: bool = False) -> list[str]:
        connection = await self._address.connect("migrate")
        try:
            with translated(self.url):
                if dry_run:
                    return await schema.pending(connection, self._address)
                return await schema.migrate(connection, self._address)
        finally:
            await connection.close(timeout=1.0)

    async def close(self) -> None:
        self._wakeups.on_notify = None
        for link in (self._hot, self._beat, self.side, self._reader):
            await link.close()

    # --- time ------------------------------------------------------------------------------------------------------

    def now(self) -> int:
        if not self._servers_clock or not self._synchronised:
            return self._clock.now()
        return round((self._clock.monotonic() + self._offset) * 1e6)

    def _synchronise(self, before: float, there: int) -> None:
        """Learn the server's time: it is that of the middle of the question."""
        self._offset = there / 1e6 - (before + self._clock.monotonic()) / 2
        self._synchronised = True

    async def moment(self) -> int:
        async with self._reader.transaction() as db:
            return await self.instant(db)

    async def instant(self, db: Transaction) -> int:
        """The present, for a transaction."""
        return await db.value("select fw_micros()") if self._servers_clock else self._clock.now()

    @property
    def given_now(self) -> int | None:
        """The present, where the server's clock is not the store's."""
        return None if self._servers_clock else self._clock.now()

    # --- the hot verb ----------------------------------------------------------------------------------------------

    async def commit(self, worker_id: int, batch: Batch) -> Committed:
        self._wakeups.worker_id = worker_id
        again, self._unanswered = self._unanswered is batch, batch
        if not again and not self._read and await self._commit_steps(worker_id, batch):
            return Committed()
        call = Call(batch)
        while True:
            seq = self._seqs.get(worker_id, 0) + 1
            given = call.arguments(worker_id, seq, self.given_now, again=again, notify=self.notifies, read=self._read)
            answer = decode_answer(await self._ask(given))
            if answer.used is not None:
                break
            self._seqs[worker_id] = int(answer.registered)  # another instance has committed under this worker
            again = False
        self._unanswered = None
        if not answer.used:
            return call.committed(worker_id, answer)
        self._seqs[worker_id] = seq
        self._read = list({letter[0] for letter in answer.letters})
        self._wakeups.note_activity()
        return call.committed(worker_id, answer)

    async def _commit_steps(self, worker_id: int, batch: Batch) -> bool:
        """Whether there was a shorter way, and it was gone."""
        seq = self._seqs.get(worker_id, 0) + 1
        given = steps.arguments(worker_id, seq, self.given_now, batch)
        if given is None or not await self._value(self._hot, self._steps_sql, *given):
            return False
        self._seqs[worker_id], self._unanswered = seq, None
        self._wakeups.note_activity()
        return True

    async def _ask(self, arguments: tuple[Any, ...]) -> str:
        return await self._value(self._hot, self._commit_sql, *arguments)

    async def _value(self, link: Link, sql: str, *arguments: Any) -> Any:
        """What one statement says, which is a transaction of its own."""
        return await link.ask(sql, *arguments)

    async def fail_unreadable(self, tasks: str) -> int:
        return await chores.fail_unreadable(self, msgspec.json.decode(tasks, type=list[str]))

    # --- engines and leases ----------------------------------------------------------------------------------------

    async def register(self, info: WorkerInfo, tasks: Sequence[TaskInfo]) -> int:
        about = {"name": info.name, "host": info.host, "pid": info.pid, "slots": info.slots, "lease": info.lease}
        about |= {"programs": list(info.programs)}
        async with self.side.transaction() as db:
            now = await self.instant(db)
            ((worker_id,),) = await db.rows("register_worker", chores.SQL["register_worker"], **about, now=now)
            await self._publish(db, worker_id, info.tasks, tasks, now)
            await db.rows("register_lease", chores.SQL["register_lease"], worker=worker_id, now=now, lease=info.lease)
            await db.call("fw_count_members")
            await db.call("fw_admit")  # last: who tells all workers something waits for no more than the commit
        self._wakeups.worker_id = worker_id
        self._wakeups.tasks = frozenset(info.tasks if info.slots else ())
        return worker_id

    async def publish(self, worker_id: int, tasks: Sequence[TaskInfo]) -> None:
        names = [task.name for task in tasks]
        async with self.side.transaction() as db:
            await self._publish(db, worker_id, names, tasks, await self.instant(db))
            await db.call("fw_count_members")
        self._wakeups.tasks = (self._wakeups.tasks or frozenset()) | frozenset(names)

    async def _publish(
        self, db: Transaction, worker_id: int, serves: Sequence[str], tasks: Sequence[TaskInfo], now: int
    ) -> None:
        sql = chores.SQL
        for name in sorted(serves):  # in order, as others may be publishing the same
            await db.rows("register_worker_task", sql["register_worker_task"], task=name, worker_id=worker_id)
        for task in sorted(tasks, key=lambda task: task.name):
            await db.rows("publish_task", sql["publish_task"], **rows.task_bindings(task), now=now)

    async def renew(self, worker_id: int) -> bool:
        before, committed = self._clock.monotonic(), self._seqs.get(worker_id, 0)  # (commits go on meanwhile)
        try:
            answer = await self._value(self._beat, self._renew_sql, worker_id, self.given_now)
        except StoreUnavailableError:
            self._reader.lose()  # it may be waiting for an answer that never comes
            raise
        now, there, seq = _decode_renewed(answer)
        self._synchronise(before, now)
        # A server that forgot commits (an earlier state was restored, a standby that lagged was promoted) may have
        # runs under this worker that it has long ended, and never looks at again.
        return there and seq >= committed

    async def look_around(self, worker_id: int, host: str) -> Around:
        answer = await self._value(self.side, self._around_sql, worker_id, host, self.given_now)
        others, due, closed, members = _decode_around(answer)
        return Around([OtherWorker(*other) for other in others], due, closed, members=members)

    async def contended(self, worker_id: int) -> frozenset[str]:
        async with self.side.transaction() as db:
            now = await self.instant(db)
            return frozenset(
                row[0] for row in await db.rows("contended", chores.SQL["contended"], me=worker_id, now=now)
            )

    async def reap(self, worker_id: int, deaths_limit: int, *, if_lapsed: bool = False) -> int:
        return await chores.reap(self, worker_id, deaths_limit, if_lapsed=if_lapsed)

    async def unregister(self, worker_id: int) -> None:
        async with self.side.transaction() as db:
            await db.call("fw_remove_worker", worker_id)
            await db.call("fw_count_members")

    async def workers(self) -> list[WorkerRecord]:
        return [WorkerRecord(*row) for row in await self.looked("workers")]

    async def tasks(self) -> list[TaskInfo]:
        return [TaskInfo(*row) for row in await self.looked("known_tasks")]

    async def served(self, worker_id: int, task: str) -> bool:
        async with self.side.transaction() as db:
            now = await self.instant(db)
            ((served,),) = await db.rows("serving", chores.SQL["serving"], task=task, me=worker_id, now=now)
        return bool(served)

    async def left_over(self, tasks: Sequence[str], programs: Sequence[int], limit: int) -> list[LeftOver]:
        about = {"tasks": list(tasks), "programs": list(programs), "limit": limit}
        return [LeftOver(*row, more=row[1] >= limit) for row in await self.looked("left_over", **about)]

    async def unserved(self) -> list[Unserved]:
        async with self._reader.transaction() as db:
            return [
                Unserved(*row) for row in await db.rows("unserved", reading.SQL["unserved"], now=await self.instant(db))
            ]

    # --- timers ----------------------------------------------------------------------------------------------------

    async def tick(self) -> int | None:
        return await chores.tick(self)

    async def deadlines(self, run_ids: Sequence[bytes]) -> dict[bytes, int]:
        async with self.side.transaction() as db:
            return {id_: deadline for id_, _, deadline in await db.call("fw_deadlines", list(run_ids))}

    # --- what people ask for ---------------------------------------------------------------------------------------

    async def cancel(self, run_id: bytes, reason: str, attempt: int | None = None) -> bool:
        return await gates.cancel(self, run_id, reason, attempt)

    async def cancel_children(self, parent_id: bytes, attempt: int, ids: Sequence[bytes], reason: str) -> int:
        return await gates.cancel_children(self, parent_id, attempt, ids, reason)

    async def is_heard(self, *ids: bytes) -> bool:
        about = "select coalesce(bool_and(fw_is_heard(v.id, $2)), true) from unnest($1::bytea[]) v (id)"
        async with self.side.transaction() as db:
            return await db.value(about, list(ids), await self.instant(db))

    async def replay(self, run_id: bytes, allow: Iterable[RunState]) -> bool:
        return await gates.replay(self, run_id, allow)

    async def get(self, run_id: bytes) -> RunRecord:
        async with self._reader.transaction() as db:
            found = await reading.get(db, run_id)
        if found is None:
            raise RunNotFoundError(f"There is no run {id_text(run_id)} in {self.url}")
        return found

    async def circumstances(self, run_id: bytes) -> Circumstances:
        async with self._reader.transaction() as db:
            now = await self.instant(db)
        return await why.circumstances(self.looked, await self.get(run_id), now)

    async def find(self, digits: str, limit: int = 2) -> list[bytes]:
        return await finding.find(self.looked, digits, limit, self._ends)

    async def previews(self, ids: Sequence[bytes], length: int) -> list[str]:
        found = dict(await self.looked("previews", ids=list(ids), length=length))
        return [found.get(id_, "") for id_ in ids]

    async def listing(self, filter_: RunFilter) -> Page:
        async with self._reader.transaction() as db:
            return await reading.listing(db, filter_)

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
        return rows.recalled(await self.looked("recalled", parent=parent_id, after=after, limit=limit, most=most))

    async def recorded(self, parent_id: bytes, after: bytes = b"", limit: int = 1000) -> list[Recorded]:
        return rows.recorded(await self.looked("recorded", parent=parent_id, after=after, limit=limit))

    async def recorded_few(self, parents: Sequence[tuple[bytes, bytes]], limit: int, most: int) -> list[Few]:
        return await reading.recorded_few(self.looked, parents, limit, most)

    async def child_counts(self, parent_id: bytes) -> list[TaskCount]:
        return rows.counts(await self.looked("child_counts", parent=parent_id))

    async def tree_counts(self, run_id: bytes) -> list[TaskCount]:
        async with self._reader.transaction() as db:
            return await reading.tree_counts(db, run_id)

    async def tree_slowest(self, run_id: bytes, task: str | None, limit: int) -> list[TreeRun]:
        async with self._reader.transaction() as db:
            return await reading.slowest(db, run_id, task, limit)

    async def tree_failures(self, run_id: bytes, task: str | None, limit: int) -> list[TreeRun]:
        async with self._reader.transaction() as db:
            return await reading.failures(db, run_id, task, limit)

    async def logs(self, run_id: bytes, after: int = -1, limit: int = 1000, stop: int = FIRST_CHUNK) -> list[LogRecord]:
        return [LogRecord(*row) for row in await self.looked("logs", id=run_id, after=after, limit=limit, until=stop)]

    async def attempts(self, run_id: bytes) -> list[AttemptRecord]:
        return rows.attempts(await self.looked("attempts", id=run_id))

    async def log_end(self, run_id: bytes) -> int:
        ((last,),) = await self.looked("log_end", id=run_id, until=FIRST_CHUNK)
        return -1 if last is None else last

    async def report(self, *, full: bool = False) -> StoreReport:
        async with self._reader.transaction() as db:
            return await reading.report(db, self._address, await self.instant(db), full=full)

    async def audit(self, walk: Walk, after: Place, limit: int) -> list[Audited]:
        return rows.audited(await self.looked("audit", **rows.audit_bindings(walk, after, limit)), walk)

    # --- looking after it ------------------------------------------------------------------------------------------

    async def tidy(self) -> None:
        if self._clock.monotonic() - self._tidied < TIDY_SECONDS:
            return
        self._tidied = self._clock.monotonic()
        async with self._reader.use() as connection:
            await upkeep.vacuum(connection, self._address.schema)

    # --- within ----------------------------------------------------------------------------------------------------

    async def looked(self, name: str, /, **bindings: Any) -> list[Any]:
        async with self._reader.alone() as db:
            return await db.rows(name, reading.SQL[name], **bindings)

    async def lag(self) -> int | None:
        return (await self.looked("lag"))[0][0]

    async def turns(self, name: str, /, **bindings: Any) -> list[Any]:
        async with self.side.transaction() as db:
            return await db.rows(name, telling.SQL[name], **bindings)
