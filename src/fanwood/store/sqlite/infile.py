"""What the parts of a store in a file have of the whole, whatever their verbs are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from fanwood.clock import Clock
    from fanwood.model.states import RunState
    from fanwood.store.sqlite.driver import Database
    from fanwood.store.sqlite.hot import HotPath
    from fanwood.store.sqlite.reader import Reader


class InFile:
    """A part of the store."""

    _clock: Clock
    _hot: HotPath
    _reader: Reader
    _on_notify: Callable[[], None]

    def _transaction(self) -> AbstractContextManager[Database]:
        raise NotImplementedError

    def _unsynced(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    def _instant(self) -> int:
        raise NotImplementedError

    def _about(self, run_id: bytes) -> tuple[RunState, int, bytes, bytes, int]:
        raise NotImplementedError
