"""What trees of a SQLite file may use: how large they may become, and their budgets (`store/budgets.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.model.budgets import Limit, Spent
from fanwood.store.budgets import Birth, Ledger, Part, Rows, Standing
from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fanwood.model.budgets import Refusal, Spend
    from fanwood.model.commands import Spawn
    from fanwood.store.sqlite.driver import Database

_SQL = load("sqlite/budgets.sql")
_json = msgspec.json.Encoder()
_sizes = msgspec.json.Decoder(list[tuple[str, int]])
_pairs = msgspec.json.Decoder(list[tuple[str, str]])
_standings = msgspec.json.Decoder(list[tuple[str, str, str, int, int, int]])
_standing = msgspec.json.Decoder(tuple[str, str, str, int, int, int])
_limits = msgspec.json.Decoder(list[tuple[str, str, str, str, str, int, int, int, int, int, int]])
_spents = msgspec.json.Decoder(list[tuple[str, str, str, str, str, int, int, int]])


class _Rows(Rows):
    def __init__(self, connection: Database) -> None:
        super().__init__()
        self._execute = connection.execute

    def load_limits(self, run_id: bytes) -> Iterable[Limit]:
        for run, unit, source, root, parent, *numbers in _limits.decode(self._read("load_limits", run_id)):
            yield Limit(_id(run), unit, _id(source), _id(root), _id(parent) or None, *numbers)

    def load_held(self, run_id: bytes) -> Iterable[Spent]:
        for run, id_, unit, root, source, *numbers in _spents.decode(self._read("load_held", run_id)):
            yield Spent(_id(run), _id(id_), unit, _id(root), _id(source) or None, *numbers)

    def _read(self, name: str, run_id: bytes) -> str:
        try:
            return self._execute(_SQL[name], {"id": run_id}).get
        except UnicodeDecodeError:  # a unit that somebody wrote by hand, and is no text: it is nobody's
            return "[]"

    def was_done(self, run_id: bytes, id_: bytes) -> bool:
        return bool(self._execute(_SQL["was_done"], {"run": run_id, "id": id_}).get)

    def store(self) -> None:
        """What has changed becomes what there is."""
        if self.changed:
            rows = [
                (
                    row.run_id.hex(), row.unit, row.source.hex(), row.root_id.hex(), (row.parent or b"").hex(),
                    row.size, row.amount, row.used, row.held, row.base, row.open,
                )
                for row in self.changed.values()
            ]  # fmt: skip
            self._execute(_SQL["put_limits"], {"rows": _text(rows)})
        noted = [row for row in self.noted.values() if row is not None]
        if noted:
            rows = [
                (
                    row.run_id.hex(), row.id.hex(), row.unit, row.root_id.hex(), (row.source or b"").hex(),
                    row.attempt, row.amount, row.held,
                )
                for row in noted
            ]  # fmt: skip
            self._execute(_SQL["put_spends"], {"rows": _text(rows)})
        if len(noted) < len(self.noted):
            gone = [(run.hex(), id_.hex(), unit) for (run, id_, unit), row in self.noted.items() if row is None]
            self._execute(_SQL["drop_spends"], {"rows": _text(gone)})


class Budgets:
    """Those of one connection. `known`: whether there are any, as this transaction sees it; None: look."""

    def __init__(self, connection: Database) -> None:
        self.known: bool | None = None
        self._connection = connection
        self._execute = connection.execute

    @property
    def any(self) -> bool:
        """Whether there is any budget, anywhere."""
        return bool(self._execute(_SQL["has_budgets"]).get) if self.known is None else self.known

    def take_blocks(self, blocks: Sequence[tuple[bytes, int]]) -> dict[bytes, int]:
        """Room is taken for more runs of large trees; for how many it was in all."""
        rows = _text([(root.hex(), runs) for root, runs in blocks])
        self._execute(_SQL["take_blocks"], {"rows": rows})
        sizes = _sizes.decode(self._execute(_SQL["read_sizes"], {"rows": rows}).get)
        return {bytes.fromhex(root): runs for root, runs in sizes}

    def born(self, spawns: Sequence[Spawn], *, keyed: bool = False) -> dict[bytes, bytes]:
        """These are to be born; whose budgets those of their parents are, as far as they use any. Of roots with
        idempotency keys those that have got them, by themselves (`keyed`).

        Raises:
            Overdrawn: they would use more than there is.
        """
        if not self.any and all([spawn.kind.part is None for spawn in spawns]):  # noqa: C419  (quicker)
            return {}
        by_kind: dict[int, list[Spawn]] = {}
        for spawn in spawns:
            if spawn.is_keyed_root is keyed:
                by_kind.setdefault(id(spawn.kind), []).append(spawn)
        parents = {alike[0].kind.parent_id for alike in by_kind.values()} - {None}
        ids = _text([parent.hex() for parent in parents if parent is not None])
        found = _pairs.decode(self._execute(_SQL["budgets_of"], {"ids": ids}).get)
        budgets = {_id(run): _id(budget) for run, budget in found}
        births: list[Birth] = []
        for alike in by_kind.values():
            kind = alike[0].kind
            budget = budgets.get(kind.parent_id or b"")
            if budget is not None or kind.part is not None:
                children = [spawn.id for spawn in alike]
                births.append(Birth(children, kind.parent_id, budget, kind.root_id, kind.depth, kind.part))
                if kind.part is not None and self.known is not None:
                    self.known = True
        if births:
            rows = _Rows(self._connection)
            Ledger(rows).born(births)
            rows.store()
        return budgets

    def give(self, root: bytes, part: Part) -> None:
        """A root that is there has this budget."""
        rows = _Rows(self._connection)
        Ledger(rows).born([Birth([root], None, None, root, 0, part)])
        rows.store()
        self._execute(_SQL["use_own"], {"id": root})

    def takes(self, id_: bytes, parent: bytes, root: bytes, depth: int) -> Refusal | None:
        """One more is to be born below this parent: why not; None: it is paid."""
        if not self.any:
            return None
        found = _pairs.decode(self._execute(_SQL["budgets_of"], {"ids": _text([parent.hex()])}).get)
        if not found:
            return None
        rows = _Rows(self._connection)
        refusal = Ledger(rows).takes(Birth([id_], parent, _id(found[0][1]), root, depth, None))
        rows.store()
        return refusal

    def again(self, ids: Sequence[str]) -> None:
        """These are to be run again.

        Raises:
            Overdrawn: their parts are more than there is.
        """
        if ids and self.any:
            rows = _Rows(self._connection)
            Ledger(rows).again([_id(id_) for id_ in ids])
            rows.store()

    def even_out(self, ids: Sequence[str]) -> None:
        """These have left a state, or not: that is looked at."""
        if not ids or not self.any:
            return
        found = _standings.decode(self._execute(_SQL["budgeted"], {"ids": _text(ids)}).get)
        if found:
            rows = _Rows(self._connection)
            Ledger(rows).even_out([_of(*row) for row in found])
            rows.store()

    def spend(self, spends: Sequence[Spend]) -> list[Refusal | None]:
        """See `Store.spend`."""
        rows, answers = _Rows(self._connection), list[Any]()
        ledger = Ledger(rows)
        for one in spends:
            found = self._execute(_SQL["standing"], {"id": one.run_id}).get
            answers.append(ledger.spend(one, None if found is None else _of(*_standing.decode(found))))
        rows.store()
        return answers


def _of(run: str, root: str, budget: str, state: int, attempt: int, busy: int) -> Standing:
    return Standing(_id(run), _id(root), _id(budget) or None, state, attempt, busy)


def _id(text: str) -> bytes:
    return bytes.fromhex(text)


def _text(rows: Any) -> str:
    return _json.encode(rows).decode()
