"""Births on SQLite: runs of one call in one way, which takes the least of time, the rest in the general one."""

from __future__ import annotations

from itertools import chain, groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from fanwood.store.expiry import expiry
from fanwood.store.sqlite.leaving import encoded
from fanwood.store.statements import RowsStatement, load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fanwood.model.commands import Spawn

_SQL = load("sqlite/spawning.sql")
_INSERT = RowsStatement.of(_SQL["insert_run"])
_ROWS_PER_INSERT = 1000  # 25 columns each: below SQLite's limit of 32,766 placeholders

_OF_CHILDREN = ("id", "identity", "child_index", "input", "child_key", "input_digest")
_OF_ROOTS = (*_OF_CHILDREN, "parent_id", "root_id")
"""The columns that such a row has by itself, or has not."""
_ALIKE_FROM = 8  # runs, for which their own statement pays

_likeness = attrgetter("kind", "claimed")
"""What one statement may insert together: runs of one call are of one and the same kind."""


def insert_alike(
    execute: Callable[..., Any], me: int, now: int, spawns: Sequence[Spawn], budgets: dict[bytes, bytes]
) -> list[Spawn]:
    """Those that have nearly all in common are born; which are left. `budgets`: whose their parents use."""
    if len(spawns) < _ALIKE_FROM:
        return list(spawns)
    rest: list[Spawn] = []
    for (kind, _), group in groupby(spawns, _likeness):
        alike, is_root = list(group), kind.parent_id is None
        plain = all([s.child_key is None and (s.identity is None) is is_root for s in alike])  # noqa: C419  (quicker)
        if len(alike) < _ALIKE_FROM or kind.part is not None or not plain:
            rest += alike
            continue
        first = alike[0].index
        if not is_root and [s.index for s in alike] != list(range(first, first + len(alike))):
            rest += alike  # some of those between were there already
            continue
        columns = dict(zip(_INSERT.columns, _row(alike[0], me, now, budgets), strict=True))
        columns["ids"] = b"".join([s.id for s in alike])
        if is_root:
            name, own = "insert_roots", _OF_ROOTS
        else:
            name, own = "insert_alike", _OF_CHILDREN
            columns["identities"] = b"".join([s.identity or b"" for s in alike])
            columns["first"] = first
        for column in own:
            del columns[column]
        execute(_SQL[name], {**columns, "rows": encoded([s.input for s in alike])})
    return rest


def insert(
    execute: Callable[..., Any], me: int, now: int, spawns: Sequence[Spawn], budgets: dict[bytes, bytes]
) -> None:
    """All of these are born, each with columns of its own."""
    if len(spawns) == 1:
        execute(_INSERT.text(1), _row(spawns[0], me, now, budgets))
        return
    for start in range(0, len(spawns), _ROWS_PER_INSERT):
        rows = [_row(spawn, me, now, budgets) for spawn in spawns[start : start + _ROWS_PER_INSERT]]
        execute(_INSERT.text(len(rows)), tuple(chain.from_iterable(rows)))


def _row(spawn: Spawn, me: int, now: int, budgets: dict[bytes, bytes]) -> tuple[Any, ...]:
    """`budgets`: whose their parents use."""
    kind = spawn.kind
    claimed = spawn.claimed
    expires_at = None if claimed else expiry(now, kind.schedule_timeout, kind.deadline)
    return (
        spawn.id, kind.parent_id, kind.root_id or spawn.id, kind.depth, int(kind.run_kind), kind.task,
        spawn.identity if kind.parent_id else None, spawn.index if kind.parent_id else None, spawn.child_key,
        spawn.input_digest, spawn.input, kind.metadata, kind.priority, int(kind.on_parent_end), 1 if claimed else 0,
        1 if claimed else 0, kind.parent_attempt or kind.program, me if claimed else None, kind.deadline,
        kind.deadline_by, kind.schedule_timeout, expires_at, now, now if claimed else None,
        (budgets.get(kind.parent_id or b"") if budgets else None) if kind.part is None else spawn.id,
    )  # fmt: skip
