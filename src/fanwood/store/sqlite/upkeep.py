"""Looking after a SQLite file: deleting what is old, and whole tables for copying."""

from __future__ import annotations

from itertools import starmap
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.model.records import PruneCount, PruneCursor
from fanwood.model.states import FIRST_TERMINAL
from fanwood.store import retention
from fanwood.store.copying import TABLES
from fanwood.store.retention import TABLES as TABLES_OF_MANY
from fanwood.store.retention import Deed, Plan, Walked, plan, prefix_of
from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.store.sqlite.driver import Database

_SQL = load("sql/copying.sql", "sqlite/retention.sql")

HANGING = (
    "urgencies",
    "logs", "attempts", "messages", "values", "trees", "budgets", "spends", "watches", "gates", "pauses", "unheard",
    "keys", "shared", "forks", "runs",
)  # fmt: skip
"""What is deleted with a run; itself last."""


class _Ground:
    """A file, as `plan` looks at it: without ever waiting."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def walk_roots(
        self, before: int, prefix: str, after: tuple[int, bytes], tops: int, rows: int
    ) -> list[Walked]:
        bindings = {
            "before": before, "prefix": prefix, "created_at": after[0], "after": after[1], "tops": tops, "rows": rows,
        }  # fmt: skip
        return list(starmap(Walked, self._db.execute(_SQL["walk_roots"], bindings).fetchall()))

    async def next_own(self, prefix: str, since: bytes, created_at: int) -> bytes | None:
        bindings = {"prefix": prefix, "since_id": since, "created_at": created_at}
        return self._db.execute(_SQL["next_own"], bindings).get

    async def look_through(
        self, root: bytes, after: tuple[bytes, bytes], rows: int
    ) -> tuple[bool, tuple[bytes, bytes] | None]:
        bindings = {"root": root, "parent": after[0], "id": after[1], "rows": rows}
        found = self._db.execute(_SQL["look_through"], bindings).fetchall()
        lives = any(state < FIRST_TERMINAL for _, _, state in found)
        return lives, (found[-1][0], found[-1][1]) if len(found) == rows else None

    async def lower_end(self, root: bytes, rows: int) -> list[bytes]:
        return [row[0] for row in self._db.execute(_SQL["lower_end"], {"root": root, "rows": rows}).fetchall()]

    async def hanging(self, ids: Sequence[bytes], most: int) -> int:
        return int(self._db.execute(_SQL["hanging"], {"ids": _text(ids), "most": most}).get)


def planned(db: Database, before: int, limit: int, cursor: PruneCursor, namespace: str) -> Plan:
    """What `prune` would do next."""
    planning = plan(_Ground(db), before, limit, cursor, namespace)
    try:
        planning.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waited for something")


def carry_out(db: Database, planned: Plan, before: int, now: int) -> int | None:
    """Do it; how many runs were deleted, None if it can't be done any more."""
    match planned.deed:
        case Deed.NOTHING:
            return 0
        case Deed.MARK:
            db.execute(_SQL["mark"], {"root": planned.root, "before": before, "now": now})
            return 0 if db.changes() else None
        case Deed.UNMARK:
            db.execute(_SQL["unmark"], {"root": planned.root})
            return 0
        case Deed.DELETE:
            over = not planned.ids or db.execute(_SQL["all_over"], {"ids": _text(planned.ids)}).get
        case _:
            over = db.execute(_SQL["is_marked"], {"root": planned.root}).get
    if over and planned.deed is Deed.THIN:
        for table in TABLES_OF_MANY:
            db.execute(_SQL[f"thin_{table}"], {"ids": _text(planned.ids), "most": retention.MOST_HANGING})
        return 0
    return _delete(db, planned.ids) if over else None


def _delete(db: Database, ids: Sequence[bytes]) -> int:
    """Delete these runs with all that hangs on them; how many there were."""
    if not ids:
        return 0
    text = _text(ids)
    for name in HANGING:
        db.execute(_SQL[f"delete_{name}"], {"ids": text})
    return db.changes()


def _text(ids: Sequence[bytes]) -> str:
    return msgspec.json.encode([id_.hex() for id_ in ids]).decode()


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
