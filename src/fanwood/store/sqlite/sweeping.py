"""Ending, in bounded steps, what is below something that is closed.

A *pass* goes once through all that lives of one root: what is queued, then what runs, then what waits. It ends all
that is below any gate that was there when it began, and then those gates go. Nothing can slip by it: whatever would
change its state meanwhile (be born, claimed, queued again) looks at the gates itself. The gate that leads the pass
keeps its place, so anybody may go on with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.model.records import Swept
from fanwood.store.sqlite.living import OVER, QUEUED, Living
from fanwood.store.statements import load

if TYPE_CHECKING:
    from fanwood.store.sqlite.driver import Database
    from fanwood.store.sqlite.leaving import Leaving

_SQL = load("sqlite/sweeping.sql")

FEWEST, MOST = 100, 400
"""Runs that one transaction looks at: as many as can be done while commits hardly wait for it."""
PATIENCE = 0.0025
"""Seconds that one transaction should take."""
LEAST = 30
"""What a page without any counts for."""

_gate = msgspec.json.Decoder(tuple[str, str, str])
_pass = msgspec.json.Decoder(tuple[int, str | None])


class Sweeping:
    """One connection's sweeps, inside transactions that the caller begins."""

    def __init__(self, connection: Database, leaving: Leaving) -> None:
        self._execute = connection.execute
        self._leaving = leaving
        self._living = Living(connection, self._end_children)
        self._page_size = FEWEST
        self._now = 0

    def note(self, seconds: float) -> None:
        """So long a page took: the next one is made larger or smaller."""
        more, less = min(MOST, self._page_size * 5 // 4), max(FEWEST, self._page_size * 3 // 4)
        self._page_size = more if seconds < PATIENCE else less

    def _one(self, name: str, /, **bindings: Any) -> Any:
        return self._execute(_SQL[name], bindings).get

    def sweep(self, now: int, root: bytes | None) -> Swept:
        """One page of the oldest pass, of all roots or of one."""
        found = self._one("oldest_gate") if root is None else self._one("oldest_gate_of", root=root)
        if found is None:
            return Swept(0, more=False)
        oldest, of, lead = _gate.decode(found)
        root = bytes.fromhex(of)
        if not lead or (at := self._one("read_pass", lead=bytes.fromhex(lead))) is None:
            lead = oldest
            self._execute(_SQL["begin_pass"], {"lead": bytes.fromhex(lead), "root": root})
            phase, place = QUEUED, None
        else:
            phase, place = _pass.decode(at)
        ended, left, self._now = 0, self._page_size, now
        while left > 0 and phase != OVER:  # a small tree is done with at once
            runs, phase, place = self._living.page(root, phase, place, self._page_size)
            done = self._living.done
            ended += done + len(self._leaving.end_closed(now, runs))
            left -= max(LEAST, done + len(runs))
        if phase == OVER:
            self._execute(_SQL["end_pass"], {"lead": bytes.fromhex(lead), "root": root})
        else:
            self._execute(_SQL["note_pass"], {"lead": bytes.fromhex(lead), "phase": phase, "place": place})
        return Swept(ended, more=phase != OVER or self._leaving.gated)

    def _end_children(self, place: dict[str, Any], limit: int) -> int:
        return self._leaving.end_children(self._now, place, limit)
