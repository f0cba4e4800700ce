"""Bringing the schema into being, and up to date.

What has been applied stands in tables of the schema, with checksums: each step once, and the layers of functions.
Steps that are missing are one transaction (but for those that must be outside of one), under an advisory lock: any
number of processes may start at once on an empty database. Workers of the version before go on meanwhile: no statement
waits for a lock for long, as everybody else would queue up behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.errors import StoreForeignError, StoreSchemaError, StoreUnavailableError
from fanwood.store.postgres import ddl
from fanwood.store.postgres.driver import driver
from fanwood.store.postgres.release import in_layer

if TYPE_CHECKING:
    from fanwood.store.postgres.connection import Address
    from fanwood.store.postgres.driver import Connection
    from fanwood.store.postgres.release import Release, Step

OLDEST_SERVER = 140000
_TABLES = """
create table if not exists schema_migration (
    number     integer not null primary key,
    name       text    not null,
    checksum   text    not null,
    applied_at timestamptz not null default now()
);
create table if not exists schema_layer (
    number     integer not null primary key,
    checksum   text    not null,
    applied_at timestamptz not null default now()
);
"""
_DROP_LAYER = """
do $$
declare
    name text;
begin
    for name in
        select p.oid::regprocedure::text from pg_proc p
        where p.pronamespace = current_schema()::regnamespace and p.proname ~ '^fw{layer}_'
    loop
        execute 'drop function if exists ' || name || ' cascade';
    end loop;
    for name in
        select t.oid::regtype::text from pg_type t
        where t.typnamespace = current_schema()::regnamespace and t.typname ~ '^fw{layer}_' and t.typtype = 'c'
    loop
        execute 'drop type if exists ' || name || ' cascade';
    end loop;
end $$
"""


async def check(connection: Connection, address: Address, *, create: bool) -> None:
    """The schema is there, whole, and one that this version can work with; made if there is none and `create`.

    Raises:
        StoreSchemaError: it is older, or newer, or was changed.
        StoreForeignError: a schema of that name is somebody else's.
        StoreUnavailableError: there is none, and it was not to be made.
    """
    async with ddl.transaction(connection, address.schema):
        await _check_server(connection, address)
        missing, fresh = await _missing(connection, address)
    if not missing:
        return
    if fresh:
        if not create:
            raise StoreUnavailableError(f"{address.shown} has no schema {address.schema!r}: nothing has run there yet.")
        await migrate(connection, address)
        return
    raise StoreSchemaError(
        f"{address.shown}: schema {address.schema!r} is older than this Fanwood: it lacks {', '.join(missing)}. "
        f"Run: fanwood db migrate"
    )


async def pending(connection: Connection, address: Address) -> list[str]:
    """The names of what has not been applied.

    Raises:
        StoreSchemaError: the schema is newer, or was changed.
        StoreForeignError: it is somebody else's.
    """
    async with ddl.transaction(connection, address.schema):
        await _check_server(connection, address)
        return (await _missing(connection, address))[0]


async def migrate(connection: Connection, address: Address) -> list[str]:
    """Apply what is missing; what that was.

    Raises:
        StoreSchemaError: the schema is newer, or was changed.
        StoreBusyError: others held what was to be changed, all the time.
    """
    taken: list[str] = []
    while True:
        outside = await ddl.patiently(connection, address, lambda: _apply(connection, address, taken))
        if outside is None:
            return taken
        await _apply_outside(connection, address, outside)
        taken.append(outside.name)


async def _apply(connection: Connection, address: Address, taken: list[str]) -> Step | None:
    """All that can be in one transaction: up to the next step that must be outside of one, which is given back."""
    release, schema = address.release, address.schema
    names: list[str] = []
    outside: Step | None = None
    async with ddl.alone(connection, schema):
        await _check_server(connection, address)
        missing, _ = await _missing(connection, address)
        if missing:
            await _make_schema(connection, address)
            await connection.execute(f'set local search_path to "{schema}", pg_temp')
            await connection.execute(_TABLES)
        for step in release.steps:
            if step.name in missing:
                if step.outside:
                    outside = step
                    break
                await connection.execute(step.text)
                await _record(connection, step)
                names.append(step.name)
        if outside is None and release.layer_name in missing:
            await _apply_layer(connection, release)
            names.append(release.layer_name)
    taken += names
    return outside


async def _apply_outside(connection: Connection, address: Address, step: Step) -> None:
    for statement in step.statements:
        await ddl.patiently(connection, address, lambda text=statement: ddl.outside(connection, address.schema, text))
    async with ddl.transaction(connection, address.schema):
        await _record(connection, step)


async def _record(connection: Connection, step: Step) -> None:
    await connection.execute(
        "insert into schema_migration (number, name, checksum) values ($1, $2, $3) on conflict do nothing",
        step.number,
        step.name,
        step.checksum,
    )


async def _apply_layer(connection: Connection, release: Release) -> None:
    """The functions, beside those of the layer before; older ones go."""
    rows = await connection.fetch("select number from schema_layer")
    for number in {row[0] for row in rows} | {release.layer}:
        if number == release.layer or number < release.layer - 1:
            await connection.execute(_DROP_LAYER.format(layer=int(number)))
            await connection.execute("delete from schema_layer where number = $1", number)
    await connection.execute(in_layer(release.functions, release.layer))
    await connection.execute(
        "insert into schema_layer (number, checksum) values ($1, $2)", release.layer, release.layer_checksum
    )


# --- what is there ---------------------------------------------------------------------------------------------------


async def _missing(connection: Connection, address: Address) -> tuple[list[str], bool]:
    """The names of what is missing, and whether that is everything."""
    release = address.release
    applied = await _applied(connection, address)
    if not applied:
        return [*[step.name for step in release.steps], release.layer_name], True
    layers = dict(
        [tuple(row) for row in await connection.fetch(f'select number, checksum from "{address.schema}".schema_layer')]
    )
    if max(applied) > release.number or max(layers, default=0) > release.layer:
        await _check_newer(connection, address, max(applied), layers)
        return [], False
    _check_texts(address, applied)
    missing = [step.name for step in release.steps if step.number not in applied]
    if layers.get(release.layer) != release.layer_checksum:
        missing.append(release.layer_name)
    return missing, False


def _check_texts(address: Address, applied: dict[int, str]) -> None:
    for step in address.release.steps:
        if step.number in applied and applied[step.number] != step.checksum:
            raise StoreSchemaError(
                f"{address.shown}: migration {step.name} was applied to schema {address.schema!r} with another text "
                f"(checksum {applied[step.number]}, expected {step.checksum}): it comes from a build between releases, "
                f"or was changed. Copy the runs into a new schema (`fanwood db copy`), or name another one."
            )


async def _check_newer(connection: Connection, address: Address, number: int, layers: dict[int, str]) -> None:
    """Whether this version can work with a schema that is newer than itself: if that says so, and has our functions."""
    release = address.release
    rows = await connection.fetch(f"select value from \"{address.schema}\".setting where name = 'oldest_program'")
    oldest = int(rows[0][0]) if rows and rows[0][0].isdecimal() else number
    if oldest <= release.number and release.layer in layers:
        return
    raise StoreSchemaError(
        f"{address.shown}: schema {address.schema!r} has version {number} (functions {max(layers, default=0)}), and "
        f"this Fanwood knows versions up to {release.number} (functions {release.layer}). It was made by a newer "
        f"Fanwood: upgrade this one, or name another schema or database."
    )


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
    if "schema_layer" not in tables:
        raise StoreSchemaError(
            f"{address.shown}: the schema {address.schema!r} was made by a Fanwood from before its first release, and "
            f"can't be brought up to date. Name another schema (FANWOOD_POSTGRES_SCHEMA) or database; with the old "
            f"version, `fanwood db copy` can take the runs to a file."
        )
    return {row[0]: row[1] for row in rows}


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
    ((version, encoding),) = await connection.fetch(
        "select current_setting('server_version_num')::integer, current_setting('server_encoding')"
    )
    if version < OLDEST_SERVER:
        raise StoreSchemaError(f"{address.shown} is PostgreSQL {version // 10000}; Fanwood needs 14 or later.")
    if encoding != "UTF8":
        raise StoreSchemaError(
            f"{address.shown}: the database's encoding is {encoding}, in which most text can't be stored; Fanwood "
            f"needs UTF8. Make another one: create database ... encoding 'UTF8' template template0"
        )
