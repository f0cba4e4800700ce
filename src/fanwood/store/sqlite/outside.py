"""What comes to runs from outside, in a file: see `store/outside.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fanwood.model.records import Settled
from fanwood.model.states import RunState
from fanwood.store.outside import Outside
from fanwood.store.parts import must_promise
from fanwood.store.sqlite.connection import translated
from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from fanwood.store.sqlite.driver import Database
    from fanwood.store.sqlite.leaving import Leaving

_SQL = load("sqlite/outside.sql")
_end = msgspec.json.Decoder(tuple[RunState, str | None, str | None])


class SqliteOutside(Outside):
    """The verbs, on a store that has a file."""

    _leaving: Leaving
    _connection: Database | None
    path: Path
    _on_notify: Callable[[], None]

    def _transaction(self) -> AbstractContextManager[Database]:
        raise NotImplementedError

    def _instant(self) -> int:
        raise NotImplementedError

    def _about(self, run_id: bytes) -> tuple[RunState, int, bytes, bytes, int]:
        raise NotImplementedError

    async def secret(self) -> str:
        assert self._connection is not None
        with translated(self.path):
            return self._connection.execute(_SQL["secret"]).get

    async def take_secret(self, secret: str) -> None:
        with self._transaction() as db:
            db.execute(_SQL["take_secret"], {"secret": secret})

    async def settle(self, run_id: bytes, state: RunState, output: str | None, error: str | None) -> Settled:
        with self._transaction() as db:
            before, attempt, _, _, kind = self._about(run_id)
            must_promise(run_id, kind)
            id_ = run_id.hex().upper()
            waits = before is RunState.WAITING
            if waits and (closed := self._leaving.closed([id_])):
                return Settled(False, RunState.CANCELLED, None, closed[id_])
            if waits:
                self._leaving.fulfil(self._instant(), [(id_, attempt)], state, output, error)
            ended = Settled(waits, *_end.decode(db.execute(_SQL["how_it_ended"], {"id": run_id}).get))
        self._on_notify()  # our own worker is told as well
        return ended
