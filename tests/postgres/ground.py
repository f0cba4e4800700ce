"""A schema with much in it, and two workers on it, for tests of what each verb reads."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg

from fanwood.ids import SystemIds
from fanwood.model.commands import Batch, Spawn, SpawnKind
from fanwood.store.postgres.store import PostgresStore
from tests.conformance.stage import digest
from tests.postgres.plans import Executed
from tests.postgres.stores import connected, opened, registered

TASKS = ("a", "b", "c", "d")
LATER = 1 << 60
WORKERS = 3

# Parents that run on the first worker, with children that are over, and others that run on all workers; and queues of
# several tasks, priorities and depths, some of them with limits.
FILL = """
    create or replace function pg_temp.id(kind integer, n bigint) returns bytea language sql immutable as
        $$ select decode(lpad(to_hex(kind), 4, '0') || lpad(to_hex(n), 28, '0'), 'hex') $$;
    insert into run (
        id, root_id, depth, task, input, priority, on_parent_end, state, attempt, asked, worker_id, created_at,
        started_at
    )
    select pg_temp.id(1, n), pg_temp.id(1, n), 0, 'a', '{{}}', 1, 0, 1, 1, 0, {worker} + n % {workers}, n, n
    from generate_series({first}, {first} + {parents} - 1) n;
    insert into run (
        id, parent_id, root_id, depth, task, identity, input, priority, on_parent_end, state, attempt, asked, worker_id,
        created_at, started_at, finished_at, output
    )
    select pg_temp.id(2, n), p.id, p.id, 1, 'b', decode(md5(n::text), 'hex'), '{{}}', 1, 0, 8, 1, 1, {worker},
           n, n, n, '1'
    from generate_series({first}, {first} + {over} - 1) n, pg_temp.id(1, {first} + n % greatest({parents}, 1)) p (id);
    insert into run (
        id, root_id, depth, task, input, priority, on_parent_end, state, attempt, asked, expires_at, waits, due_at,
        created_at
    )
    select pg_temp.id(3, n), pg_temp.id(3, n), n % 6, chr(97 + (n % 4)::integer), '{{}}', n % 3, 0,
           case when n % 7 = 0 then 2 else 0 end, 0, 0, case when n % 5 = 0 then {later} end,
           case when n % 7 = 0 then 2 end, case when n % 7 = 0 then {later} end, n
    from generate_series({first}, {first} + {queued} - 1) n;
    insert into run (
        id, parent_id, root_id, depth, task, identity, input, priority, on_parent_end, state, attempt, asked, worker_id,
        created_at, started_at
    )
    select pg_temp.id(4, n), p.id, p.id, 1, chr(97 + (n % 4)::integer), decode(md5('r' || n), 'hex'), '{{}}', 1, 0, 1,
           1, 1, {worker} + n % {workers}, n, n
    from generate_series({first}, {first} + {running} - 1) n,
         pg_temp.id(1, {first} + n % greatest({parents}, 1)) p (id);
"""
NO_HELP = "alter table run set (autovacuum_enabled = off); alter table worker set (autovacuum_enabled = off);"
_RUNNING = """
    select id from run r where worker_id = $1 and state = 1 and attempt = 1 and parent_id is not null
    and not exists (select from run c where c.root_id = r.root_id and c.parent_id = r.id) limit $2
"""


@dataclass
class Session:
    """One session of an engine: its statements, as they are executed, and the runs that it may deal with."""

    store: PostgresStore
    worker: int
    other: int
    raw: asyncpg.Connection
    executed: list[Executed] = field(default_factory=list)
    ids: SystemIds = field(default_factory=SystemIds)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def commit(self, **batch: object) -> None:
        await self.store.commit(self.worker, Batch(**batch))  # pyright: ignore[reportArgumentType]

    async def parents(self, count: int) -> list[bytes]:
        found = await self.raw.fetch(
            "select id from run where worker_id = $1 and state = 1 and attempt = 1 and parent_id is null "
            "and exists (select from run c where c.root_id = run.id and c.parent_id = run.id) limit $2",
            self.worker, count,
        )  # fmt: skip
        return [row["id"] for row in found]

    async def running(self, count: int, worker: int | None = None) -> list[bytes]:
        return [row["id"] for row in await self.raw.fetch(_RUNNING, worker or self.worker, count)]

    async def kinds(self, count: int) -> list[SpawnKind]:
        return [
            SpawnKind(task, parent_id=parent, parent_attempt=1, root_id=parent, depth=1)
            for parent in await self.parents(count)
            for task in TASKS
        ]

    def number(self) -> int:
        """Another number each time."""
        return next(self.numbers)

    def spawn(self, kind: SpawnKind, n: int, **about: object) -> Spawn:
        identity = digest(f"{n} {self.worker}") if kind.parent_id else None
        return Spawn(kind, self.ids.new_id(), identity, "{}", n, **about)  # pyright: ignore[reportArgumentType]


@asynccontextmanager
async def ground(url: str, counts: dict[str, int]) -> AsyncIterator[tuple[asyncpg.Connection, list[int]]]:
    """A schema with so many runs, and some workers who have them. Nobody gathers statistics unasked."""
    async with opened(url) as (store,), connected(url) as raw:
        await raw.execute(NO_HELP)
        workers = [await registered(store, TASKS, lease=3_600_000_000) for _ in range(WORKERS)]
        await raw.execute(filled(1, workers[0], counts))
        yield raw, workers


def filled(first: int, worker: int, counts: dict[str, int]) -> str:
    return FILL.format(first=first, worker=worker, workers=WORKERS, later=LATER, **counts)
