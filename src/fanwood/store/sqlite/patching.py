"""Outputs by hand, on SQLite: see `store/patching.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fanwood.model.states import EndedBy, RunState
from fanwood.store.failures import ancestor_ended
from fanwood.store.patching import Patching, patched_line, refused
from fanwood.store.pausing import must_have_code
from fanwood.store.sqlite.infile import InFile
from fanwood.store.sqlite.leaving import ALL, Ending, Gate
from fanwood.store.statements import load

if TYPE_CHECKING:
    from fanwood.store.sqlite.driver import Database

_SQL = load("sqlite/patching.sql")
_TELL = load("sqlite/chores.sql")["tell_workers"]
_before = msgspec.json.Decoder(tuple[int, int, str | None, str, bool | int])


class SqlitePatching(InFile, Patching):
    """The verb, on a store that has a file."""

    async def patch(self, run_id: bytes, output: str, by: str) -> RunState:
        with self._transaction() as db:
            must_have_code(run_id, self._about(run_id)[4], "patched")
            number, attempt, before, parent, lives = _before.decode(
                db.execute(_SQL["before_patch"], {"id": run_id}).get
            )
            state, now = RunState(number), self._instant()
            if state is RunState.COMPLETED and lives:
                raise refused(run_id, bytes.fromhex(parent))
            line = {"id": run_id, "now": now, "message": patched_line(by, state, before)}
            db.execute(_SQL["note_patch"], line)
            if state.is_terminal:
                db.execute(_SQL["patch_ended"], {"id": run_id, "output": output})
            else:
                self._end_patched(db, run_id, attempt, state, output, now)
        self._on_notify()
        return state

    def _end_patched(self, db: Database, run_id: bytes, attempt: int, state: RunState, output: str, now: int) -> None:
        leaving, id_ = self._hot.leaving, run_id.hex().upper()
        leaving.end(0, now, [Ending(id_, attempt, state, RunState.COMPLETED, output, None, 0, EndedBy.PATCH)])
        closed = leaving.close(now, [Gate(id_, ALL, attempt, ancestor_ended(run_id, "was patched"))])
        if closed or state is RunState.RUNNING:
            db.execute(_TELL, {"id": run_id, "now": now})
