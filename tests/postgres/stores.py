"""Stores for tests that look behind the interface: several on one schema, and a connection that watches them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from fanwood.clock import Clock, SystemClock
from fanwood.errors import StoreBusyError, StoreUnavailableError
from fanwood.model.commands import Batch, ClaimedRun, ClaimRequest, Committed, TaskInfo, WorkerInfo
from fanwood.store.postgres.connection import Address, Link
from fanwood.store.postgres.store import PostgresStore

SCHEMA = "fanwood"
TASKS = ("a", "b", "c")
PATIENCE = 60.0
HOUR = 3_600_000_000
"""A lease that doesn't lapse, however busy the machine is."""
_BLOCKED = "select exists (select from pg_stat_activity where pid = $1 and wait_event_type = 'Lock')"


def address_of(url: str, schema: str = SCHEMA) -> Address:
    return Address(url, url, schema, "test")


@asynccontextmanager
async def opened(
    url: str, *, schema: str = SCHEMA, clock: Clock | None = None, count: int = 1, notify: bool = True
) -> AsyncIterator[list[PostgresStore]]:
    """So many stores on one schema, as so many processes have them."""
    stores = [PostgresStore(address_of(url, schema), clock or SystemClock(), notify=notify) for _ in range(count)]
    try:
        for store in stores:
            await store.open(lambda: None)
        yield stores
    finally:
        for store in stores:
            await store.close()


@asynccontextmanager
async def connected(url: str, schema: str = SCHEMA, **about: Any) -> AsyncIterator[asyncpg.Connection]:
    """A connection of nobody's. (Its notices and notifications are the test's.)"""
    connection = await asyncpg.connect(url, server_settings={"search_path": schema}, **about)
    try:
        yield connection
    finally:
        connection.terminate()


async def registered(store: PostgresStore, tasks: Sequence[str] = TASKS, *, slots: int = 10, lease: int = HOUR) -> int:
    about = WorkerInfo("w", "host", 1, slots, tuple(tasks), lease)
    return await store.register(about, [TaskInfo(task, "task") for task in tasks])


async def until_blocked(connection: asyncpg.Connection, pid: int) -> None:
    """That server process waits for a lock. (There is no signal for it.)"""
    async with asyncio.timeout(PATIENCE):
        while not await connection.fetchval(_BLOCKED, pid):
            await asyncio.sleep(0.002)


async def pid_of(link: Link) -> int:
    """The server process of a connection, once it is there."""
    async with asyncio.timeout(PATIENCE):
        while not link.pid:
            await asyncio.sleep(0)
    return link.pid


async def until_committed(store: PostgresStore, worker: int, batch: Batch, *, claims_again: bool = False) -> Committed:
    """As the engine does it: what passes is tried again, with the same batch, which claims no more."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await store.commit(worker, batch)
            except (StoreBusyError, StoreUnavailableError):
                if not claims_again:
                    batch.claim = None


async def claimed(
    store: PostgresStore, worker: int, limit: int, tasks: Sequence[str] = TASKS, fair: int = 0
) -> list[ClaimedRun]:
    batch = Batch(claim=ClaimRequest(json.dumps(list(tasks)), limit, fair))
    return (await store.commit(worker, batch)).claimed
