"""Looking after a SQLite file: deleting what is old, and whole tables for copying."""

from __future__ import annotations

from itertools import starmap
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.model.records import PruneCount, PruneCursor
from fanwood.store.copying import TABLES
from fanwood.store.retention import Walked, find_old, prefix_of
from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.store.sqlite.driver import Database

_SQL = load("sql/retention.sql", "sql/copying.sql", "sqlite/retention.sql")


class _Ground:
    """A file, as `find_old` looks at it: without ever waiting."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def walk(self, name: str, **bindings: Any) -> list[Walked]:
        return list(starmap(Walked, self._db.execute(_SQL[name], bindings).fetchall()))

    async def goes_on(self, root: bytes) -> bool:
        return bool(self._db.execute(_SQL["goes_on"], {"id": root}).get)


def find(
    db: Database, before: int, limit: int, cursor: PruneCursor, namespace: str
) -> tuple[list[bytes], PruneCursor | None]:
    """What `prune` would delete next."""
    finding = find_old(_Ground(db), before, limit, cursor, namespace)
    try:
        finding.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waited for something")


def delete(db: Database, ids: list[bytes]) -> int:
    """Delete these runs with all that hangs on them; none if any has come to life again. How many it were."""
    text = msgspec.json.encode([id_.hex() for id_ in ids]).decode()
    if not ids or not db.execute(_SQL["all_over"], {"ids": text}).get:
        return 0
    for name in ("delete_logs", "delete_watches", "delete_runs"):
        db.execute(_SQL[name], {"ids": text})
    return len(ids)


def prunable(db: Database, before: int, namespace: str) -> PruneCount:
    bindings = {"before": before, "prefix": prefix_of(namespace)}
    return PruneCount(*db.execute(_SQL["prunable"], bindings).fetchone())


def copy_out(db: Database, table: str, after: tuple[Any, ...], limit: int) -> list[tuple[Any, ...]]:
    key = dict(zip(TABLES[table], after, strict=True))
    return db.execute(_SQL[f"copy_out_{table}"], {**key, "limit": limit}).fetchall()


def copy_in(db: Database, table: str, rows: Sequence[tuple[Any, ...]]) -> int:
    new = 0
    for row in rows:
        db.execute(_SQL[f"copy_in_{table}"], row)
        new += db.changes()
    return new


def count(db: Database, table: str) -> int:
    return int(db.execute(_SQL[f"count_{table}"]).get)
