"""Who is at a database, asked without opening it: one whose schema is older is left as it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fanwood.errors import StoreError
from fanwood.model.records import WorkerRecord
from fanwood.store.statements import load
from fanwood.store.urls import without_password

if TYPE_CHECKING:
    from fanwood.settings import Settings
    from fanwood.store.store import Store

_SQL = load("sql/reading.sql")
_FILE = "sqlite:///"
_NOW = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint"


class Attendance(NamedTuple):
    """All engines that are entered, and the store's time."""

    workers: list[WorkerRecord]
    now: int


async def attendance(store: Store, settings: Settings) -> Attendance:
    """Who is at `store`, which is not open. Nobody, if there is nothing yet, or if it can't be read."""
    try:
        if not store.embedded:
            return await _of_server(settings)
        return _of_file(store) if store.url.startswith(_FILE) else Attendance([], 0)
    except StoreError:
        return Attendance([], 0)


def _of_file(store: Store) -> Attendance:
    from fanwood.store.sqlite.connection import connect, translated  # noqa: PLC0415  (where it is used)

    path = Path(store.url.removeprefix(_FILE))
    if not path.exists():
        return Attendance([], 0)
    connection = connect(path, read_only=True)
    try:
        with translated(path):
            rows = connection.execute(_SQL["workers"]).fetchall()
    finally:
        connection.close()
    return Attendance([WorkerRecord(*row) for row in rows], store.now())


async def _of_server(settings: Settings) -> Attendance:
    from fanwood.store.postgres import ddl  # noqa: PLC0415  (as above)
    from fanwood.store.postgres.connection import Address  # noqa: PLC0415
    from fanwood.store.postgres.troubles import translated  # noqa: PLC0415

    url, shown = settings.database_url, without_password(settings.database_url)
    address = Address(url, shown, settings.postgres_schema, str(os.getpid()), pooled=settings.pgbouncer)
    connection = await address.connect("migrate")
    try:
        with translated(shown):
            async with ddl.transaction(connection, address.schema):
                rows = await connection.fetch(_SQL["workers"])
                now = await connection.fetchval(_NOW)
    finally:
        try:
            await connection.close(timeout=1.0)
        except Exception:  # noqa: BLE001  (it is gone either way)
            connection.terminate()
    return Attendance([WorkerRecord(*row) for row in rows], now)
