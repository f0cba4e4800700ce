"""Looking after a PostgreSQL schema: deleting what is old, and whole tables for copying."""

from __future__ import annotations

from itertools import starmap
from typing import TYPE_CHECKING, Any

from fanwood.model.records import PruneCount, PruneCursor, Pruned
from fanwood.store.copying import TABLES
from fanwood.store.retention import Walked, find_old, prefix_of
from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.store.postgres.connection import Transaction
    from fanwood.store.postgres.driver import Connection

_SQL = load("sql/retention.sql", "sql/copying.sql", "postgres/retention.sql")


class Ground:
    """A schema, as `find_old` looks at it."""

    def __init__(self, db: Transaction) -> None:
        self._db = db

    async def walk(self, name: str, **bindings: Any) -> list[Walked]:
        return list(starmap(Walked, await self._db.rows(name, _SQL[name], **bindings)))

    async def goes_on(self, root: bytes) -> bool:
        ((going_on,),) = await self._db.rows("goes_on", _SQL["goes_on"], id=root)
        return going_on


async def prune(db: Transaction, before: int, limit: int, cursor: PruneCursor, namespace: str) -> Pruned:
    """See `Store.prune`."""
    ids, further = await find_old(Ground(db), before, limit, cursor, namespace)
    deleted = await _delete(db, ids)
    return Pruned(deleted, further if deleted or not ids else None)


async def _delete(db: Transaction, ids: list[bytes]) -> int:
    """Delete these runs with all that hangs on them; none if any has come to life again. How many it were."""
    if not ids or not await db.value(_SQL["all_over"], ids):
        return 0
    for name in ("delete_logs", "delete_watches", "delete_runs"):
        await db.value(_SQL[name], ids)
    return len(ids)


async def tidy(connection: Connection, schema: str) -> None:
    """Vacuum the tables of the hot path, if it is time; nothing for a role that may not."""
    if await connection.fetchval(_SQL["vacuum_is_due"], schema):
        await connection.execute(f'vacuum (skip_locked) "{schema}".run, "{schema}".mail, "{schema}".watch')


async def prunable(db: Transaction, before: int, namespace: str) -> PruneCount:
    ((trees, runs),) = await db.rows("prunable", _SQL["prunable"], before=before, prefix=prefix_of(namespace))
    return PruneCount(int(trees), int(runs))


async def copy_out(db: Transaction, table: str, after: tuple[Any, ...], limit: int) -> list[tuple[Any, ...]]:
    name = f"copy_out_{table}"
    key = dict(zip(TABLES[table], after, strict=True))
    return [tuple(row) for row in await db.rows(name, _SQL[name], **key, limit=limit)]


async def copy_in(db: Transaction, table: str, rows: Sequence[tuple[Any, ...]]) -> int:
    name = f"copy_in_{table}"
    before = await count(db, table)
    await db.many(name, _SQL[name], rows)
    return await count(db, table) - before


async def count(db: Transaction, table: str) -> int:
    ((number,),) = await db.rows(f"count_{table}", _SQL[f"count_{table}"])
    return number
