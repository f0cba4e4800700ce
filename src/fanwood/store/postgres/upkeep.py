"""Looking after a PostgreSQL schema: deleting what is old, and whole tables for copying."""

from __future__ import annotations

import re
from itertools import starmap
from typing import TYPE_CHECKING, Any

from fanwood.model.records import PruneCount, PruneCursor, Pruned
from fanwood.model.states import FIRST_TERMINAL
from fanwood.store import retention
from fanwood.store.copying import TABLES
from fanwood.store.retention import TABLES as TABLES_OF_MANY
from fanwood.store.retention import Deed, Plan, Walked, after_failure, plan, prefix_of, taking_apart
from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.store.postgres.connection import Transaction
    from fanwood.store.postgres.driver import Connection

_SQL = load("sql/copying.sql", "postgres/retention.sql")
_PRUNE_LOCK = 0x46414E5A
_COLUMNS = {
    table: tuple(re.findall(r"\w+", re.findall(r"\(([^)]*)\)", _SQL[f"copy_in_{table}"])[0])) for table in TABLES
}
"""Those of a row of `copy_out`, in order."""

HANGING = (
    "urgencies",
    "logs", "attempts", "messages", "values", "trees", "budgets", "spends", "watches", "gates", "pauses", "unheard",
    "keys", "shared", "forks", "runs",
)  # fmt: skip
"""What is deleted with a run; itself last."""


class _Ground:
    """A schema, as `plan` looks at it."""

    def __init__(self, db: Transaction) -> None:
        self._db = db

    async def walk_roots(
        self, before: int, prefix: str, after: tuple[int, bytes], tops: int, rows: int
    ) -> list[Walked]:
        found = await self._db.rows(
            "walk_roots", _SQL["walk_roots"],
            before=before, prefix=prefix, created_at=after[0], after=after[1], tops=tops, rows=rows,
        )  # fmt: skip
        return list(starmap(Walked, found))

    async def next_own(self, prefix: str, since: bytes, created_at: int) -> bytes | None:
        name = "next_own"
        found = await self._db.rows(name, _SQL[name], prefix=prefix, since_id=since, created_at=created_at)
        return found[0][0] if found else None

    async def look_through(
        self, root: bytes, after: tuple[bytes, bytes], rows: int
    ) -> tuple[bool, tuple[bytes, bytes] | None]:
        name = "look_through"
        found = await self._db.rows(name, _SQL[name], root=root, parent=after[0], id=after[1], rows=rows)
        lives = any(state < FIRST_TERMINAL for _, _, state in found)
        return lives, (found[-1][0], found[-1][1]) if len(found) == rows else None

    async def lower_end(self, root: bytes, rows: int) -> list[bytes]:
        return [row[0] for row in await self._db.rows("lower_end", _SQL["lower_end"], root=root, rows=rows)]

    async def hanging(self, ids: Sequence[bytes], most: int) -> int:
        return await self._db.value(_SQL["hanging"], ids, most)


async def prune(db: Transaction, now: int, before: int, limit: int, cursor: PruneCursor, namespace: str) -> Pruned:
    """See `Store.prune`. One at a time in each namespace."""
    alone = "select pg_try_advisory_xact_lock($1::integer, hashtext(current_schema() || ' ' || $2::text))"
    if not await db.value(alone, _PRUNE_LOCK, namespace):
        return Pruned(0, None)
    planned = await plan(_Ground(db), before, limit, cursor, namespace)
    deleted = await _carry_out(db, planned, before, now)
    if deleted is None:
        return Pruned(0, after_failure(planned))
    return Pruned(deleted, planned.cursor)


async def begin_deleting(db: Transaction, now: int, root_id: bytes) -> PruneCursor | None:
    """See `Store.begin_deleting`."""
    if await _carry_out(db, Plan(Deed.MARK, None, root=root_id), now + 1, now) is None:
        return None
    return taking_apart(await db.value("select created_at from run where id = $1", root_id), root_id)


async def _carry_out(db: Transaction, planned: Plan, before: int, now: int) -> int | None:
    """Do it; how many runs were deleted, None if it can't be done any more."""
    root, ids = planned.root, planned.ids
    match planned.deed:
        case Deed.NOTHING:
            return 0
        case Deed.MARK:
            await db.connection.fetch(_SQL["lock_roots"], [root])  # then what follows sees a fork that was just made
            return 0 if await db.rows("mark", _SQL["mark"], root=root, before=before, now=now) else None
        case Deed.UNMARK:
            await db.rows("unmark", _SQL["unmark"], root=root)
            return 0
        case Deed.DELETE:
            roots = [row[0] for row in await db.connection.fetch(_SQL["lock_roots"], ids)]
            over = not ids or await db.connection.fetchval(_SQL["all_over"], ids, roots)
        case _:
            ((over,),) = await db.rows("is_marked", _SQL["is_marked"], root=root)
    if over and planned.deed is Deed.THIN:
        for table in TABLES_OF_MANY:
            await db.value(_SQL[f"thin_{table}"], ids, retention.MOST_HANGING)
        return 0
    return await _delete(db, ids) if over else None


async def _delete(db: Transaction, ids: Sequence[bytes]) -> int:
    """Delete these runs with all that hangs on them; how many there were."""
    if not ids:
        return 0
    for name in HANGING:
        await db.value(_SQL[f"delete_{name}"], ids)
    return len(ids)


async def vacuum(connection: Connection, schema: str) -> None:
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
    """By COPY into a table beside, and from there what is new. (The name is such that it hides no table of ours.)"""
    if not rows:
        return 0
    columns = ", ".join(_COLUMNS[table])
    staging = f"fw_copy_{table}"
    await db.connection.execute(
        f'create temp table {staging} on commit drop as select {columns} from "{table}" with no data'
    )
    await db.connection.copy_records_to_table(staging, records=rows, columns=_COLUMNS[table], schema_name="pg_temp")
    tag = await db.connection.execute(
        f'insert into "{table}" ({columns}) select {columns} from pg_temp.{staging} on conflict do nothing'
    )
    return int(tag.rpartition(" ")[2])


async def count(db: Transaction, table: str) -> int:
    ((number,),) = await db.rows(f"count_{table}", _SQL[f"count_{table}"])
    return number
