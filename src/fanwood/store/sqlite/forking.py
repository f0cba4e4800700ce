"""Forks on SQLite: see `store/forking.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fanwood.model.forks import Lineage
from fanwood.store import rows
from fanwood.store.forking import MOST, Forking, NewFork, deleted, must_fork
from fanwood.store.sqlite.infile import InFile
from fanwood.store.statements import load

if TYPE_CHECKING:
    from fanwood.model.forks import Kept
    from fanwood.store.sqlite.driver import Database

_SQL = load("sql/reading.sql", "sqlite/forking.sql")
_IS_PRUNED = load("sqlite/chores.sql")["is_pruned"]


class SqliteForking(InFile, Forking):
    """The verbs, on a store that has a file."""

    async def fork(self, new: NewFork) -> bool:
        with self._transaction() as db:
            made = self._forked(db, new)
        if made:
            self._on_notify()
        return made

    def _forked(self, db: Database, new: NewFork) -> bool:
        """Inside a transaction."""
        state, _, root, _, kind = self._about(new.of)
        must_fork(new.of, kind, state)
        if db.execute(_IS_PRUNED, {"root": root}).get:
            raise deleted(new.of)
        about = {**msgspec.structs.asdict(new), "root": root, "now": self._instant()}
        db.execute(_SQL["insert_fork"], about)
        if not db.changes():
            return False
        db.execute(_SQL["insert_lineage"], about)
        if new.part is not None:
            self._hot.leaving.budgets.give(new.id, new.part)
        return True

    async def kept(self, run_id: bytes, way: bytes | None, after: bytes, limit: int, most: int) -> list[Kept]:
        about = {"parent": run_id, "way": way, "after": after, "limit": limit, "most": most}
        return rows.kept(await self._reader.read(lambda db: db.execute(_SQL["kept"], about).fetchall()))

    async def lineage(self, root_id: bytes) -> Lineage | None:
        found = await self._reader.read(lambda db: db.execute(_SQL["lineage"], {"root": root_id}).fetchall())
        return Lineage(*found[0]) if found else None

    async def forks(self, run_id: bytes) -> list[Lineage]:
        about = {"id": run_id, "limit": MOST}
        found = await self._reader.read(lambda db: db.execute(_SQL["forks"], about).fetchall())
        return [Lineage(*row) for row in found]
