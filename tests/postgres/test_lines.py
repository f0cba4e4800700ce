"""Very many lines of one run, or chunks of its stream, in one commit."""

from __future__ import annotations

import asyncio

import pytest

from fanwood.ids import SystemIds
from fanwood.model.commands import FIRST_CHUNK, Batch, LogLine, Spawn, SpawnKind
from tests.postgres.stores import claimed, connected, opened, registered

MANY = 1_000
WRITTEN = "select n_tup_ins from pg_stat_user_tables where relname = 'log'"
READ = "select idx_tup_read from pg_stat_user_indexes where indexrelname = 'log_pkey'"


@pytest.mark.parametrize(("level", "first"), [("chunk", FIRST_CHUNK), ("info", 0)])
async def test_each_is_numbered_without_a_look_at_the_others(level: str, first: int, postgres_url: str):
    """The index is not gone through for each of them: neither what is there, nor what the same commit writes."""
    async with opened(postgres_url, notify=False) as (store,), connected(postgres_url) as raw:
        worker = await registered(store, ["a"])
        await store.commit(worker, Batch(spawns=[Spawn(SpawnKind("a"), SystemIds().new_id(), None, "{}")]))
        (run,) = await claimed(store, worker, 1, ["a"])
        before = await raw.fetchval(WRITTEN), await raw.fetchval(READ)
        for _ in range(2):
            lines = [LogLine(run.key, run.attempt, n, level, f"{n}") for n in range(MANY)]
            await store.commit(worker, Batch(logs=lines))
        found = await raw.fetch("select seq from log where run_id = $1 order by seq", run.key)
        assert [row["seq"] for row in found] == [*range(first, first + 2 * MANY)]
        read_here = len(found)
    async with connected(postgres_url) as raw, asyncio.timeout(60):
        while await raw.fetchval(WRITTEN) < before[0] + 2 * MANY:  # who has gone has said what he has done
            await asyncio.sleep(0.01)
        read = await raw.fetchval(READ) - before[1] - read_here
    assert read < 4 * 2 * MANY
