"""What a claim costs, with few and with many runs in the queue: the store alone, without an engine around it.

Two databases, claimed from in turn, so that the machine's drift meets both. Each round spawns as many runs as it
claims: the queues keep their lengths.
"""

import asyncio
import contextlib
import statistics
import time
from dataclasses import dataclass

import apsw
import asyncpg

from benchmarks.databases import POSTGRES, Database
from benchmarks.job import Job
from fanwood import RunState, SystemClock
from fanwood.engine.signals import new_loop
from fanwood.ids import SystemIds
from fanwood.model.commands import Batch, ClaimRequest, Outcome, Spawn, SpawnKind, TaskInfo, WorkerInfo
from fanwood.store.opening import store_for
from fanwood.store.store import Store

FEW = 1_000
CLAIMED = 100
FAIR = CLAIMED // 8  # as an engine asks for
ROUNDS = 100
WARM_UP = 10
TASK = TaskInfo("claimed", "task")
KIND = SpawnKind(TASK.name)
INPUT = '{"n":1}'

# Queued roots as commits write them: ids that sort before all that come later, and count up.
FILL_POSTGRES = """
    insert into run (id, root_id, depth, task, input, priority, on_parent_end, state, attempt, asked, created_at)
    select n.id, n.id, 0, $2, $3, 1, 0, 0, 0, 0, $4
    from (select $1::bytea || int8send(number) as id from generate_series(1, $5::bigint) number) n
"""
FILL_SQLITE = """
    with recursive numbers (number) as (select 1 union all select number + 1 from numbers where number < ?5),
         n (id) as materialized (select unhex(hex(?1) || printf('%016x', number)) from numbers)
    insert into run (id, root_id, depth, task, input, priority, on_parent_end, state, attempt, asked, created_at)
    select n.id, n.id, 0, ?2, ?3, 1, 0, 0, 0, 0, ?4 from n
"""


def measure(job: Job) -> dict[str, float]:
    with asyncio.Runner(loop_factory=new_loop) as runner:  # the loop that engines have
        return runner.run(_measure(job))


async def _measure(job: Job) -> dict[str, float]:
    few, many = [await _open(job.database, name) for name in ("few", "many")]
    try:
        await _fill(job.database, "few", min(FEW, job.size))
        await _fill(job.database, "many", job.size)
        for number in range(WARM_UP + ROUNDS):
            for queue in (few, many) if number % 2 else (many, few):
                await queue.round()
    finally:
        for queue in (few, many):
            await queue.store.close()
    ms = [statistics.median(queue.taken[WARM_UP:]) * 1e3 for queue in (few, many)]
    return {"few": ms[0], "many": ms[1], "ratio": ms[1] / ms[0]}


# --- one queue -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Queue:
    """A store whose runs are all queued, and a worker that claims from it."""

    store: Store
    worker: int
    taken: list[float]  # seconds of each claim

    async def round(self) -> None:
        """Spawn, claim, complete; the claim is timed."""
        new_id = SystemIds().new_id
        await self._commit(Batch(spawns=[Spawn(KIND, new_id(), None, INPUT) for _ in range(CLAIMED)]))
        start = time.perf_counter()
        answer = await self.store.commit(self.worker, Batch(claim=ClaimRequest(f'["{TASK.name}"]', CLAIMED, FAIR)))
        self.taken.append(time.perf_counter() - start)
        assert len(answer.claimed) == CLAIMED, f"{len(answer.claimed)} runs were claimed, and not {CLAIMED}"
        await self._commit(Batch(outcomes=[Outcome(r.key, r.attempt, RunState.COMPLETED, "1") for r in answer.claimed]))

    async def _commit(self, batch: Batch) -> None:
        answer = await self.store.commit(self.worker, batch)
        assert not answer.fenced_outcomes


async def _open(database: Database, name: str) -> Queue:
    store = store_for(database.settings(name), SystemClock())
    await store.open(lambda: None)
    about = WorkerInfo("benchmark", "benchmark", 1, CLAIMED, (TASK.name,), lease=3600 * 1_000_000)
    return Queue(store, await store.register(about, [TASK]), [])


# --- filling it ------------------------------------------------------------------------------------------------------


async def _fill(database: Database, name: str, rows: int) -> None:
    first, now = SystemIds().new_id()[:8], time.time_ns() // 1000
    bindings = (first, TASK.name, INPUT, now, rows)
    if database.store == POSTGRES:
        await _fill_postgres(database.url, database.name(name), bindings)
    else:
        _fill_sqlite(database, name, bindings)


async def _fill_postgres(url: str, schema: str, bindings: tuple[object, ...]) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f'set search_path to "{schema}"')
        await connection.execute(FILL_POSTGRES, *bindings)
        await connection.execute("vacuum analyze run")  # as autovacuum would, but not in the midst of it
        with contextlib.suppress(asyncpg.InsufficientPrivilegeError):  # then it comes when it comes
            await connection.execute("checkpoint")
    finally:
        await connection.close()


def _fill_sqlite(database: Database, name: str, bindings: tuple[object, ...]) -> None:
    connection = apsw.Connection(str(database.path(name)))
    try:
        connection.execute(FILL_SQLITE, bindings)
        connection.pragma("wal_checkpoint(truncate)")
    finally:
        connection.close()
