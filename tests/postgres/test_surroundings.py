"""Whatever a role, a database or a session is set to, and whatever lies about in it: the store does what it does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import asyncpg
import pytest

from fanwood import RunState, StoreBusyError, StoreSchemaError, StoreUnavailableError
from fanwood.clock import SystemClock
from fanwood.ids import SystemIds
from fanwood.model.commands import Batch, Outcome, Spawn, SpawnKind
from fanwood.store.postgres import chores
from fanwood.store.postgres.connection import Address, Link
from fanwood.store.postgres.store import PostgresStore
from tests.chaos.scale import scaled
from tests.postgres.cluster import Cluster
from tests.postgres.roles import database_of
from tests.postgres.stores import address_of, claimed, connected, opened, registered, until_blocked

pytestmark = pytest.mark.empty_database

IDS = SystemIds()
HOSTILE = [
    "default_transaction_isolation = 'serializable'",
    "default_transaction_read_only = on",
    "default_transaction_deferrable = on",
    "statement_timeout = '1ms'",
    "lock_timeout = '1ms'",
    "idle_in_transaction_session_timeout = '1ms'",
    "idle_session_timeout = '200ms'",
    "search_path = 'pg_temp, nowhere'",
    "standard_conforming_strings = off",
    "bytea_output = 'escape'",
    "client_encoding = 'LATIN1'",
    "jit_above_cost = 0",
    "work_mem = '64kB'",
    "enable_nestloop = off",
    "enable_indexscan = off",
    "enable_sort = off",
    "array_nulls = off",
    "transform_null_equals = on",
    "plpgsql.variable_conflict = 'use_column'",
    "check_function_bodies = on",
]


QUIET = {"default_transaction_read_only": "off", "statement_timeout": "0", "lock_timeout": "0"}


async def a_life(store: PostgresStore) -> None:
    """Of a tree, with everything in it."""
    me = await registered(store, ["a"])
    metadata = '{"customer":"\u20ac"}'
    await store.commit(me, Batch(spawns=[Spawn(SpawnKind("a", metadata=metadata), IDS.new_id(), None, '"\u6f22"')]))
    (root,) = await claimed(store, me, 1, ["a"])
    assert (root.metadata, root.input) == (metadata, '"\u6f22"')
    kind = SpawnKind("a", parent_id=root.key, parent_attempt=1, root_id=root.key, depth=1)
    await store.commit(me, Batch(spawns=[Spawn(kind, IDS.new_id(), IDS.new_id(), "{}", n) for n in range(5)]))
    first, second = await claimed(store, me, 2, ["a"], fair=1)
    ends = [
        Outcome(first.key, 1, RunState.COMPLETED, "1"),
        Outcome(second.key, 1, RunState.QUEUED, delay=1, retry=True),
    ]
    await store.commit(me, Batch(outcomes=ends, watch=[root.key], mail=True))
    assert await store.renew(me)
    await store.look_around(me, "host")
    await store.tick()
    assert await store.cancel(root.key, "for a test")
    while (await store.sweep()).more:
        pass
    assert {count.state for count in await store.tree_counts(root.key)} == {RunState.COMPLETED, RunState.CANCELLED}
    assert await store.replay(root.key, [RunState.CANCELLED])
    rows = await store.copy_out("run", (b"",), 10)
    assert len(rows) == 6
    assert await store.copy_in("run", rows) == 0
    assert await store.reap(me, 3) == 0


TOGETHER = scaled([[setting] for setting in HOSTILE], [HOSTILE[number::5] for number in range(5)])
"""Settings that a database has at once: each by itself in the long form."""


@pytest.mark.parametrize("settings", TOGETHER, ids=lambda settings: settings[0])
async def test_settings_of_a_database(settings: list[str], postgres_url: str):
    async with connected(postgres_url) as raw:
        await raw.execute(
            f"alter database {database_of(postgres_url)} set jit = on"
        )  # as servers have it, and ours hasn't
        for setting in settings:
            await raw.execute(f"alter database {database_of(postgres_url)} set {setting}")
    try:
        async with opened(postgres_url) as (store,):
            await asyncio.sleep(0.3 if any("idle_session" in setting for setting in settings) else 0)
            await a_life(store)
    finally:
        raw = await asyncpg.connect(postgres_url, server_settings=QUIET)
        await raw.execute(f"alter database {database_of(postgres_url)} reset all")
        await raw.close()


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
async def test_encodings(encoding: str, postgres_cluster: Cluster):
    name = f"in_{encoding.lower()}"
    postgres_cluster.execute(
        f"create database {name} encoding '{encoding}' lc_collate 'C' lc_ctype 'C' template template0"
    )
    try:
        store = PostgresStore(address_of(postgres_cluster.url(name)), SystemClock())
        for way in (store.open(lambda: None), store.migrate(), store.migrate(dry_run=True)):
            with pytest.raises(StoreSchemaError, match=f"the database's encoding is {encoding}, in which most text"):
                await way
        await store.close()
    finally:
        postgres_cluster.drop_database(name)


# --- temporary tables of others --------------------------------------------------------------------------------------

TABLES = (
    "run", "worker", "lease", "gate", "moved_deadline", "idem", "mail", "watch", "unheard", "setting", "worker_task",
    "task", "log", "attempt",
)  # fmt: skip


async def test_a_temporary_table_of_ours_name_hides_none_of_ours(postgres_url: str):
    """Behind a pooler a session is shared with whoever else comes as the same user."""
    address = Address(postgres_url, postgres_url, "fanwood", "test", pooled=True)
    store = PostgresStore(address, SystemClock(), notify=False)
    await store.open(lambda: None)
    for link in (store._hot, store._beat, store.side, store._reader):
        await link.close()
        connection = await asyncpg.connect(postgres_url, statement_cache_size=0)
        for table in TABLES:
            await connection.execute(f"create temp table {table} as select * from fanwood.{table} with no data")
        link.connection = connection  # as the pooler would lend it to us
    await a_life(store)
    async with connected(postgres_url) as raw:
        assert await raw.fetchval("select count(*) from fanwood.run") == 6
    for link in (store._hot, store._beat, store.side, store._reader):
        assert link.connection is not None
        for table in TABLES:
            assert await link.connection.fetchval(f"select count(*) from pg_temp.{table}") == 0
    await store.close()


async def test_what_somebody_else_has_set_in_a_shared_session_is_not_for_us(postgres_url: str):
    """As behind a pooler, which lends us his session with what he left in it."""
    address = Address(postgres_url, postgres_url, "fanwood", "test", pooled=True)
    store = PostgresStore(address, SystemClock(), notify=False)
    await store.open(lambda: None)
    for link in (store._hot, store._beat, store.side, store._reader):
        await link.close()
        connection = await asyncpg.connect(postgres_url, statement_cache_size=0)
        await connection.execute("create type pg_temp.fw1_ends as (a int)")
        # (The pooler sets the encoding for each client, and hears of an end by `idle_session_timeout`. What begins a
        # transaction may itself take longer than a millisecond: then the store is busy, and would be asked again.)
        others = ("idle_session_timeout", "client_encoding", "statement_timeout")
        ours = [setting for setting in HOSTILE if not setting.startswith(others)]
        await connection.execute("; ".join(f"set {setting}" for setting in ours))
        link.connection = connection
    await a_life(store)
    await store.close()
    async with connected(postgres_url) as raw:
        assert await raw.fetchval("select count(*) from fanwood.run") == 6


async def test_functions_that_are_called_directly_name_their_schema(postgres_url: str):
    async with opened(postgres_url), connected(postgres_url) as raw:
        rows = await raw.fetch("select proname, proconfig from pg_proc where pronamespace = 'fanwood'::regnamespace")
        paths = {row["proname"]: [s for s in row["proconfig"] or () if s.startswith("search_path=")] for row in rows}
        for name in ("fw1_commit", "fw1_renew", "fw1_look_around"):
            assert paths[name] == ["search_path=fanwood, pg_temp"]


# --- each beside the others ------------------------------------------------------------------------------------------


async def test_what_would_be_done_again_may_be_lost_and_nothing_else(postgres_url: str):
    """A crash of the server may take a sweep, and what was due: each says so of its own transaction."""
    async with opened(postgres_url) as (store,):
        me = await registered(store, ["a"])
        await store.commit(me, Batch(spawns=[Spawn(SpawnKind("a"), IDS.new_id(), None, "{}")]))
        (root,) = await claimed(store, me, 1, ["a"])
        kind = SpawnKind("a", parent_id=root.key, parent_attempt=1, root_id=root.key, depth=1)
        await store.commit(me, Batch(spawns=[Spawn(kind, IDS.new_id(), IDS.new_id(), "{}")]))
        (child,) = await claimed(store, me, 1, ["a"])
        await store.commit(me, Batch(outcomes=[Outcome(child.key, 1, RunState.QUEUED, delay=1, retry=True)]))
        await store.tick()
        await store.cancel(root.key, "for a test")
        while (await store.sweep()).more:
            pass
        assert await store.renew(me)
        for link in (store._hot, store._beat, store.side):
            async with link.use() as connection:
                assert await connection.fetchval("show synchronous_commit") == "on"


async def test_a_lease_is_renewed_while_a_commit_waits(postgres_url: str):
    async with opened(postgres_url) as (store,), connected(postgres_url) as raw:
        me = await registered(store, ["a"])
        await store.commit(me, Batch(spawns=[Spawn(SpawnKind("a"), IDS.new_id(), None, "{}")]))
        (run,) = await claimed(store, me, 1, ["a"])
        async with raw.transaction():
            await raw.execute("select from run where id = $1 for update", run.key)
            committing = asyncio.ensure_future(
                store.commit(me, Batch(outcomes=[Outcome(run.key, 1, RunState.COMPLETED, "1")]))
            )
            await until_blocked(raw, store._hot.pid)  # it has its worker's row
            for _ in range(3):
                assert await store.renew(me)
                await store.look_around(me, "host")
            assert not committing.done()
        await committing


async def test_a_commit_lasts_no_longer_than_a_lease(postgres_url: str):
    store = PostgresStore(address_of(postgres_url), SystemClock(), lease=0.5)
    await store.open(lambda: None)
    async with connected(postgres_url) as raw:
        me = await registered(store, ["a"])
        batch = Batch(spawns=[Spawn(SpawnKind("a"), IDS.new_id(), None, "{}")])
        async with raw.transaction():
            await raw.execute("select from worker where id = $1 for update", me)
            with pytest.raises((StoreBusyError, StoreUnavailableError)):
                await store.commit(me, batch)
        await store.commit(me, batch)
        assert await raw.fetchval("select count(*) from run") == 1
    await store.close()


async def test_one_engine_promotes_at_a_time(postgres_url: str):
    async with opened(postgres_url) as (store,), connected(postgres_url) as raw:
        me = await registered(store, ["a"])
        await store.commit(me, Batch(spawns=[Spawn(SpawnKind("a"), IDS.new_id(), None, "{}")]))
        (run,) = await claimed(store, me, 1, ["a"])
        await store.commit(me, Batch(outcomes=[Outcome(run.key, 1, RunState.QUEUED, delay=1, retry=True)]))
        async with raw.transaction():
            await raw.execute(f"select pg_advisory_xact_lock({chores.TIMERS_LOCK}, hashtext(current_schema()))")
            later = await store.tick()
            assert later is not None
            assert later > store.now()
            assert (await store.get(run.key)).state is RunState.WAITING
        assert await store.tick() is None
        assert (await store.get(run.key)).state is RunState.QUEUED


async def test_idle_engines_ask_little(postgres_url: str):
    """A renewal, a look around and a poll are one statement each, and none of them begins a transaction of its own."""
    async with opened(postgres_url) as (store,):
        me = await registered(store, ["a"])
        said: list[str] = []

        def deeds() -> list[Awaitable[object]]:
            return [store.renew(me), store.look_around(me, "host"), store.commit(me, Batch(mail=True))]

        for deed in deeds():  # the driver asks about types, once
            await deed
        for link in (store._hot, store._beat, store.side):
            async with link.use() as connection:
                connection.add_query_logger(lambda record: said.append(record.query))  # pyright: ignore[reportAttributeAccessIssue]
        for deed in deeds():
            await deed
        await asyncio.sleep(0.01)  # the driver tells a moment later
        assert [text.partition("(")[0] for text in said] == [
            f'select "fanwood".fw1_{name}' for name in ("renew", "look_around", "commit")
        ]


async def test_commits_that_go_on_during_a_renewal_are_not_taken_for_forgotten(postgres_url: str):
    """Its answer may say less than what was committed since it was asked for."""
    async with opened(postgres_url) as (store,):
        me = await registered(store, ["a"])
        await store.renew(me)
        value = store._value

        async def late(link: Link, sql: str, *arguments: object) -> str:
            answer = await value(link, sql, *arguments)
            if link is store._beat:
                await store.commit(me, Batch(spawns=[Spawn(SpawnKind("a"), IDS.new_id(), None, "{}")]))
            return answer

        store._value = late
        assert await store.renew(me)
