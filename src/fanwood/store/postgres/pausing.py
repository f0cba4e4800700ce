"""What is paused on PostgreSQL: see `store/pausing.py`, and `functions/12_pausing.sql`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.errors import RunNotFoundError
from fanwood.ids import id_text
from fanwood.model.records import Pause
from fanwood.store.pausing import MEANWHILE, Pausing, must_have_code
from fanwood.store.postgres.chores import SQL, chores
from fanwood.store.postgres.gates import part_of, wait_for_others
from fanwood.store.postgres.served import Served

if TYPE_CHECKING:
    from collections.abc import Sequence


class PostgresPausing(Served, Pausing):
    """The verbs, on a store that has a server."""

    async def pause(self, run_id: bytes, by: str) -> bool:
        kind, _ = await part_of(self, run_id)
        must_have_code(run_id, kind, "paused")
        async with chores(self) as work:
            ((new, told),) = await work.db.call("fw_pause", run_id, work.now, by, MEANWHILE)
            work.told += told
        if new is None:
            raise RunNotFoundError(f"There is no run {id_text(run_id)} in {self.url}")
        await wait_for_others(self)
        return new

    async def resume(self, run_id: bytes, only: str = "") -> bool:
        await part_of(self, run_id)
        async with chores(self) as work:
            return await work.db.value("select fw_resume($1, $2, $3)", run_id, work.now, only)

    async def pauses(self, ids: Sequence[bytes] = (), after: tuple[int, bytes] = (-1, b"")) -> list[Pause]:
        async with self.side.transaction() as db:
            found = await db.rows("pauses", SQL["pauses"], ids=list(ids), after_at=after[0], after_id=after[1])
        return [Pause(*row) for row in found]
