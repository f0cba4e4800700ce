"""Forks on PostgreSQL: see `store/forking.py`, and `functions/13_forking.sql`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.errors import RunNotFoundError
from fanwood.ids import id_text
from fanwood.model.forks import Lineage
from fanwood.store import rows
from fanwood.store.forking import MOST, Forking, NewFork, deleted, must_fork
from fanwood.store.postgres.chores import chores
from fanwood.store.postgres.gates import part_of
from fanwood.store.postgres.served import Served

if TYPE_CHECKING:
    from fanwood.model.forks import Kept


def _json(part: tuple[tuple[str, int], ...] | None) -> str | None:
    return None if part is None else msgspec.json.encode(dict(part)).decode()


class PostgresForking(Served, Forking):
    """The verbs, on a store that has a server."""

    async def looked(self, name: str, /, **bindings: Any) -> list[Any]:
        raise NotImplementedError

    async def fork(self, new: NewFork) -> bool:
        kind, _ = await part_of(self, new.of)
        async with chores(self) as work:
            ((found, refused, state, made, task),) = await work.db.call(
                "fw_fork", new.id, new.of, work.now, new.life, new.input, new.at, new.changed, new.by, _json(new.part)
            )
            if not found:
                raise RunNotFoundError(f"There is no run {id_text(new.of)} in {self.url}")
            must_fork(new.of, kind, state)
            if refused:
                raise deleted(new.of)
            work.ready += [task] if made else []
        return made

    async def kept(self, run_id: bytes, way: bytes | None, after: bytes, limit: int, most: int) -> list[Kept]:
        return rows.kept(await self.looked("kept", parent=run_id, way=way, after=after, limit=limit, most=most))

    async def lineage(self, root_id: bytes) -> Lineage | None:
        found = await self.looked("lineage", root=root_id)
        return Lineage(*found[0]) if found else None

    async def forks(self, run_id: bytes) -> list[Lineage]:
        return [Lineage(*row) for row in await self.looked("forks", id=run_id, limit=MOST)]
