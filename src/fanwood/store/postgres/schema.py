"""Bringing the schema into being, and up to date.

Each step is a numbered file; what has been applied stands in a table of the schema, with a checksum. All steps that
are missing are one transaction, under an advisory lock: any number of processes may start at once on an empty database.
"""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from fanwood.errors import StoreForeignError, StoreSchemaError, StoreUnavailableError
from fanwood.store.postgres.driver import driver

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fanwood.store.postgres.connection import Address
    from fanwood.store.postgres.driver import Connection

OLDEST_SERVER = 140000
_LOCK = 0x46414E57  # "FANW": one application's advisory locks share one number space with everybody else's
_TABLE = """
create table if not exists schema_migration (
    number     integer not null primary key,
    name       text    not null,
    checksum   text    not null,
    applied_at timestamptz not null default now()
)
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One migration."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """Equal only for the same text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


def steps() -> list[Step]:
    """All that this version knows, in order."""
    folder = files("fanwood.store").joinpath("postgres/migrations")
    found = [
        Step(int(f.name.split("_")[0]), f.name.removesuffix(".sql"), f.read_text(encoding="utf-8"))
        for f in folder.iterdir()
        if f.name[0].isdigit()
    ]
    return sorted(found, key=lambda step: step.number)


async def check(connection: Connection, address: Address, *, create: bool) -> None:
    """The schema is there, whole, and of this version; made if there is none and `create`.

    Raises:
        StoreSchemaError: it is older, newer, or was changed.
        StoreForeignError: a schema of that name is somebody else's.
        StoreUnavailableError: there is none, and it was not to be made.
    """
    missing = await pending(connection, address)
    if not missing:
        return
    if missing == steps():
        if not create:
            raise StoreUnavailableError(f"{address.shown} has no schema {address.schema!r}: nothing has run there yet.")
        await migrate(connection, address)
        return
    raise StoreSchemaError(
        f"{address.shown}: schema {address.schema!r} is older than this Fanwood: it lacks "
        f"{', '.join(step.name for step in missing)}. Run: fanwood db migrate"
    )


async def pending(connection: Connection, address: Address) -> list[Step]:
    """The steps that have not been applied.

    Raises:
        StoreSchemaError: the schema is newer, or was changed.
        StoreForeignError: it is somebody else's.
    """
    async with _transaction(connection):
        return await _pending(connection, address)


async def _pending(connection: Connection, address: Address) -> list[Step]:
    applied = await _applied(connection, address)
    known = steps()
    newest = known[-1].number
    if applied and max(applied) > newest:
        raise StoreSchemaError(
            f"{address.shown}: schema {address.schema!r} has version {max(applied)}, and this Fanwood knows versions "
            f"up to {newest}. It was made by a newer Fanwood: upgrade this one, or name another schema or database."
        )
    for step in known:
        if step.number in applied and applied[step.number] != step.checksum:
            raise StoreSchemaError(
                f"{address.shown}: migration {step.name} was applied to schema {address.schema!r} with another text "
                f"(checksum {applied[step.number]}, expected {step.checksum}): it comes from a build between releases, "
                f"or was changed. Copy the runs into a new schema (`fanwood db copy`), or name another one."
            )
    return [step for step in known if step.number not in applied]


async def _applied(connection: Connection, address: Address) -> dict[int, str]:
    """From number to checksum; empty if there is no schema, or an empty one."""
    tables = {
        row[0]
        for row in await connection.fetch(
            "select tablename::text from pg_catalog.pg_tables where schemaname = $1", address.schema
        )
    }
    if not tables:
        return {}
    if "schema_migration" not in tables:
        raise StoreForeignError(
            f"{address.shown}: the schema {address.schema!r} holds tables that are not Fanwood's. Nothing in it was "
            f"touched. Name another one: FANWOOD_POSTGRES_SCHEMA"
        )
    rows = await connection.fetch(f'select number, checksum from "{address.schema}".schema_migration')
    return {row[0]: row[1] for row in rows}


async def migrate(connection: Connection, address: Address) -> list[Step]:
    """Apply what is missing, all of it or nothing; what that was."""
    async with _transaction(connection):
        await _check_server(connection, address)
        await connection.execute(f"select pg_advisory_xact_lock({_LOCK}, hashtext('{address.schema}'))")
        missing = await _pending(connection, address)
        if missing:
            await _make_schema(connection, address)
            await connection.execute(f'set local search_path to "{address.schema}"')
            await connection.execute(_TABLE)
        for step in missing:
            await connection.execute(step.text)
            await connection.execute(
                "insert into schema_migration (number, name, checksum) values ($1, $2, $3)",
                step.number,
                step.name,
                step.checksum,
            )
    return missing


@asynccontextmanager
async def _transaction(connection: Connection) -> AsyncGenerator[None, None]:
    """Everything is asked inside of one: behind a pooler two statements may meet two servers' sessions otherwise."""
    await connection.execute("begin isolation level read committed")
    try:
        yield
        await connection.execute("commit")
    except BaseException:
        if not connection.is_closed():
            await connection.execute("rollback")
        raise


async def _make_schema(connection: Connection, address: Address) -> None:
    """Unless somebody who may has made it for us."""
    there = await connection.fetchval("select 1 from pg_catalog.pg_namespace where nspname = $1", address.schema)
    if there:
        return
    try:
        await connection.execute(f'create schema "{address.schema}"')
    except driver().InsufficientPrivilegeError as error:
        raise StoreSchemaError(
            f"{address.shown} has no schema {address.schema!r}, and this role may not make it ({error}). Have its "
            f"owner run `fanwood db migrate`, or grant it: grant create on database ... to ..."
        ) from error


async def _check_server(connection: Connection, address: Address) -> None:
    version = int(await connection.fetchval("select current_setting('server_version_num')::integer"))
    if version < OLDEST_SERVER:
        raise StoreSchemaError(f"{address.shown} is PostgreSQL {version // 10000}; Fanwood needs 14 or later.")
