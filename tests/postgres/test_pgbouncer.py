"""The pgbouncer that tests are given shares connections between transactions, and keeps no prepared statement."""

from __future__ import annotations

from collections.abc import Iterator

import asyncpg
import pytest

from fanwood import Fanwood, StoreError
from tests.postgres.cluster import Cluster
from tests.postgres.pgbouncer import Pgbouncer


@pytest.fixture
def pgbouncer(postgres_cluster: Cluster, pgbouncer_program: str) -> Iterator[Pgbouncer]:
    with Pgbouncer(postgres_cluster, {"default_pool_size": 1}) as pgbouncer:
        yield pgbouncer


async def test_two_clients_share_one_connection(pgbouncer: Pgbouncer):
    clients = [await _connect(pgbouncer) for _ in range(2)]
    try:
        pids = {await client.fetchval("select pg_backend_pid()") for client in clients}
        assert len(pids) == 1
    finally:
        for client in clients:
            await client.close()


async def test_statements_cannot_be_prepared_for_later(pgbouncer: Pgbouncer):
    first, second = await _connect(pgbouncer), await _connect(pgbouncer)
    try:
        await first.execute("prepare for_later as select 1")
        with pytest.raises(asyncpg.DuplicatePreparedStatementError):  # on the connection that both are given
            await second.execute("prepare for_later as select 1")
    finally:
        await first.close()
        await second.close()


async def test_who_does_not_say_that_it_is_one_is_told_how(pgbouncer: Pgbouncer):
    app = Fanwood(pgbouncer.url(), local_worker=False)
    with pytest.raises(StoreError, match=r"is pgbouncer .*: set FANWOOD_PGBOUNCER=1, or"):
        await app.runs.aio_list()
    await app.aio_close()


async def test_it_can_be_stopped_and_started(pgbouncer: Pgbouncer):
    pgbouncer.stop()
    with pytest.raises(ConnectionRefusedError):
        await _connect(pgbouncer)
    pgbouncer.start()
    client = await _connect(pgbouncer)
    assert await client.fetchval("select 1") == 1
    await client.close()


async def _connect(pgbouncer: Pgbouncer) -> asyncpg.Connection:
    return await asyncpg.connect(pgbouncer.url(), statement_cache_size=0)
