"""Second runs of what takes too long, on SQLite: their end counts for the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.model.states import EndedBy, RunState
from fanwood.store.expiry import expiry
from fanwood.store.failures import ancestor_ended
from fanwood.store.hedging import NOT_NEEDED, OVERTAKEN
from fanwood.store.sqlite.leaving import ALL, Ending, Gate, Leaving, encoded
from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.model.commands import Hedge
    from fanwood.store.sqlite.driver import Database

_SQL = load("sqlite/hedging.sql")

_over = msgspec.json.Decoder(list[tuple[str, str, int]])
_ids = msgspec.json.Decoder(list[str])
_place = msgspec.json.Decoder(tuple[int, int])


class Hedging:
    """On one connection. `known`: whether there is any hedge that lives, as this transaction sees it; None: look."""

    def __init__(self, connection: Database, leaving: Leaving) -> None:
        self.known: bool | None = None
        self._execute = connection.execute
        self._changes = connection.changes
        self._leaving = leaving
        leaving.hedging = self

    def _one(self, name: str, /, **bindings: Any) -> Any:
        return self._execute(_SQL[name], bindings).get

    @property
    def any(self) -> bool:
        """Whether there is any that lives."""
        return bool(self._one("any_hedge")) if self.known is None else self.known

    def born(self, now: int, hedges: Sequence[Hedge]) -> None:
        """Of those whose firsts live, and have none."""
        for hedge in hedges:
            kind, due = hedge.spawn.kind, now + hedge.delay
            if self._leaving.budgets.any and not self._has_room(hedge):
                continue  # the first goes on without one
            self._execute(_SQL["insert_hedge_run"], {
                "id": hedge.spawn.id, "parent_id": kind.parent_id, "root_id": kind.root_id, "depth": kind.depth,
                "kind": int(kind.run_kind), "task": kind.task, "input": hedge.spawn.input, "metadata": kind.metadata,
                "priority": kind.priority, "on_parent_end": int(kind.on_parent_end), "due_at": due,
                "asked": kind.parent_attempt, "deadline": kind.deadline, "deadline_by": kind.deadline_by,
                "schedule_timeout": kind.schedule_timeout,
                "expires_at": expiry(due, kind.schedule_timeout, kind.deadline), "now": now, "target": hedge.target,
            })  # fmt: skip
            if self._changes():
                self._execute(_SQL["insert_hedge"], {"id": hedge.spawn.id, "target": hedge.target})
                self.known = None if self.known is None else True

    def _has_room(self, hedge: Hedge) -> bool:
        """Whether there is room in its budget for one more; what can't be hedged needs none."""
        kind, spawn = hedge.spawn.kind, hedge.spawn
        if not self._one("can_be_hedged", target=hedge.target) or kind.parent_id is None or kind.root_id is None:
            return False
        return self._leaving.budgets.takes(spawn.id, kind.parent_id, kind.root_id, kind.depth) is None

    def ended(self, now: int, ids: Sequence[str]) -> None:
        """These have ended (or not: that is looked at): they may be hedges, or have some."""
        if not self.any:
            return
        text = encoded(ids)
        for hedge, first, state in _over.decode(self._one("hedges_over", ids=text)):
            self._drop(hedge)
            if state == RunState.COMPLETED:
                output = self._one("output_of", id=bytes.fromhex(hedge))
                self._end(now, first, RunState.COMPLETED, output, None)
        for hedge in _ids.decode(self._one("hedges_of", ids=text)):
            self._drop(hedge)
            self._end(now, hedge, RunState.CANCELLED, None, NOT_NEEDED)
        if self.known is not None:
            self.known = bool(self._one("any_hedge"))

    def _drop(self, hedge: str) -> None:
        self._execute(_SQL["drop_hedge"], {"id": bytes.fromhex(hedge)})

    def _end(self, now: int, id_: str, state: RunState, output: str | None, error: str | None) -> None:
        found = self._one("read_place", id=bytes.fromhex(id_))
        if found is None:
            return
        attempt, before = _place.decode(found)
        if self._leaving.end_closed(now, [(id_, attempt, before)]):
            return
        self._leaving.woken = True
        self._leaving.end(0, now, [Ending(id_, attempt, before, state, output, error, 0, EndedBy.HEDGE)])
        closing = ancestor_ended(bytes.fromhex(id_), OVERTAKEN if state is RunState.COMPLETED else "was cancelled")
        self._leaving.has_closed |= self._leaving.close(now, [Gate(id_, ALL, attempt, closing)])
