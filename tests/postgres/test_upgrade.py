"""The next version comes while workers of this one are at work: they go on, and so do those of the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from fanwood.clock import SystemClock
from fanwood.errors import StoreBusyError, StoreSchemaError
from fanwood.ids import SystemIds
from fanwood.model.commands import Batch, Outcome, Spawn, SpawnKind
from fanwood.model.states import RunState
from fanwood.store.postgres import ddl
from fanwood.store.postgres.release import Release, Step, in_layer, present
from fanwood.store.postgres.store import PostgresStore
from tests.postgres.stores import address_of, claimed, connected, registered

pytestmark = pytest.mark.empty_database

COLUMN = Step(2, "0002_column", "alter table run add column flavour text")
INDEX = Step(3, "0003_index", "-- no transaction\ncreate index concurrently if not exists run_flavour\n"
                              "    on fanwood.run (flavour) where flavour is not null;\n")  # fmt: skip
OTHER_INDEX = Step(3, "0003_index", "-- no transaction\ncreate index concurrently if not exists run_other\n"
                                    "    on fanwood.run (task) where state = 11;\n")  # fmt: skip
ALLOWED = Step(4, "0004_allowed", "insert into setting values ('oldest_program', '1')")


def following(layer: int, *steps: Step) -> Release:
    """A version to come, with functions that know more."""
    now = present()
    more = "\ncreate function fw_flavours() returns bigint language sql as $$ select count(flavour) from run $$;\n"
    return Release((*now.steps, *steps), layer, now.functions + more)


NEXT = following(2, COLUMN, INDEX, ALLOWED)


def of(url: str, release: Release | None = None) -> PostgresStore:
    address = address_of(url)
    return PostgresStore(address if release is None else replace(address, release=release), SystemClock())


@asynccontextmanager
async def at_work(store: PostgresStore) -> AsyncIterator[list[int]]:
    """A worker that spawns, claims and ends roots, without a pause; how many of them have ended."""
    over, done, ids = asyncio.Event(), [0], SystemIds()
    me = await registered(store, ["a"])

    async def work() -> None:
        while not over.is_set():
            await store.commit(me, Batch(spawns=[Spawn(SpawnKind("a"), ids.new_id(), None, "{}") for _ in range(5)]))
            runs = await claimed(store, me, 5, ["a"])
            ends = [Outcome(run.key, run.attempt, RunState.COMPLETED, "1") for run in runs]
            answer = await store.commit(me, Batch(outcomes=ends))
            assert not answer.fenced_outcomes
            assert await store.renew(me)
            await store.look_around(me, "host")
            done[0] += len(runs)

    working = asyncio.ensure_future(work())
    try:
        yield done
        before = done[0]
        while done[0] < before + 20 and not working.done():
            await asyncio.sleep(0.005)
    finally:
        over.set()
        await working
        await store.close()


async def layers(url: str) -> dict[int, int]:
    """Of each layer that is there the number of functions."""
    async with connected(url) as connection:
        rows = await connection.fetch("""
            select substring(proname from '^fw([0-9]+)_')::int, count(*)::int from pg_proc
            where pronamespace = 'fanwood'::regnamespace group by 1
        """)
        return {row[0]: row[1] for row in rows}


async def test_workers_go_on_while_the_next_version_comes(postgres_url: str):
    old, new = of(postgres_url), of(postgres_url, NEXT)
    await old.open(lambda: None)
    async with at_work(old) as done:
        while done[0] < 20:
            await asyncio.sleep(0.005)
        assert await of(postgres_url, NEXT).migrate() == ["0002_column", "0003_index", "0004_allowed", "functions 2"]
        await new.open(lambda: None)
        async with at_work(new) as theirs:
            while theirs[0] < 20:
                await asyncio.sleep(0.005)
        late = of(postgres_url)  # another one of this version, that starts now
        await late.open(lambda: None)
        await late.close()
    assert set(await layers(postgres_url)) == {1, 2}


async def test_a_program_that_is_started_while_an_index_is_made_is_let_in_if_that_was_said_first(postgres_url: str):
    await of(postgres_url).migrate()
    steps = [replace(step, number=number) for number, step in ((2, ALLOWED), (3, OTHER_INDEX))]
    async with connected(postgres_url) as other, connected(postgres_url) as watching:
        async with other.transaction(isolation="repeatable_read"):
            await other.execute("select from run limit 1")  # whose snapshot the index waits for
            migrating = asyncio.ensure_future(of(postgres_url, following(2, *steps)).migrate())
            async with asyncio.timeout(60):
                while await watching.fetchval("select max(number) from schema_migration") < 2:
                    await asyncio.sleep(0.005)
            late = of(postgres_url)
            await late.open(lambda: None)
            await late.close()
            assert not migrating.done()
        assert len(await migrating) == 3


async def test_the_layer_before_the_last_one_goes(postgres_url: str):
    for release, left in [(present(), {1}), (NEXT, {1, 2}), (following(3, COLUMN, INDEX, ALLOWED), {2, 3})]:
        await of(postgres_url, release).migrate()
        assert set(await layers(postgres_url)) == left
    async with connected(postgres_url) as connection:
        types = await connection.fetch("select from pg_type where typname ~ '^fw1_' and typtype = 'c'")
        assert types == []
    with pytest.raises(StoreSchemaError, match="upgrade this one"):
        await of(postgres_url).open(lambda: None)


async def test_nobody_waits_long_for_a_step_that_waits(postgres_url: str, monkeypatch: pytest.MonkeyPatch):
    """Somebody holds the table for a while: the step lets others pass, and comes through afterwards."""
    monkeypatch.setattr(ddl, "LOCK_TIMEOUT", "100ms")
    monkeypatch.setattr(ddl, "PAUSE", 0.2)
    store = of(postgres_url)
    await store.open(lambda: None)
    async with at_work(store) as done, connected(postgres_url) as other:
        holding = other.transaction()
        await holding.start()
        await other.execute("select from run limit 1")
        migrating = asyncio.ensure_future(of(postgres_url, NEXT).migrate())
        await asyncio.sleep(1)
        assert not migrating.done()
        before = done[0]
        async with asyncio.timeout(60):
            while done[0] == before:
                await asyncio.sleep(0.005)
        assert not migrating.done()
        await holding.rollback()
        assert len(await migrating) == 4


async def test_who_holds_a_table_all_the_time_is_named(postgres_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ddl, "LOCK_TIMEOUT", "20ms")
    monkeypatch.setattr(ddl, "PAUSE", 0.01)
    await of(postgres_url).migrate()
    async with connected(postgres_url) as other, other.transaction():
        await other.execute("select from run limit 1")
        pid = await other.fetchval("select pg_backend_pid()")
        with pytest.raises(StoreBusyError, match=rf"others held them all the time: process {pid} .*Nothing was"):
            await of(postgres_url, NEXT).migrate()
    assert await of(postgres_url, NEXT).migrate(dry_run=True) == [
        "0002_column", "0003_index", "0004_allowed", "functions 2",
    ]  # fmt: skip


async def test_a_step_outside_of_a_transaction_may_be_interrupted(postgres_url: str):
    await of(postgres_url).migrate()
    async with connected(postgres_url) as other:  # it had come so far
        await other.execute(f"{COLUMN.text}; create index run_flavour on run (flavour) where flavour is not null")
        await other.execute(
            "insert into schema_migration (number, name, checksum) values ($1, $2, $3)", 2, COLUMN.name, COLUMN.checksum
        )
    assert await of(postgres_url, NEXT).migrate() == ["0003_index", "0004_allowed", "functions 2"]


def test_names_of_a_layer():
    assert in_layer("select fw_commit($1), a.fw_x, xfw_y", 7) == "select fw7_commit($1), a.fw7_x, xfw_y"
