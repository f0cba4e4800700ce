"""Runs that belong together, and are not parent and child: what calls share, hedges; and what budgets count of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.model.invariants import of_a_limit
from fanwood.model.states import FIRST_WAIT, OnParentEnd, RunKind, RunState
from fanwood.store.memory.budgets import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fanwood.store.memory.tables import Run, Tables


class Beside:
    """Looks at them as they come and go, and after each transaction."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._shared: dict[tuple[bytes, str, str], bytes] = {}  # by tree, task, and input
        self._hedges: dict[bytes, bytes] = {}  # that live; of what each is one
        self._hedged: dict[bytes, bytes] = {}
        self._ledger: object = None

    def born(self, run: Run) -> Iterator[str]:
        """A run is: it may be shared, or a hedge."""
        if run.on_parent_end == OnParentEnd.SHARED and run.kind < FIRST_WAIT:
            other = self._shared.setdefault((run.root_id, run.task, run.input), run.id)
            if other != run.id:
                yield f"{run.task} {run.id.hex()[-6:]} is shared, and is the same as {other.hex()[-6:]}"
        elif run.awaits is not None and run.kind < FIRST_WAIT:
            other = self._tables.runs.get(self._hedged.get(run.awaits, b""))
            if other is not None and not other.is_over:
                yield f"{run.id.hex()[-6:]} is a second hedge of {run.awaits.hex()[-6:]}"
            elif run.awaits in self._hedged:  # it has ended in this transaction, and what it helped begins anew
                self._part(run.awaits)
            self._hedges[run.id], self._hedged[run.awaits] = run.awaits, run.id

    def gone(self, run: Run) -> None:
        """It was deleted."""
        if run.on_parent_end == OnParentEnd.SHARED:
            self._shared.pop((run.root_id, run.task, run.input), None)
        self._part(run.id)

    def settled(self, changed: Iterable[bytes], gated: set[bytes]) -> Iterator[str]:
        """A transaction is over. `gated`: trees in which something is closed, and not swept yet."""
        for id_ in changed if self._hedges or self._shared else ():
            run = self._tables.runs.get(id_)
            if run is None or not run.is_over:
                continue
            if run.root_id not in gated:
                yield from self._parts_well(run)
                yield from self._lets_go(run)
            self._part(id_)
        if self._tables.budgets:
            yield from self._counts()

    def _parts_well(self, run: Run) -> Iterator[str]:
        """A hedge that completed has completed the first; and none lives on whose first has ended."""
        runs = self._tables.runs
        first, hedge = runs.get(self._hedges.get(run.id, b"")), runs.get(self._hedged.get(run.id, b""))
        if first is not None and run.state == RunState.COMPLETED and not first.is_over:
            yield f"{run.id.hex()[-6:]} has completed, and {first.id.hex()[-6:]} goes on, whose hedge it is"
        if hedge is not None and not hedge.is_over:
            yield f"{run.id.hex()[-6:]} has ended, and its hedge {hedge.id.hex()[-6:]} goes on"

    def _part(self, id_: bytes) -> None:
        """They are no pair any more."""
        if id_ in self._hedges:
            del self._hedged[self._hedges.pop(id_)]
        if id_ in self._hedged:
            del self._hedges[self._hedged.pop(id_)]

    def _lets_go(self, run: Run) -> Iterator[str]:
        """A link has ended: if it was the last one, what it shared has as well."""
        if run.kind != RunKind.SHARE or run.awaits is None:
            return
        target = self._tables.runs.get(run.awaits[:16])
        if target is None or target.is_over:
            return
        next_ = next(iter(self._tables.order("awaiting").after((target.id,))), None)
        if next_ is None or next_[0][:16] != target.id:
            yield f"{target.task} {target.id.hex()[-6:]} goes on, and nobody waits for it any more"

    def _counts(self) -> Iterator[str]:
        """Nothing is overdrawn, and what is used and held is what runs have used, and hold: with their attempts."""
        tables = self._tables
        limits = [row for rows in tables.budgets.values() for row in rows.values()]
        held = [row for rows in tables.spends.values() for row in rows.values() if row.held]
        ledger = [(id(row), row.used, row.held, row.amount, row.open) for row in limits], len(held)
        if ledger == self._ledger:
            return
        self._ledger = ledger
        for row in counted(tables, None):
            yield from of_a_limit(row)
        for limit in limits:
            owner = tables.runs.get(limit.run_id)
            if limit.source == limit.run_id and owner is not None and owner.is_over is bool(limit.open):
                yield f"the budget of {limit.run_id.hex()[-6:]} is {'open' if limit.open else 'closed'}"
