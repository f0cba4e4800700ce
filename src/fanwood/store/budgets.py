"""Budgets as they are kept (`model/budgets.py`), over rows that a backend loads and stores: what SQLite and memory
have in common. PostgreSQL does the same in `functions/12_budgets.sql`.

All of it happens inside a transaction, and is stored at its end; so what is refused leaves nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from decimal import Context, Decimal
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from fanwood.errors import BudgetExceeded
from fanwood.ids import id_text
from fanwood.model.budgets import DEPTH, RUNS, SCALE, SECONDS, TOTAL, Limit, Overdrawn, Refusal, Spend, Spent

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

Part = tuple[tuple[str, int], ...]
_EXACT = Context(prec=40)
"""Whatever precision the user's code has set for its own sums."""


class Birth(NamedTuple):
    """Runs of one kind that are to be born. `budget`: their parent's."""

    ids: Sequence[bytes]
    parent: bytes | None
    budget: bytes | None
    root: bytes | None
    depth: int
    part: Part | None


class Standing(NamedTuple):
    """A run, as far as budgets need it."""

    id: bytes
    root: bytes
    budget: bytes | None
    state: int
    attempt: int
    busy: int


class Rows(ABC):
    """A backend's rows, as this transaction has them."""

    def __init__(self) -> None:
        self._limits: dict[bytes, dict[str, Limit]] = {}
        self._spent: dict[bytes, dict[tuple[bytes, str], Spent]] = {}
        self.changed: dict[tuple[bytes, str], Limit] = {}
        self.noted: dict[tuple[bytes, bytes, str], Spent | None] = {}  # None: it is gone

    def limits(self, run_id: bytes) -> dict[str, Limit]:
        """Those of one budget."""
        if run_id not in self._limits:
            self._limits[run_id] = {row.unit: row for row in self.load_limits(run_id)}
        return self._limits[run_id]

    def spent(self, run_id: bytes) -> dict[tuple[bytes, str], Spent]:
        """What a run holds, and what is counted for itself; and what it has spent, of what was asked for."""
        if run_id not in self._spent:
            self._spent[run_id] = {(row.id, row.unit): row for row in self.load_held(run_id)}
        return self._spent[run_id]

    def put(self, row: Limit) -> None:
        """It is new, or has changed."""
        self.limits(row.run_id)[row.unit] = row
        self.changed[row.run_id, row.unit] = row

    def note(self, row: Spent) -> None:
        """It is new, or has changed."""
        self.spent(row.run_id)[row.id, row.unit] = row
        self.noted[row.run_id, row.id, row.unit] = row

    def drop(self, row: Spent) -> None:
        """It is gone."""
        self.spent(row.run_id).pop((row.id, row.unit), None)
        self.noted[row.run_id, row.id, row.unit] = None

    @abstractmethod
    def load_limits(self, run_id: bytes) -> Iterable[Limit]:
        """Copies of the rows of one budget."""

    @abstractmethod
    def load_held(self, run_id: bytes) -> Iterable[Spent]:
        """Copies of what a run holds, and of what is counted for itself."""

    @abstractmethod
    def was_done(self, run_id: bytes, id_: bytes) -> bool:
        """Whether a run has spent something under an id."""


class Ledger:
    """What may be done with them."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    # --- one limit -------------------------------------------------------------------------------------------------

    def _source(self, budget: bytes | None, unit: str) -> bytes | None:
        """Whose row counts."""
        row = None if budget is None else self._rows.limits(budget).get(unit)
        return None if row is None else row.source

    def _path(self, source: bytes, unit: str) -> list[Limit]:
        """The rows that what is used of one changes; the last one must have room for it. A row that is gone, or leads
        back to itself, as somebody wrote it by hand, ends it: nobody's end waits for what he may use."""
        path: dict[bytes, Limit] = {}
        above: bytes | None = source
        while above is not None and above not in path:
            row = self._rows.limits(above).get(unit)
            if row is None:
                break
            path[above] = row
            above = None if row.open else row.parent
        return [*path.values()]

    def _refusal(self, source: bytes, unit: str, wanted: int) -> Refusal | None:
        path = self._path(source, unit)
        if not path:
            return None
        row = path[-1]
        taken = row.used + row.held
        if taken + (wanted or unit == SECONDS) <= row.amount or (not wanted and unit != SECONDS):
            return None
        return Refusal(unit, row.amount, taken, wanted, row.run_id.hex(), row.held)

    def _add(self, source: bytes, unit: str, used: int, held: int) -> None:
        for row in self._path(source, unit):
            self._rows.put(msgspec.structs.replace(row, used=row.used + used, held=row.held + held))

    def _count(self, run: bytes, root: bytes, source: bytes, unit: str, amount: int) -> None:
        """For a run itself."""
        self._add(source, unit, amount, 0)
        there = self._rows.spent(run).get((TOTAL, unit))
        before = 0 if there is None else there.amount
        self._rows.note(Spent(run, TOTAL, unit, root, source, 0, before + amount))

    # --- births ----------------------------------------------------------------------------------------------------

    def born(self, births: Sequence[Birth]) -> None:
        """Children take what their births take, and their parts.

        Raises:
            Overdrawn: there is not so much.
        """
        refused: dict[bytes, Refusal] = {}
        for birth in births:
            refusal = self._too_much(birth)
            if refusal is not None:
                refused[birth.ids[0]] = refusal
                continue
            self._pay(birth)
            if birth.part is not None:
                for id_ in birth.ids:
                    self._give(id_, birth, dict(birth.part))
        if refused:
            raise Overdrawn(refused)

    def takes(self, birth: Birth) -> Refusal | None:
        """As `born`, of one by itself: why not; None: it is paid."""
        refusal = None if birth.budget is None else self._too_much(birth)
        if refusal is None:
            self._pay(birth)
        return refusal

    def _too_much(self, birth: Birth) -> Refusal | None:
        if birth.budget is None:
            return None
        deepest = self._rows.limits(birth.budget).get(DEPTH)
        if deepest is not None and birth.depth > deepest.amount:
            return Refusal(DEPTH, deepest.amount, birth.depth - 1, 1, deepest.source.hex())
        wanted = [(RUNS, len(birth.ids)), (SECONDS, 0)]
        wanted += [(unit, amount * len(birth.ids)) for unit, amount in birth.part or () if unit != DEPTH]
        together: dict[str, int] = {}
        for unit, amount in wanted:
            together[unit] = together.get(unit, 0) + amount
        for unit, amount in sorted(together.items()):
            source = self._source(birth.budget, unit)
            if source is not None and (refusal := self._refusal(source, unit, amount)) is not None:
                return refusal
        return None

    def _pay(self, birth: Birth) -> None:
        source = self._source(birth.budget, RUNS)
        if source is not None and birth.parent is not None and birth.root is not None:
            self._count(birth.parent, birth.root, source, RUNS, len(birth.ids))
        for unit, amount in birth.part or ():
            source = self._source(birth.budget, unit)
            if source is not None and unit != DEPTH:
                self._add(source, unit, 0, amount * len(birth.ids))

    def _give(self, id_: bytes, birth: Birth, part: dict[str, int]) -> None:
        root = birth.root or id_
        above = {} if birth.budget is None else self._rows.limits(birth.budget)
        for unit, size in part.items():
            source = self._source(birth.budget, unit)
            if unit == DEPTH:
                deepest = birth.depth + size
                amount = min(deepest, above[DEPTH].amount) if DEPTH in above else deepest
                self._rows.put(Limit(id_, unit, id_, root, None, size, amount))
            else:
                self._rows.put(Limit(id_, unit, id_, root, source, size, size))
        for unit, row in above.items():
            if unit not in part:
                amount = row.amount if unit == DEPTH else 0
                self._rows.put(Limit(id_, unit, row.source, root, None, 0, amount))

    # --- ends, and what comes after them ---------------------------------------------------------------------------

    def even_out(self, runs: Iterable[Standing]) -> None:
        """These have left a state: what their attempts held is let go of, their seconds are charged, and who has ended
        gives back what is left of his part. (What was done before is not done again.)"""
        for run in runs:
            if run.budget is None:
                continue
            self._charge_seconds(run)
            for row in [row for row in self._rows.spent(run.id).values() if row.held]:
                if (run.state != 1 or run.attempt != row.attempt) and row.source is not None:
                    self._add(row.source, row.unit, 0, -row.amount)
                    self._rows.drop(row)
            if run.state >= 8 and run.budget == run.id:
                for row in list(self._rows.limits(run.id).values()):
                    if row.open and row.source == run.id:
                        self._close(row)

    def _charge_seconds(self, run: Standing) -> None:
        source = self._source(run.budget, SECONDS)
        if source is None:
            return
        there = self._rows.spent(run.id).get((TOTAL, SECONDS))
        more = run.busy - (0 if there is None else there.amount)
        if more > 0:
            self._count(run.id, run.root, source, SECONDS, more)

    def _close(self, row: Limit) -> None:
        if row.parent is not None:
            self._add(row.parent, row.unit, row.used - row.base, row.held - (row.amount - row.base))
        self._rows.put(msgspec.structs.replace(row, open=0))

    def again(self, runs: Iterable[bytes]) -> None:
        """These are run again: each takes its part anew.

        Raises:
            Overdrawn: there is not so much.
        """
        refused: dict[bytes, Refusal] = {}
        for run_id in runs:
            closed = [row for row in self._rows.limits(run_id).values() if not row.open and row.source == run_id]
            refusals = [self._refusal(row.parent, row.unit, row.size) for row in closed if row.parent is not None]
            refusal = next((one for one in refusals if one is not None), None)
            if refusal is not None:
                refused[run_id] = refusal
                continue
            for row in closed:
                if row.parent is not None:
                    self._add(row.parent, row.unit, 0, row.size)
                amount = row.amount if row.unit == DEPTH else row.used + row.held + row.size
                self._rows.put(msgspec.structs.replace(row, open=1, base=row.used, amount=amount))
        if refused:
            raise Overdrawn(refused)

    # --- spending --------------------------------------------------------------------------------------------------

    def spend(self, asked: Spend, run: Standing | None) -> Refusal | None:
        """See `Store.spend`."""
        if run is None or run.state != 1 or run.attempt != asked.attempt:
            return Refusal("")
        if self._rows.was_done(run.id, asked.id) or any(id_ == asked.id for id_, _ in self._rows.spent(run.id)):
            return None
        held = {} if asked.of is None else {u: r for (i, u), r in self._rows.spent(run.id).items() if i == asked.of}
        for unit, amount in sorted(asked.amounts.items()):
            source = self._source(run.budget, unit)
            more = amount - (held[unit].amount if unit in held else 0)
            if source is not None and more > 0 and (refusal := self._refusal(source, unit, more)) is not None:
                return refusal
        for unit, amount in sorted(asked.amounts.items()):
            self._take(asked, run, unit, amount, held.get(unit))
        if asked.release:
            for row in [row for (id_, _), row in self._rows.spent(run.id).items() if id_ == asked.of]:
                if row.source is not None:
                    self._add(row.source, row.unit, 0, -row.amount)
                self._rows.drop(row)
        return None

    def _take(self, asked: Spend, run: Standing, unit: str, amount: int, held: Spent | None) -> None:
        source = self._source(run.budget, unit)
        if asked.reserve:
            if source is not None:
                self._add(source, unit, 0, amount)
                self._rows.note(Spent(run.id, asked.id, unit, run.root, source, run.attempt, amount, 1))
            return
        taken = min(amount, held.amount) if held is not None else 0
        if source is not None:
            self._add(source, unit, amount, -taken)
        if held is not None:
            self._rows.note(msgspec.structs.replace(held, amount=held.amount - taken))
        self._rows.note(Spent(run.id, asked.id, unit, run.root, source, run.attempt, amount))


# --- for people -------------------------------------------------------------------------------------------------------


def shown(unit: str) -> str:
    """A limit's name."""
    return unit.removeprefix("~")


def quantity(unit: str, amount: int) -> Decimal | int:
    """An amount, in units: as it is written, and not 2E+5."""
    if unit in (RUNS, DEPTH):
        return amount
    return Decimal(format(_EXACT.normalize(_EXACT.divide(Decimal(amount), SCALE)), "f"))


def amount_text(unit: str, amount: int) -> str:
    """An amount, in units, as text: exact."""
    return str(amount) if unit in (RUNS, DEPTH) else format(quantity(unit, amount), "f")


def exceeded(refusal: Refusal, run_id: bytes, root: bytes | None, what: str) -> BudgetExceeded:
    """What the one is told who asked. `what`: what he may not do."""
    unit, owner = refusal.unit, bytes.fromhex(refusal.owner)
    most, used, wanted, held = (quantity(unit, n) for n in (refusal.most, refusal.used, refusal.wanted, refusal.held))
    if owner == run_id:
        whose = "its own budget"
    else:
        whose = f"the budget of {'its root' if owner == root else 'run'} {id_text(owner)}"
    if unit == DEPTH:
        said = f"{whose} ends at depth {most}"
    else:
        more = f", and this takes {wanted:f} more" if isinstance(wanted, Decimal) else f", and this takes {wanted} more"
        free = f"{used:f} of {most:f}" if isinstance(used, Decimal) else f"{used} of {most}"
        said = f"{free} {shown(unit)} are used or held in {whose}{more if wanted else ''}"
        if refusal.held and refusal.used - refusal.held + refusal.wanted <= refusal.most:
            said += (
                f"; {amount_text(unit, refusal.held)} of these are only held, by reservations and parts of other runs, "
                "and may come back: to be tried again then, catch this and raise RetryAfterException(after=...)"
            )
    tree = "" if root is None or root in (owner, run_id) else f" (root {id_text(root)})"
    error = BudgetExceeded(f"Run {id_text(run_id)} may not {what}: {said}{tree}")
    error.limit, error.most, error.used, error.wanted, error.held = shown(unit), most, used, wanted, held
    error.run_id, error.owner, error.root_id = id_text(run_id), id_text(owner), id_text(root) if root else ""
    return error


@contextmanager
def replaying(run_id: bytes) -> Generator[None]:
    """While inside, a run is to be run again.

    Raises:
        BudgetExceeded: its part is more than there is.
    """
    try:
        yield
    except Overdrawn as error:
        raise exceeded(error.refused[run_id], run_id, None, "run again, as it takes its part anew") from None
