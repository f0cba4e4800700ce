"""What is deleted of a server's tables, and how they are copied: a page at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanwood.store.postgres import upkeep
from fanwood.store.postgres.served import Served
from fanwood.store.store import START

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.model.records import PruneCount, PruneCursor, Pruned
    from fanwood.store.postgres.connection import Link


class PostgresKeeping(Served):
    """The verbs, on a store that has a server."""

    _reader: Link

    async def prune(self, before: int, limit: int, cursor: PruneCursor = START, namespace: str = "") -> Pruned:
        async with self._reader.transaction() as db:
            return await upkeep.prune(db, await self.instant(db), before, limit, cursor, namespace)

    async def begin_deleting(self, root_id: bytes) -> PruneCursor | None:
        async with self._reader.transaction() as db:
            return await upkeep.begin_deleting(db, await self.instant(db), root_id)

    async def prunable(self, before: int, namespace: str = "") -> PruneCount:
        async with self._reader.transaction() as db:
            return await upkeep.prunable(db, before, namespace)

    async def copy_out(self, table: str, after: tuple[Any, ...], limit: int) -> list[tuple[Any, ...]]:
        async with self._reader.transaction() as db:
            return await upkeep.copy_out(db, table, after, limit)

    async def copy_in(self, table: str, rows: Sequence[tuple[Any, ...]]) -> int:
        async with self._reader.transaction() as db:
            return await upkeep.copy_in(db, table, rows)

    async def count(self, table: str) -> int:
        async with self._reader.transaction() as db:
            return await upkeep.count(db, table)
