"""Workers have dead entries of the queue cleared away before autovacuum would come to it."""

from __future__ import annotations

import asyncio

import pytest

from tests.postgres.cluster import Cluster
from tests.postgres.stores import connected, opened, registered

pytestmark = pytest.mark.empty_database

_VACUUMS = "select vacuum_count from pg_stat_user_tables where schemaname = 'fanwood' and relname = 'run'"
_DEAD = "select n_dead_tup from pg_stat_user_tables where schemaname = 'fanwood' and relname = 'run'"
_FILL = """
    insert into fanwood.run
        (id, root_id, depth, task, input, priority, on_parent_end, state, attempt, asked, created_at)
    select decode(lpad(to_hex(n), 32, '0'), 'hex'), '', 0, 'a', '1', 1, 0, 0, 0, 0, 0 from generate_series(1, 60000) n
"""
# What is filled in is only to be counted.
_NO_INDEXES = """
    alter table fanwood.run set (autovacuum_enabled = false);
    do $$
    declare name text;
    begin
        for name in
            select indexrelid::regclass from pg_index where indrelid = 'fanwood.run'::regclass and not indisprimary
        loop
            execute 'drop index ' || name;
        end loop;
    end $$
"""


async def _vacuums(url: str) -> int:
    async with connected(url) as connection:
        return await connection.fetchval(_VACUUMS)


@pytest.mark.long
async def test_many_dead_rows_are_cleared_away_and_few_are_left(postgres_url: str) -> None:
    async with opened(postgres_url) as (store,):
        await registered(store)
        await store.tidy()
        assert await _vacuums(postgres_url) == 0
        async with connected(postgres_url) as connection:
            await connection.execute(_NO_INDEXES)
            await connection.execute(_FILL)
            await connection.execute("update fanwood.run set attempt = 1")
        while await _vacuums(postgres_url) == 0:  # the server counts a moment later, both what is dead and the vacuum
            await store.tidy()
            await asyncio.sleep(0.02)
        async with connected(postgres_url) as connection:
            assert await connection.fetchval(_DEAD) < 60_000


async def test_a_role_that_may_not_vacuum_leaves_it(postgres_cluster: Cluster, postgres_url: str) -> None:
    async with opened(postgres_url) as (store,):
        await registered(store)
        async with connected(postgres_url) as connection:
            await connection.execute(_NO_INDEXES)
            await connection.execute(_FILL)
            await connection.execute("update fanwood.run set attempt = 1")
            while await connection.fetchval(_DEAD) < 60_000:
                await connection.execute("select pg_stat_clear_snapshot()")
                await asyncio.sleep(0.02)
            await connection.execute("drop role if exists tidying_guest; create role tidying_guest login")
            await connection.execute("grant usage on schema fanwood to tidying_guest")
            await connection.execute(
                "grant select, insert, update, delete on all tables in schema fanwood to tidying_guest"
            )
    try:
        async with opened(postgres_url.replace("postgres@", "tidying_guest@")) as (guest,):
            await guest.tidy()
            assert await _vacuums(postgres_url) == 0
    finally:
        async with connected(postgres_url) as connection:
            await connection.execute("drop owned by tidying_guest; drop role tidying_guest")
