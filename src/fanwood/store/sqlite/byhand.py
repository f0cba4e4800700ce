"""What is done to runs of a file by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.model.records import Swept
from fanwood.store.sqlite.forking import SqliteForking
from fanwood.store.sqlite.patching import SqlitePatching
from fanwood.store.sqlite.pausing import SqlitePausing
from fanwood.store.sqlite.prioritizing import SqlitePrioritizing

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from fanwood.clock import Clock
    from fanwood.model.states import RunState
    from fanwood.store.sqlite.driver import Database
    from fanwood.store.sqlite.hot import HotPath


class SqliteByHand(SqlitePausing, SqlitePatching, SqlitePrioritizing, SqliteForking):
    """All of it, on a store that has a file."""

    _clock: Clock
    _hot: HotPath
    _on_notify: Callable[[], None]

    def _transaction(self) -> AbstractContextManager[Database]:
        raise NotImplementedError

    def _unsynced(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    def _instant(self) -> int:
        raise NotImplementedError

    def _about(self, run_id: bytes) -> tuple[RunState, int, bytes, bytes, int]:
        raise NotImplementedError

    def _follow(self, run_id: bytes | None) -> tuple[Swept, float]:
        """A page of what follows from what was done, of all trees or of that of one run; and how long it took."""
        released, took = self._release(run_id)
        told, also = self._tell_urgency(run_id)
        return Swept(0, released.more or told.more, released.looked + told.looked), took + also
