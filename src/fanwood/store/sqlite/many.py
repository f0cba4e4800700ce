"""The same done to many runs on SQLite: see `store/many.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.errors import RunNotFoundError, UsageError
from fanwood.model.budgets import Overdrawn
from fanwood.model.states import TERMINAL
from fanwood.store.many import Came, Deed, Many, must_be_few
from fanwood.store.pausing import must_have_code
from fanwood.store.sqlite.forking import SqliteForking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.store.sqlite.chores import Chores
    from fanwood.store.sqlite.driver import Database


class SqliteMany(SqliteForking, Many):
    """The verb, on a store that has a file."""

    _chores: Chores

    async def to_many(self, deed: Deed, ids: Sequence[bytes]) -> list[Came]:
        must_be_few(ids)
        refused = set[bytes]()
        while True:
            try:
                with self._transaction() as db:
                    came = [
                        Came.NOT if id_ in refused else self._to_one(db, deed, number, id_)
                        for number, id_ in enumerate(ids)
                    ]
            except Overdrawn as error:  # all of it was undone: once more, without those
                if not error.refused.keys() - refused:
                    raise
                refused |= error.refused.keys()
            else:
                self._on_notify()  # our own worker is told as well
                return came

    def _to_one(self, db: Database, deed: Deed, number: int, run_id: bytes) -> Came:
        """Each of these is refused before it has changed anything."""
        try:
            if deed.what == "fork":
                return Came.DONE if self._forked(db, deed.forks[number]) else Came.SAME
            state, attempt, root, _, kind = self._about(run_id)
            now = self._instant()
            if deed.what == "cancel":
                return self._cancelled(run_id, deed.by, now)
            must_have_code(run_id, kind, deed.what)
            match deed.what:
                case "replay":
                    if state not in deed.allow or state not in TERMINAL:
                        return Came.SAME
                    return Came.DONE if self._chores.replay(run_id, state, attempt, root, now) else Came.LATER
                case "pause":
                    return Came.DONE if self._hot.pauses.pause(run_id, root, deed.by, now) else Came.SAME
                case "resume":
                    return Came.FOLLOWS if self._hot.pauses.resume(run_id, now) else Came.SAME
                case "reprioritize":
                    self._hot.urgency.say(run_id, deed.priority, deed.by, now)
                    return Came.FOLLOWS
        except (RunNotFoundError, UsageError):
            return Came.NOT

    def _cancelled(self, run_id: bytes, reason: str, now: int) -> Came:
        state, attempt, *_ = self._about(run_id)
        ended = self._chores.cancel(run_id, state, attempt, reason, now)
        if self._chores.is_closed(run_id):
            return Came.FOLLOWS
        return Came.DONE if ended else Came.SAME
