"""The raw floor of PostgreSQL: asyncpg, one connection, the quickest bare SQL that was found. See `floor.py`.

Rows come by COPY (an insert from arrays is slower, `executemany` takes twice as long), and are completed from
arrays. A statement is a transaction, and one round trip.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import asyncpg

from benchmarks.floor import BATCH, WORKER, batches
from fanwood.engine.signals import new_loop
from fanwood.ids import SystemIds

COMMITS = 200


@dataclass(frozen=True)
class Shape:
    """What a row is, in the statements of its life. Each takes what `insert_row` and so on below make."""

    name: str
    schema: str
    columns: tuple[str, ...]  # those that are inserted
    claim: str
    complete: str
    insert_row: Callable[[bytes, bytes, int, int], tuple[object, ...]]  # id, parent, number, now
    claim_values: Callable[[int], tuple[object, ...]]  # now
    complete_values: Callable[[list[bytes], int], tuple[object, ...]]  # ids, now


DURABLE = Shape(
    name="floor",
    schema="""
        create table run (
            id bytea not null primary key, parent_id bytea, task text not null, state smallint not null,
            priority integer not null, input text not null, output text, attempt integer not null, worker_id bigint,
            created_at bigint not null, started_at bigint, finished_at bigint
        );
        create index run_queue on run (priority desc, id) where state = 0;
        create index run_parent on run (parent_id, id);
    """,
    columns=("id", "parent_id", "task", "state", "priority", "input", "attempt", "created_at"),
    claim="""
        update run set state = 1, attempt = attempt + 1, worker_id = $1, started_at = $2
        where id = any (array(
            select id from run where state = 0 order by priority desc, id limit 1000 for update skip locked
        ))
        returning id, input
    """,
    complete="""
        update run r set state = 2, output = v.output, finished_at = $3
        from unnest($1::bytea[], $2::text[]) v (id, output)
        where r.id = v.id and r.state = 1 and r.attempt = 1
    """,
    insert_row=lambda id_, parent, number, now: (id_, parent, "child", 0, 1, f'{{"n":{number}}}', 0, now),
    claim_values=lambda now: (WORKER, now),
    complete_values=lambda ids, now: (ids, ["1"] * len(ids), now),
)

BARE = Shape(
    name="bare floor",
    schema="""
        create table run (id bytea not null primary key, state smallint not null, payload text not null);
        create index run_queue on run (id) where state = 0;
    """,
    columns=("id", "state", "payload"),
    claim="""
        update run set state = 1
        where id = any (array(select id from run where state = 0 order by id limit 1000 for update skip locked))
        returning id, payload
    """,
    complete="""
        update run r set state = 2, payload = v.output
        from unnest($1::bytea[], $2::text[]) v (id, output)
        where r.id = v.id and r.state = 1
    """,
    insert_row=lambda id_, parent, number, now: (id_, 0, f'{{"n":{number}}}'),
    claim_values=lambda now: (),
    complete_values=lambda ids, now: (ids, ["1"] * len(ids)),
)


def seconds_for(shape: Shape, url: str, schema: str, rows: int) -> float:
    """How long `rows` rows of that shape take from insert to completion, in a new schema of that name."""
    return _run(_seconds_for(shape, url, schema, rows))


def commit_ms(url: str, schema: str) -> float:
    """What inserting one row of the bare shape takes, alone: a round trip and a commit. The median of many."""
    return _run(_commit_ms(url, schema))


def _run(coroutine: Any) -> float:
    with asyncio.Runner(loop_factory=new_loop) as runner:  # the loop that engines have
        return runner.run(coroutine)


async def _seconds_for(shape: Shape, url: str, schema: str, rows: int) -> float:
    connection = await _connect(url, schema, shape)
    try:
        await _live(connection, shape, BATCH)  # statements prepared, file grown: as the fan-out's warm-up
        start = time.perf_counter()
        completed = 0
        for count in batches(rows):
            completed += await _live(connection, shape, count)
        seconds = time.perf_counter() - start
    finally:
        await connection.close()
    assert completed == rows, f"the {shape.name} completed {completed} of {rows} rows"
    return seconds


async def _commit_ms(url: str, schema: str) -> float:
    connection = await _connect(url, schema, BARE)
    taken: list[float] = []
    try:
        for _ in range(COMMITS):
            start = time.perf_counter()
            await connection.execute("insert into run values ($1, 2, '')", SystemIds().new_id())
            taken.append(time.perf_counter() - start)
    finally:
        await connection.close()
    return median(taken) * 1e3


async def asked(url: str, schema: str, statement: str) -> int:
    """One number."""
    connection: Any = await asyncpg.connect(url, server_settings={"search_path": f'"{schema}"'})
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def _connect(url: str, schema: str, shape: Shape) -> Any:
    """Plans as the store's functions have them: the table has no statistics yet, and is to be found by its indexes."""
    connection = await asyncpg.connect(url)
    for name in ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "jit"):
        await connection.execute(f"set {name} to off")
    await connection.execute("set plan_cache_mode to force_generic_plan")
    await connection.execute(f'create schema "{schema}"; set search_path to "{schema}"; {shape.schema}')
    return connection


async def _live(connection: Any, shape: Shape, count: int) -> int:
    """The whole life of `count` rows; how many were completed."""
    new_id, now, parent = SystemIds().new_id, time.time_ns() // 1000, bytes(16)
    rows = [shape.insert_row(new_id(), parent, number, now) for number in range(count)]
    await connection.copy_records_to_table("run", records=rows, columns=shape.columns)
    claimed = [id_ for id_, _ in await connection.fetch(shape.claim, *shape.claim_values(now))]
    tag = await connection.execute(shape.complete, *shape.complete_values(claimed, now))
    return int(tag.removeprefix("UPDATE "))
