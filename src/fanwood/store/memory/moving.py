"""Deadlines that move, and sweeps: what is to be told to all that lives of a tree, a page at a time.

A pass goes once through what lives, by id. It may be gone on with by anybody: how far it has come stands in the tables.
Nothing can slip by it, since whatever changes its state meanwhile looks at the gates, and at the limits, itself.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from fanwood.model.records import Swept
from fanwood.model.states import GateKind, RunState
from fanwood.store.memory.tables import LAST, Gate, Moved, Run, Tables

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fanwood.store.memory.leaving import Leaving

PAGE = 100
"""Runs that one step of a sweep looks at ..."""
TOLD = 200
"""... and one that tells of deadlines."""


def _living(tables: Tables, root: bytes, after: bytes, count: int) -> list[Run]:
    """Some that live of a tree, in the order of their ids."""
    return [tables.runs[id_] for id_ in islice(tables.order("living", root).after(after), count)]


class Sweeping:
    """Ending what is below something that is closed."""

    def __init__(self, tables: Tables, leaving: Leaving) -> None:
        self._tables = tables
        self._leaving = leaving

    def sweep(self, now: int, root: bytes | None) -> Swept:
        """One page of the oldest pass, of all roots or of one. What it covers is all gates that were there when it
        began; then those go."""
        oldest = self.oldest(root)
        if oldest is None:
            return Swept(0, more=False)
        lead = self._lead_of(oldest)
        page = _living(self._tables, lead.root_id, lead.place, PAGE)
        ended = len(self._leaving.end_closed(now, page))
        if len(page) == PAGE:
            lead.place = page[-1].id
        else:
            for gate in self._gates(lead.root_id):
                if gate.lead == lead.run_id:
                    del self._tables.gates[gate.run_id]
        return Swept(ended, more=self._leaving.gated)

    def _lead_of(self, oldest: Gate) -> Gate:
        """The gate that leads the pass which covers this one: itself, if there is none yet, or that was made anew."""
        lead = self._tables.gates.get(oldest.lead or b"")
        if lead is not None and lead.lead == lead.run_id:
            return lead
        for gate in self._gates(oldest.root_id):
            gate.lead, gate.place = oldest.run_id, b""
        return oldest

    def oldest(self, root: bytes | None = None) -> Gate | None:
        """The gate that was made first."""
        return min(self._gates(root), key=lambda gate: (gate.made_at, gate.run_id), default=None)

    def _gates(self, root: bytes | None) -> list[Gate]:
        gates = [gate for gate in self._tables.gates.values() if gate.what == GateKind.CLOSED]
        return [gate for gate in gates if root is None or gate.root_id == root]


class Moving:
    """Deadlines that move: noted at once, and told to what lives of the tree. Until all has been told a run may stand
    there with the deadline that it had. So whoever would end one by its deadline looks first (`true_deadline`)."""

    def __init__(self, tables: Tables, leaving: Leaving) -> None:
        self._tables = tables
        self._leaving = leaving

    def note(self, now: int, moves: Iterable[tuple[bytes, int, int]]) -> bool:
        """The limits of these attempts are now these; whether any has moved."""
        limits = {(run_id, attempt): limit for run_id, attempt, limit in moves}
        found = [(self._tables.runs.get(run_id), attempt, limit) for (run_id, attempt), limit in limits.items()]
        current = [(run, limit) for run, attempt, limit in found if run and run.is_at(RunState.RUNNING, attempt)]
        if all(run.limit_at == limit for run, limit in current):
            return False
        for run, limit in current:
            self._tables.change(run, limit_at=limit)
            if self._tables.has_children(run):
                moved = self._tables.moved.get(run.root_id)
                if moved is None:
                    self._tables.moved[run.root_id] = Moved(run.root_id, now)
                else:
                    moved.again = True
        return True

    @property
    def oldest(self) -> Moved | None:
        """The tree that has waited longest for being told."""
        return min(self._tables.moved.values(), key=lambda moved: (moved.made_at, moved.root_id), default=None)

    def tell(self, now: int) -> Swept:
        """One page of a tree in which a deadline moved: what lives of it gets the deadlines that it has now."""
        moved = self.oldest
        if moved is None:
            return Swept(0, more=False)
        page = _living(self._tables, moved.root_id, moved.place, TOLD)
        self.correct(now, page)
        if len(page) == TOLD:
            moved.place = page[-1].id
        elif moved.again:
            self._tables.moved[moved.root_id] = Moved(moved.root_id, now)
        else:
            del self._tables.moved[moved.root_id]
        return Swept(0, more=bool(self._tables.moved), looked=max(1, len(page)))

    def correct(self, now: int, runs: Iterable[Run]) -> set[bytes]:
        """Those of these unfinished runs whose rows did not have the deadlines that they have; they do now, and their
        workers are told."""
        late: set[bytes] = set()
        for run in runs:
            deadline = self.true_deadline(run)
            if deadline is None or deadline == run.deadline:
                continue
            late.add(run.id)
            past = self._tables.past.get(run.id, {}).get(run.attempt)
            could_begin = None if past is None else past.due_at
            suspended = self._tables.suspended.get(run.id)
            begun = suspended is not None and suspended.attempt == run.attempt and run.state != RunState.RUNNING
            expires_at = deadline if begun else _patience(run, deadline, could_begin, now)
            self._tables.change(run, deadline=deadline, expires_at=expires_at)
            if run.state == RunState.RUNNING:
                self._leaving.tell_holder(run)
        return late

    def true_deadline(self, run: Run) -> int | None:
        """The least of what those say that it comes from: its owner, the owner of that one's deadline, and so on."""
        found: list[int] = []
        of: Run | None = run
        while of is not None and of.deadline is not None:
            owner = self._tables.runs.get(of.deadline_by or LAST)
            limit = None if owner is None else owner.limit_at
            found.append(of.deadline if limit is None else limit)
            of = owner
        return min(found, default=None)


def _patience(run: Run, deadline: int, could_begin: int | None, now: int) -> int | None:
    """Until when a run may be queued, with another deadline. A schedule timeout counts from when the run could begin:
    of one that was handed back nobody knows that any more, and it counts from now."""
    before = run.expires_at
    if run.state == RunState.RUNNING:
        return before
    if before is not None and run.deadline is not None and before < run.deadline and before < deadline:
        return before  # its schedule timeout
    if run.schedule_timeout is None:
        return deadline
    since = run.created_at if run.attempt == 0 else now if could_begin is None else could_begin
    return min(deadline, since + run.schedule_timeout)
