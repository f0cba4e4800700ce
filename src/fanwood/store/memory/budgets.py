"""Budgets in memory: see `store/budgets.py`."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from fanwood.model.budgets import DEPTH, TOTAL, Balance, Counted
from fanwood.model.states import GateKind, RunState
from fanwood.store.budgets import Birth, Ledger, Part, Rows, Standing
from fanwood.store.spending import SPENDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fanwood.model.budgets import Limit, Refusal, Spend, Spent
    from fanwood.model.commands import Record, Spawn
    from fanwood.store.memory.tables import Run, Tables


class _Rows(Rows):
    def __init__(self, tables: Tables) -> None:
        super().__init__()
        self._tables = tables

    def load_limits(self, run_id: bytes) -> Iterable[Limit]:
        return list(self._tables.budgets.get(run_id, {}).values())

    def load_held(self, run_id: bytes) -> Iterable[Spent]:
        return [row for row in self._tables.spends.get(run_id, {}).values() if row.held or row.id == TOTAL]

    def was_done(self, run_id: bytes, id_: bytes) -> bool:
        return any(id_ == done for done, _ in self._tables.spends.get(run_id, {}))

    def store(self) -> None:
        """What has changed becomes what there is."""
        for (run_id, unit), row in self.changed.items():
            self._tables.budgets.setdefault(run_id, {})[unit] = row
        for (run_id, id_, unit), row in self.noted.items():
            spends = self._tables.spends.setdefault(run_id, {})
            if row is None:
                spends.pop((id_, unit), None)
            else:
                spends[id_, unit] = msgspec.structs.replace(row)


class Budgets:
    """Those of one memory."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def born(self, spawns: Sequence[Spawn], again: Sequence[bytes] = (), shares: Sequence[Record] = ()) -> None:
        """Before these are born, and those run again; and before those links are the first to what they share.

        Raises:
            Overdrawn: they would use more than there is.
        """
        if not self._tables.budgets and all(spawn.kind.part is None for spawn in spawns):
            return
        rows = _Rows(self._tables)
        ledger = Ledger(rows)
        ledger.born(self._births(spawns))
        ledger.again(again)
        ledger.born([self._of_share(link) for link in shares])
        rows.store()

    def give(self, root: bytes, part: Part) -> None:
        """A root that is there has this budget."""
        rows = _Rows(self._tables)
        Ledger(rows).born([Birth([root], None, None, root, 0, part)])
        rows.store()

    def _of_share(self, link: Record) -> Birth:
        root = link.kind.root_id
        return Birth([link.id], root, self.of(root), root, 1, None)

    def takes(self, spawn: Spawn) -> bool:
        """Whether there is room for one more. (None: it is not born.)"""
        if not self._tables.budgets:
            return True
        kind, rows = spawn.kind, _Rows(self._tables)
        birth = Birth([spawn.id], kind.parent_id, self.of(kind.parent_id), kind.root_id, kind.depth, None)
        fits = Ledger(rows).takes(birth) is None
        rows.store()
        return fits

    def _births(self, spawns: Sequence[Spawn]) -> list[Birth]:
        by_kind: dict[int, list[Spawn]] = {}
        for spawn in spawns:
            by_kind.setdefault(id(spawn.kind), []).append(spawn)
        births: list[Birth] = []
        for alike in by_kind.values():
            kind = alike[0].kind
            budget = self.of(kind.parent_id)
            if budget is not None or kind.part is not None:
                ids = [spawn.id for spawn in alike]
                births.append(Birth(ids, kind.parent_id, budget, kind.root_id, kind.depth, kind.part))
        return births

    def of(self, run_id: bytes | None) -> bytes | None:
        """Whose budget a run uses."""
        run = None if run_id is None else self._tables.runs.get(run_id)
        return None if run is None else run.budget

    def again(self, run_id: bytes) -> None:
        """Before it is run again.

        Raises:
            Overdrawn: its part is more than there is.
        """
        if run_id in self._tables.budgets:
            self.born((), [run_id])

    def even_out(self, run: Run) -> None:
        """It has left a state."""
        if run.budget is not None:
            rows = _Rows(self._tables)
            Ledger(rows).even_out([_standing(run)])
            rows.store()

    def spend(self, spends: Sequence[Spend]) -> list[Refusal | None]:
        """See `Store.spend`."""
        answers: list[Refusal | None] = []
        for one in spends:
            rows, run = _Rows(self._tables), self._tables.runs.get(one.run_id)
            answers.append(Ledger(rows).spend(one, None if run is None else _standing(run)))
            rows.store()
        return answers


def _standing(run: Run) -> Standing:
    return Standing(run.id, run.root_id, run.budget, run.state, run.attempt, run.busy)


# --- for people -------------------------------------------------------------------------------------------------------


def balances(tables: Tables, run_id: bytes) -> list[Balance]:
    """See `Store.balances`."""
    run = tables.runs.get(run_id)
    own = tables.budgets.get(run.budget, {}) if run is not None and run.budget is not None else {}
    rows = [tables.budgets[row.source][unit] for unit, row in sorted(own.items())]
    return [Balance(row.run_id, row.unit, row.amount, row.used, row.held, bool(row.open)) for row in rows]


def spent(tables: Tables, root_id: bytes, run_id: bytes | None, limit: int) -> list[tuple[bytes, str, int]]:
    """See `Store.spent`."""
    rows = _of_tree(tables, root_id, SPENDS) if run_id is None else tables.spends.get(run_id, {}).values()
    sums: dict[tuple[bytes, str], int] = {}
    for row in rows:
        if not row.held and row.id != TOTAL:
            sums[row.run_id, row.unit] = sums.get((row.run_id, row.unit), 0) + row.amount
    found = sorted(((run, unit, amount) for (run, unit), amount in sums.items()), key=lambda row: (-row[2], row[0]))
    units = sorted({unit for _, unit, _ in found})
    return [row for one in units for row in [row for row in found if row[1] == one][:limit]]


def spends(tables: Tables, root_id: bytes, most: int) -> int:
    """See `Looks.spends`."""
    return len(_of_tree(tables, root_id, most))


def _of_tree(tables: Tables, root_id: bytes, most: int) -> list[Spent]:
    rows = (row for rows in tables.spends.values() for row in rows.values())
    return list(islice((row for row in rows if row.root_id == root_id), most))


def counted(tables: Tables, root_id: bytes | None) -> list[Counted]:
    """See `Store.counted`."""
    limits = [row for rows in tables.budgets.values() for row in rows.values()]
    spends = [row for rows in tables.spends.values() for row in rows.values()]
    going = {gate.root_id for gate in tables.gates.values() if gate.what == GateKind.PRUNED}
    found: list[Counted] = []
    for row in sorted(limits, key=lambda row: (row.run_id, row.unit)):
        if row.source != row.run_id or row.unit == DEPTH or (root_id is not None and row.root_id != root_id):
            continue
        if row.root_id in going:  # page by page: some of what was charged is gone
            continue
        mine = [one for one in spends if one.source == row.run_id and one.unit == row.unit]
        parts = [one for one in limits if one.parent == row.run_id and one.unit == row.unit]
        used = sum(one.amount for one in mine if not one.held) + sum(c.base if c.open else c.used for c in parts)
        held = sum(one.amount for one in mine if one.held) + sum(c.amount - c.base if c.open else c.held for c in parts)
        closed = not row.open and row.parent is not None
        left = sum(bool(one.held) and not _is_under_way(tables, one) for one in mine)
        found.append(Counted(row.run_id, row.unit, row.amount, row.used, row.held, used, held, left, closed))
    return found


def _is_under_way(tables: Tables, spent: Spent) -> bool:
    run = tables.runs.get(spent.run_id)
    return run is not None and run.is_at(RunState.RUNNING, spent.attempt)
