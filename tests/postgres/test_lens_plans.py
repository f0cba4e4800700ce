"""Where one parent has nearly all runs, the server takes each parent for such a one; looks go by the tree's index all
the same."""

from __future__ import annotations

import asyncpg
import pytest

from benchmarks.trees import make, wide
from fanwood import Settings, SystemClock
from fanwood.model.looks import SEGMENT, Part
from fanwood.store.opening import store_for
from fanwood.store.postgres.reading import SQL
from fanwood.store.store import Store

LOOKS = ("cube", "parents", "longest", "latest")


@pytest.mark.parametrize("name", LOOKS)
def test_the_statement_is_bounded_by_rows(name: str) -> None:
    assert "(r.root_id, r.parent_id, r.id) > (:root, g.id, :after)" in SQL[name]
    assert "in postgres" not in SQL[name]


async def test_a_look_below_a_leaf_reads_nothing_else(postgres_url: str) -> None:
    settings = Settings.load(database_url=postgres_url)
    made = await make(settings, wide(20_001, failed=10))
    store = store_for(settings, SystemClock())
    await store.open(lambda: None)
    try:
        leaf = (await store.children(made.root, limit=1))[0].id
        before = await read(postgres_url)
        for _ in range(3):
            await looks(store, Part(made.root, leaf))
    finally:
        await store.close()  # (a session tells what it has read at its end, at the latest)
    assert await read(postgres_url) - before < 1_000


async def test_a_look_at_a_segment_ends_where_the_segment_ends(postgres_url: str) -> None:
    settings = Settings.load(database_url=postgres_url)
    made = await make(settings, wide(20_001, failed=10))
    store = store_for(settings, SystemClock())
    await store.open(lambda: None)
    try:
        end = await store.segment_end(made.root, made.root, b"")
        assert end is not None
        part = Part(made.root, made.root, until=end)
        before = await blocks(postgres_url)
        assert sum(cell.count for cell in await store.cube(part, 40)) == SEGMENT
        assert len(await store.longest(part, None, 5)) == 5
        assert (await store.latest(part)) is not None
    finally:
        await store.close()
    assert await blocks(postgres_url) - before < 300  # (of 200 or more for each look that reads on)


async def looks(store: Store, part: Part) -> None:
    assert await store.cube(part, 40) == []
    assert await store.parents(part) == []
    assert await store.longest(part, None, 5) == []
    assert await store.latest(part) is None


async def read(url: str) -> int:
    """Rows of runs that were read so far, one by one or by an index."""
    connection = await asyncpg.connect(url)
    try:
        sql = """
            select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)
            from pg_stat_user_tables where schemaname = 'fanwood' and relname = 'run'
        """
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def blocks(url: str) -> int:
    """Blocks of the tree's index that were read so far, from wherever."""
    connection = await asyncpg.connect(url)
    try:
        sql = "select idx_blks_read + idx_blks_hit from pg_statio_user_indexes where indexrelname = 'run_tree'"
        return await connection.fetchval(sql)
    finally:
        await connection.close()
