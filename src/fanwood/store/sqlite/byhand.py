"""What is done to runs of a file by hand."""

from __future__ import annotations

from fanwood.model.records import Swept
from fanwood.store.sqlite.many import SqliteMany
from fanwood.store.sqlite.patching import SqlitePatching
from fanwood.store.sqlite.pausing import SqlitePausing
from fanwood.store.sqlite.prioritizing import SqlitePrioritizing


class SqliteByHand(SqlitePausing, SqlitePatching, SqlitePrioritizing, SqliteMany):
    """All of it, on a store that has a file."""

    def _follow(self, run_id: bytes | None) -> tuple[Swept, float]:
        """A page of what follows from what was done, of all trees or of that of one run; and how long it took."""
        released, took = self._release(run_id)
        told, also = self._tell_urgency(run_id)
        return Swept(0, released.more or told.more, released.looked + told.looked), took + also
