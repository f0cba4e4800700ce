"""Changing tables that others are using: alone, and without having everybody queue up behind us."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from fanwood.errors import StoreBusyError
from fanwood.store.postgres.driver import driver

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from fanwood.store.postgres.connection import Address
    from fanwood.store.postgres.driver import Connection

T = TypeVar("T")

LOCK_TIMEOUT = "2s"
"""Who waits for a lock on a table keeps all that come later waiting as well."""
TRIES, PAUSE = 12, 1.0
ALONE_SECONDS, ALONE_PAUSE = 120.0, 0.05
_LOCK = 0x46414E57  # "FANW": one application's advisory locks share one number space with everybody else's
_HOLDERS = """
select distinct a.pid, a.application_name, coalesce(a.usename::text, ''), left(coalesce(a.query, ''), 80),
       extract(epoch from now() - a.xact_start)::integer
from pg_locks l join pg_class c on c.oid = l.relation join pg_stat_activity a on a.pid = l.pid
where c.relnamespace = (select n.oid from pg_namespace n where n.nspname = $1) and l.granted
  and l.pid <> pg_backend_pid() and a.xact_start is not null
order by 5 desc nulls last limit 3
"""


@asynccontextmanager
async def transaction(connection: Connection, schema: str) -> AsyncGenerator[None, None]:
    """Everything is asked inside of one: behind a pooler two statements may meet two servers' sessions otherwise."""
    await connection.execute(
        "begin isolation level read committed; "
        f'set local search_path to "{schema}", pg_temp; set local statement_timeout to 0; '
        "set local standard_conforming_strings to on; set local check_function_bodies to off; "
        f"set local lock_timeout to '{LOCK_TIMEOUT}'; set local idle_in_transaction_session_timeout to '60s'"
    )
    try:
        yield
        await connection.execute("commit")
    except BaseException:
        if not connection.is_closed():
            await connection.execute("rollback")
        raise


class _TakenError(Exception):
    """Somebody else migrates at this moment."""


@asynccontextmanager
async def alone(connection: Connection, schema: str) -> AsyncGenerator[None, None]:
    """A transaction that no other migration of this schema is beside. (The lock is not waited for inside of one: a
    snapshot that is held for so long would keep `create index concurrently` of the other waiting for us.)

    Raises:
        StoreBusyError: the other one takes too long.
    """
    begin = asyncio.get_running_loop().time()
    while True:
        try:
            async with transaction(connection, schema):
                if not await connection.fetchval(f"select pg_try_advisory_xact_lock({_LOCK}, hashtext('{schema}'))"):
                    raise _TakenError
                yield
        except _TakenError:
            if asyncio.get_running_loop().time() - begin > ALONE_SECONDS:
                raise StoreBusyError(f"Another process has been migrating schema {schema!r} for two minutes.") from None
            await asyncio.sleep(ALONE_PAUSE)
        else:
            return


async def outside(connection: Connection, schema: str, text: str) -> None:
    """One statement, in no transaction. (Behind a pooler its names must be qualified.)"""
    await connection.execute(f'set search_path to "{schema}", pg_temp')
    try:
        await connection.execute(text)
    finally:
        if not connection.is_closed():
            await connection.execute("reset search_path")


async def patiently(connection: Connection, address: Address, work: Callable[[], Awaitable[T]]) -> T:
    """Do `work`, again and again while others hold what it needs.

    Raises:
        StoreBusyError: they did so all the time; who they are.
    """
    for _ in range(TRIES):
        try:
            return await work()
        except (driver().LockNotAvailableError, driver().DeadlockDetectedError):
            await asyncio.sleep(PAUSE)
    rows = await connection.fetch(_HOLDERS, address.schema)
    who = "; ".join(
        f"process {pid} ({name or 'no name'}, user {user}, in a transaction for {seconds} s): {query}"
        for pid, name, user, query, seconds in rows
    )
    raise StoreBusyError(
        f"{address.shown}: the tables of schema {address.schema!r} could not be changed, because others held them all "
        f"the time: {who or 'nobody any more'}. Nothing was changed. Have them end their transactions, and try again."
    )
