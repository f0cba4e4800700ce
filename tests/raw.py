"""A database of either kind, past the store: to look at its rows, and to spoil them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import apsw
import asyncpg

from fanwood.store.memory.memory import held

SCHEMA = "fanwood"


async def aio_sql(url: str, statement: str, *bindings: Any) -> list[tuple[Any, ...]]:
    """What a statement brings. `$1` stands for the first binding."""
    if url.startswith("sqlite"):
        with contextlib.closing(apsw.Connection(url.removeprefix("sqlite:///"))) as file:
            file.set_busy_timeout(60_000)
            return file.execute(statement, bindings).fetchall()
    connection = await asyncpg.connect(url, server_settings={"search_path": SCHEMA})
    try:
        return [tuple(row) for row in await connection.fetch(statement, *bindings)]
    finally:
        await connection.close()


async def watched(url: str) -> list[bytes]:
    """Runs of whose ends anybody wants to hear."""
    if url.startswith("memory:"):
        memory = held(url)
        return [] if memory is None else list(memory.tables.watchers)
    return [row[0] for row in await aio_sql(url, "select run_id from watch")]


async def awaiting(url: str, run_id: bytes) -> int:
    """How many ends this run is noted as waiting for."""
    if url.startswith("memory:"):
        memory = held(url)
        return 0 if memory is None else sum(run_id in waiters for waiters in memory.tables.awaited.values())
    ((count,),) = await aio_sql(url, "select count(*) from awaited where waiter_id = $1", run_id)
    return count


def sql(url: str, statement: str, *bindings: Any) -> list[tuple[Any, ...]]:
    """As `aio_sql`, where no loop runs."""
    return asyncio.run(aio_sql(url, statement, *bindings))
