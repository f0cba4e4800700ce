"""Looking after a memory: deleting what is old, and whole tables for copying."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.model.budgets import Limit, Spent
from fanwood.model.commands import TaskInfo
from fanwood.model.forks import Lineage
from fanwood.model.matching import Event
from fanwood.model.records import PruneCount
from fanwood.model.states import GateKind, RunState, Waits
from fanwood.store import retention
from fanwood.store.copying import TABLES
from fanwood.store.memory.forking import needed
from fanwood.store.memory.tables import LAST, Gate, Key, Line, Message, Past, Pause, Run, Shared, Tables, Urgent
from fanwood.store.retention import OTHERS, Deed, Plan, Walked, prefix_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_GATE_COLUMNS = 8
"""Of a gate: how far a sweep has come is not copied."""


class Ground:
    """A memory, as `retention.plan` looks at it."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def walk_roots(
        self, before: int, prefix: str, after: tuple[int, bytes], tops: int, rows: int
    ) -> list[Walked]:
        found: list[Walked] = []
        for created_at, id_ in islice(self._tables.order("roots").after(after), tops):
            root = self._tables.runs[id_]
            if created_at >= before:
                break
            due = int(_ended_before(root, before) and not needed(self._tables, id_))
            due = due if _is_of(root.task, prefix) else OTHERS
            found.append(Walked(id_, created_at, due, id_, root.state))
            below = (child for _, child in self._tables.order("below", id_)) if due == 1 else ()
            found += [
                Walked(id_, created_at, 1, child, self._tables.runs[child].state) for child in islice(below, rows)
            ]
            if len(found) >= rows:
                break
        return found[:rows]

    async def next_own(self, prefix: str, since: bytes, created_at: int) -> bytes | None:
        runs = self._tables.runs
        later = (runs[id_] for _, id_ in self._tables.order("roots").after((created_at, LAST)))
        own = (run.id for run in later if run.id >= since and run.state != RunState.QUEUED and _is_of(run.task, prefix))
        return min(own, default=None)

    async def look_through(
        self, root: bytes, after: tuple[bytes, bytes], rows: int
    ) -> tuple[bool, tuple[bytes, bytes] | None]:
        places = list(islice(self._tables.order("below", root).after(after), rows))
        lives = any(not self._tables.runs[child].is_over for _, child in places)
        return lives, places[-1] if len(places) == rows else None

    async def lower_end(self, root: bytes, rows: int) -> list[bytes]:
        return [child for _, child in islice(self._tables.order("below", root).before((LAST,)), rows)]

    async def hanging(self, ids: Sequence[bytes], most: int) -> int:
        return min(most, sum(len(rows.get(id_, ())) for rows in _of_many(self._tables) for id_ in ids))


def carry_out(tables: Tables, planned: Plan, before: int, now: int) -> int | None:
    """Do what was planned; how many runs were deleted, None if it can't be done any more."""
    root = tables.runs.get(planned.root)
    match planned.deed:
        case Deed.NOTHING:
            return 0
        case Deed.MARK:
            return 0 if root is not None and _mark(tables, root, before, now) else None
        case Deed.UNMARK:
            if planned.root in tables.gates and tables.gates[planned.root].what == GateKind.PRUNED:
                del tables.gates[planned.root]
            return 0
        case Deed.DELETE:
            over = _all_over(tables, planned.ids)
        case _:
            gate = tables.gates.get(planned.root)
            over = root is not None and root.is_over and gate is not None and gate.what == GateKind.PRUNED
    if not over:
        return None
    if planned.deed is Deed.THIN:
        for rows in _of_many(tables):
            _thin(rows, planned.ids)
        return 0
    gone = [tables.runs[id_] for id_ in planned.ids if id_ in tables.runs]
    for run in gone:
        tables.remove(run)
    return len(gone)


def _of_many(tables: Tables) -> tuple[dict[bytes, dict[Any, Any]], ...]:
    """Those of which a run may have any number of rows (`retention.TABLES`)."""
    return tables.logs, tables.past, tables.messages, tables.values, tables.spends


def _thin(rows: dict[bytes, dict[Any, Any]], ids: Sequence[bytes]) -> None:
    """Of what hangs on these so many rows at most go."""
    there = ((id_, key) for id_ in ids for key in rows.get(id_, ()))
    for run_id, key in list(islice(there, retention.MOST_HANGING)):
        del rows[run_id][key]


def _mark(tables: Tables, root: Run, before: int, now: int) -> bool:
    """The tree of this root is being deleted, if it is still old and over, and nothing below it is being closed."""
    there = tables.gates.get(root.id)
    if root.parent_id is not None or not _ended_before(root, before):
        return False
    if (there is not None and there.what != GateKind.PRUNED) or needed(tables, root.id):
        return False
    tables.gates[root.id] = Gate(root.id, root.id, int(GateKind.PRUNED), 0, root.attempt, "", now)
    return True


def _all_over(tables: Tables, ids: Sequence[bytes]) -> bool:
    """Whether these have ended, each of them, and nothing else is in their trees."""
    runs = [tables.runs[id_] for id_ in ids if id_ in tables.runs]
    roots = [run for run in runs if run.parent_id is None]
    there = len(roots) + sum(len(tables.order("below", root.id)) for root in roots)
    over = len(runs) == len(ids) == there and all(run.is_over for run in runs)
    return over and not any(needed(tables, root.id) for root in roots)


def prunable(tables: Tables, before: int, namespace: str) -> PruneCount:
    """See `Store.prunable`."""
    prefix, trees, runs = prefix_of(namespace), 0, 0
    for created_at, id_ in tables.order("roots"):
        root = tables.runs[id_]
        old = created_at < before and _ended_before(root, before)
        if old and _is_of(root.task, prefix) and not needed(tables, id_):
            below = tables.order("below", id_)
            if all(tables.runs[child].is_over for _, child in below):
                trees, runs = trees + 1, runs + 1 + len(below)
    return PruneCount(trees, runs)


def _ended_before(run: Run, before: int) -> bool:
    return run.is_over and run.finished_at is not None and run.finished_at < before


def _is_of(task: str, prefix: str) -> bool:
    """Whether a task is of a namespace, that begins so; of none, if that is empty."""
    return task.startswith(prefix) if prefix else "/" not in task


# --- copies ----------------------------------------------------------------------------------------------------------


def copy_out(tables: Tables, table: str, after: tuple[Any, ...], limit: int) -> list[tuple[Any, ...]]:
    """See `Store.copy_out`."""
    width = len(TABLES[table])
    rows = sorted(row for row in _rows(tables, table) if row[:width] > after)
    return rows[:limit]


def _rows(tables: Tables, table: str) -> Iterator[tuple[Any, ...]]:
    match table:
        case "task":
            for name, task in tables.tasks.items():
                yield *_tuple(task), tables.updated[name]
        case "run":
            for run in tables.runs.values():
                yield _tuple(_stranded(run))
        case "gate" | "pause" | "urgency":
            yield from _standing(tables, table)
        case "idem" | "shared":
            yield from map(_tuple, (tables.keys if table == "idem" else tables.shared).values())
        case "log":
            yield from (_tuple(line) for lines in tables.logs.values() for line in lines.values())
        case "value" | "message" | "tree" | "hedge" | "budget" | "spend" | "fork":
            yield from _rows_beside(tables, table)
        case "event":
            yield from (
                (e.id, e.number, e.key, e.scope, e.payload, e.metadata, e.at, int(e.open), e.digest)
                for e in tables.events.values()
            )
        case _:
            yield from (_tuple(past) for kept in tables.past.values() for past in kept.values())


def _rows_beside(tables: Tables, table: str) -> Iterator[tuple[Any, ...]]:
    if table == "tree":
        yield from tables.trees.items()
    elif table == "hedge":
        yield from tables.hedges.items()
    elif table == "fork":
        yield from map(_tuple, tables.forks.values())
    elif table == "budget":
        yield from (_tuple(row) for rows in tables.budgets.values() for row in rows.values())
    elif table == "spend":
        yield from (_tuple(row) for rows in tables.spends.values() for row in rows.values())
    elif table == "value":
        yield from ((id_, *each) for id_, said in tables.values.items() for each in said.items())
    else:
        yield from (_tuple(message) for sent in tables.messages.values() for message in sent.values())


def _standing(tables: Tables, table: str) -> Iterator[tuple[Any, ...]]:
    """What stands over trees."""
    if table != "gate":
        return map(_tuple, (tables.pauses if table == "pause" else tables.urgent).values())
    return (_tuple(gate)[:_GATE_COLUMNS] for gate in tables.gates.values())


def _tuple(row: Any) -> tuple[Any, ...]:
    return msgspec.structs.astuple(row)


def _stranded(run: Run) -> Run:
    """A run as another database gets it: under no worker, not suspended, and of no program."""
    asked = run.asked if run.parent_id is not None else 0
    if run.state == RunState.RUNNING or run.waits == Waits.CHILDREN:
        run = msgspec.structs.replace(run, state=int(RunState.QUEUED), waits=None, due_at=None)
    return msgspec.structs.replace(run, asked=asked, worker_id=None)


def copy_in(tables: Tables, table: str, rows: Sequence[tuple[Any, ...]]) -> int:
    """See `Store.copy_in`."""
    return sum(_enter(tables, table, row) for row in rows)


def _enter(tables: Tables, table: str, row: tuple[Any, ...]) -> bool:
    """Whether it is new."""
    match table:
        case "task":
            *about, updated = row
            new = about[0] not in tables.tasks
            tables.tasks.setdefault(about[0], TaskInfo(*about))
            tables.updated.setdefault(about[0], updated)
            return new
        case "run":
            if new := row[0] not in tables.runs:
                tables.add(Run(*row))
            return new
        case "gate" | "pause" | "urgency":
            return _enter_standing(tables, table, row)
        case "idem":
            if new := _is_new(tables.keys, (row[0], row[1]), Key(*row)):
                tables.key_of[row[2]] = (row[0], row[1])
            return new
        case "log":
            return _is_new(tables.logs.setdefault(row[0], {}), row[1], Line(*row))
        case "event":
            id_, number, key, scope, payload, metadata, at, is_open, _ = row
            event = Event(id_, key, payload, scope, metadata, at, number, bool(is_open))
            return _is_new(tables.events, id_, event)
        case "value" | "message" | "tree" | "shared" | "hedge" | "budget" | "spend" | "fork":
            return _enter_beside(tables, table, row)
        case _:
            return _is_new(tables.past.setdefault(row[0], {}), row[1], Past(*row))


def _enter_standing(tables: Tables, table: str, row: tuple[Any, ...]) -> bool:
    if table == "pause":
        return _is_new(tables.pauses, row[0], Pause(*row))
    if table == "urgency":
        return _is_new(tables.urgent, row[0], Urgent(*row))
    return _is_new(tables.gates, row[0], Gate(*row))


def _enter_beside(tables: Tables, table: str, row: tuple[Any, ...]) -> bool:
    if table == "hedge":
        if new := row[0] not in tables.hedges:
            tables.hedge(*row)
        return new
    if table == "fork":
        return _is_new(tables.forks, row[0], Lineage(*row))
    if table == "shared":
        if new := (row[0], row[1]) not in tables.shared:
            tables.share(Shared(*row))
        return new
    if table == "value":
        said, (_, key, value) = tables.values.setdefault(row[0], {}), row
        new = key not in said
        said.setdefault(key, value)
        return new
    if table == "tree":
        new = row[0] not in tables.trees
        tables.trees.setdefault(row[0], row[1])
        return new
    if table == "budget":
        return _is_new(tables.budgets.setdefault(row[0], {}), row[1], Limit(*row))
    if table == "spend":
        return _is_new(tables.spends.setdefault(row[0], {}), (row[1], row[2]), Spent(*row))
    return _is_new(tables.messages.setdefault(row[0], {}), row[2], Message(*row))


def _is_new(table: dict[Any, Any], key: Any, row: Any) -> bool:
    return table.setdefault(key, row) is row


def count(tables: Tables, table: str) -> int:
    """See `Store.count`."""
    return sum(1 for _ in _rows(tables, table))


def turns(told_of: dict[str, str], verb: str, *, name: str = "", told: str = "", seen: str = "") -> list[Any]:
    """What the statements of `sql/telling.sql` do."""
    if verb == "turns":
        return sorted(told_of.items())
    if verb == "take_turn" and told_of.get(name, seen) != seen:
        return []
    told_of[name] = told
    return [(name,)]
