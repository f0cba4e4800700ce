"""Other priorities on SQLite: see `store/prioritizing.py`."""

from __future__ import annotations

from fanwood.model.records import Swept
from fanwood.store.pausing import must_have_code
from fanwood.store.prioritizing import Prioritizing
from fanwood.store.sqlite.infile import InFile


class SqlitePrioritizing(InFile, Prioritizing):
    """The verb, on a store that has a file."""

    def _tell_urgency(self, run_id: bytes | None) -> tuple[Swept, float]:
        """A page of a tree hears of another priority, of all trees or of that of one run; and how long it took."""
        urgency = self._hot.urgency
        root = None if run_id is None else self._about(run_id)[2]
        if urgency.open(root) is None:
            return Swept(0, more=False), 0.0
        with self._unsynced():  # should it be lost, it is done again
            began = self._clock.monotonic()
            done = urgency.tell(self._instant(), root)
        return done, self._clock.monotonic() - began

    async def reprioritize(self, run_id: bytes, priority: int, by: str) -> int:
        with self._transaction():
            must_have_code(run_id, self._about(run_id)[4], "reprioritized")
            return self._hot.urgency.say(run_id, priority, by, self._instant())
