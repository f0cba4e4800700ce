"""Outputs by hand, on PostgreSQL: see `store/patching.py`, and `functions/13_patching.sql`."""

from __future__ import annotations

from fanwood.errors import RunNotFoundError
from fanwood.ids import id_text
from fanwood.model.states import RunState
from fanwood.store.failures import ancestor_ended
from fanwood.store.patching import Patching, refused
from fanwood.store.pausing import must_have_code
from fanwood.store.postgres.chores import chores
from fanwood.store.postgres.gates import part_of, wait_for_others
from fanwood.store.postgres.served import Served


class PostgresPatching(Served, Patching):
    """The verb, on a store that has a server."""

    async def patch(self, run_id: bytes, output: str, by: str) -> RunState:
        kind, parent = await part_of(self, run_id)
        must_have_code(run_id, kind, "patched")
        closing = ancestor_ended(run_id, "was patched")
        async with chores(self) as work:
            found = await work.db.call("fw_patch", run_id, work.now, output, by, closing)
            ((before, no, closes, told),) = found
            work.told += told
        if before is None:
            raise RunNotFoundError(f"There is no run {id_text(run_id)} in {self.url}")
        if no:
            raise refused(run_id, parent)
        if closes:
            await wait_for_others(self)
        return RunState(before)
