"""Deadlines that move: noted at once, in one row, and told to what lives of the tree a page at a time.

Until all has been told a run may stand there with the deadline that it had. So whoever would end one by its deadline
looks first (`true_deadlines`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.model.records import Swept
from fanwood.model.states import RunState
from fanwood.store.sqlite.leaving import Leaving, encoded
from fanwood.store.sqlite.living import OVER, Living
from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fanwood.store.sqlite.driver import Database

_SQL = load("sqlite/deadlines.sql")

PAGE = 200
"""Runs that one transaction looks at."""

_moved = msgspec.json.Decoder(tuple[str, int, str | None, int])
_deadlines = msgspec.json.Decoder(list[tuple[str, int, int, int]])


class Moving:
    """One connection's deadlines, inside transactions that the caller begins."""

    def __init__(self, connection: Database, leaving: Leaving) -> None:
        self._execute = connection.execute
        self._changes = connection.changes
        self._leaving = leaving
        self._living = Living(connection)

    def _one(self, name: str, /, **bindings: Any) -> Any:
        return self._execute(_SQL[name], bindings).get

    def note(self, now: int, moves: Iterable[tuple[bytes, int, int]]) -> bool:
        """The limits of these attempts are now these; whether any has moved."""
        last = {(run_id.hex(), attempt): limit for run_id, attempt, limit in moves}
        rows = encoded([(*attempt, limit) for attempt, limit in last.items()])
        self._execute(_SQL["move_limits"], {"rows": rows})
        if not self._changes():
            return False
        self._execute(_SQL["note_moved"], {"rows": rows, "now": now})
        return True

    @property
    def pending(self) -> bool:
        """Whether anybody has to be told."""
        return bool(self._one("has_moved"))

    def tell(self, now: int) -> Swept:
        """One page of a tree in which a deadline moved: what lives of it gets the deadlines that it has now."""
        found = self._one("oldest_moved")
        if found is None:
            return Swept(0, more=False)
        of, phase, place, again = _moved.decode(found)
        root, looked = bytes.fromhex(of), 0
        while looked < PAGE and phase != OVER:
            runs, phase, place = self._living.page(root, phase, place, PAGE - looked)
            self.correct(now, [run[0] for run in runs])
            looked += max(1, len(runs))
        if phase != OVER:
            self._execute(_SQL["note_told"], {"root": root, "phase": phase, "place": place})
        elif again:
            self._execute(_SQL["begin_anew"], {"root": root, "now": now})
        else:
            self._execute(_SQL["end_told"], {"root": root})
        return Swept(0, more=self.pending, looked=looked)

    def correct(self, now: int, ids: Sequence[str]) -> set[str]:
        """Those of these runs whose rows did not have the deadlines that they have; they do now, and their workers are
        told."""
        found = self._deadlines(ids)
        late = [(id_, deadline) for id_, _, written, deadline in found if written != deadline]
        if late:
            self._execute(_SQL["move_deadlines"], {"rows": encoded(late), "now": now})
            held = {id_ for id_, state, *_ in found if state == RunState.RUNNING}
            self._leaving.tell_holders([id_ for id_, _ in late if id_ in held])
        return {id_ for id_, _ in late}

    def true_deadlines(self, ids: Sequence[bytes]) -> dict[bytes, int]:
        """See `Store.deadlines`."""
        found = self._deadlines([id_.hex() for id_ in ids])
        return {bytes.fromhex(id_): deadline for id_, _, _, deadline in found}

    def _deadlines(self, ids: Sequence[str]) -> list[tuple[str, int, int, int]]:
        return _deadlines.decode(self._one("deadlines", ids=encoded(ids))) if ids else []
