"""Other priorities on PostgreSQL: see `store/prioritizing.py`, and `functions/14_urgency.sql`."""

from __future__ import annotations

from fanwood.errors import RunNotFoundError
from fanwood.ids import id_text
from fanwood.store.pausing import must_have_code
from fanwood.store.postgres.chores import chores
from fanwood.store.postgres.gates import part_of
from fanwood.store.postgres.served import Served
from fanwood.store.prioritizing import Prioritizing


class PostgresPrioritizing(Served, Prioritizing):
    """The verb, on a store that has a server."""

    async def reprioritize(self, run_id: bytes, priority: int, by: str) -> int:
        kind, _ = await part_of(self, run_id)
        must_have_code(run_id, kind, "reprioritized")
        async with chores(self) as work:
            before = await work.db.value("select fw_reprioritize($1, $2, $3, $4)", run_id, work.now, priority, by)
        if before is None:
            raise RunNotFoundError(f"There is no run {id_text(run_id)} in {self.url}")
        return before
