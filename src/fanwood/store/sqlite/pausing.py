"""What is paused on SQLite: see `store/pausing.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.model.records import Pause, Swept
from fanwood.store.pausing import Pausing, must_have_code
from fanwood.store.sqlite.infile import InFile
from fanwood.store.sqlite.leaving import encoded
from fanwood.store.sqlite.pauses import SQL

if TYPE_CHECKING:
    from collections.abc import Sequence


class SqlitePausing(InFile, Pausing):
    """The verbs, on a store that has a file."""

    def _release(self, run_id: bytes | None) -> tuple[Swept, float]:
        """A page of what was paused is queued, of all trees or of that of one run; and how long it took."""
        pauses = self._hot.pauses
        if pauses.is_empty:
            return Swept(0, more=False), 0.0
        root = None if run_id is None else self._about(run_id)[2]
        if not pauses.resuming(root):
            return Swept(0, more=False), 0.0
        with self._unsynced():  # should it be lost, it is done again
            began = self._clock.monotonic()
            done = pauses.release(self._instant(), root)
        return done, self._clock.monotonic() - began

    async def pause(self, run_id: bytes, by: str) -> bool:
        with self._transaction():
            _, _, root, _, kind = self._about(run_id)
            must_have_code(run_id, kind, "paused")
            new = self._hot.pauses.pause(run_id, root, by, self._instant())
        self._on_notify()  # our own worker is told as well
        return new

    async def resume(self, run_id: bytes, only: str = "") -> bool:
        with self._transaction():
            self._about(run_id)
            return self._hot.pauses.resume(run_id, self._instant(), only)

    async def pauses(self, ids: Sequence[bytes] = (), after: tuple[int, bytes] = (-1, b"")) -> list[Pause]:
        about = {
            "ids": encoded([id_.hex() for id_ in ids]), "every": int(not ids),
            "after_at": after[0], "after_id": after[1],
        }  # fmt: skip
        found = await self._reader.read(lambda db: db.execute(SQL["pauses"], about).fetchall())
        return [Pause(*row) for row in found]
