"""Which runs are to be deleted next, so that no call takes long.

Trees go whole, as long as they fit into one call. How many fit is found by trying: a walk from so many roots that
comes back full is made again from fewer. A tree that doesn't fit even by itself is first looked at as a whole, and then
taken apart in call after call: somewhere below its root is a run whose first children, with all below them, do fit.
So its root goes last, and whoever looks meanwhile sees a smaller tree, and never one without its top.

All this is only reading, and may be done without a transaction. What was found is looked at once more by the
transaction that deletes it: a run may have been replayed meanwhile.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from fanwood.model.records import PruneCursor

FEWER = 4
"""By how many times fewer trees to try after a walk that came back full."""


class Walked(NamedTuple):
    """One run of a walk; `top` is the root (or child) from which it was reached."""

    top: bytes
    created_at: int  # of the root
    due: int  # whether the root ended long enough ago
    parent: bytes
    id: bytes
    state: int


class Ground(Protocol):
    """A backend's runs, to be looked at."""

    async def walk(self, name: str, **bindings: Any) -> list[Walked]:
        """The rows of a walk of `sql/retention.sql`."""
        ...

    async def goes_on(self, root: bytes) -> bool:
        """Whether any run of a tree has not ended."""
        ...


def prefix_of(namespace: str) -> str:
    """How the tasks of a namespace begin. (Those without one have no slash.)"""
    return f"{namespace}/" if namespace else ""


async def find_old(
    ground: Ground, before: int, limit: int, cursor: PruneCursor, namespace: str
) -> tuple[list[bytes], PruneCursor | None]:
    """The runs that one call of `prune` deletes, and where the next one goes on."""
    if cursor.large is not None:
        found = await _lower_end(ground, cursor.large[1], limit)
        if found is None:
            return [], PruneCursor(*cursor.large)
        if found:
            return found, cursor
    ids: list[bytes] = []
    prefix, looked_at, width = prefix_of(namespace), 0, min(limit, cursor.width or limit)
    while len(ids) * 2 < limit and looked_at < limit:
        place = {"prefix": prefix, "created_at": cursor.created_at, "after": cursor.id}
        rows = await ground.walk("walk_roots", before=before, tops=width, rows=limit + 1, **place)
        if not rows:
            return ids, None
        if len(rows) > limit and width > 1:
            width = max(1, width // FEWER)
            continue
        last = max((row.created_at, row.top) for row in rows)
        if len(rows) > limit:
            if ids:
                break
            too_early = await ground.goes_on(last[1])
            return [], PruneCursor(*last) if too_early else PruneCursor(cursor.created_at, cursor.id, large=last)
        ids += _over(rows)
        looked_at += len({row.top for row in rows})
        cursor = PruneCursor(*last, width)
        width = min(limit, width * 2) if len(rows) * 2 <= limit else width
    return ids, cursor


def _over(rows: list[Walked]) -> list[bytes]:
    """Of whole trees those in which all has ended."""
    going_on = {row.top for row in rows if row.state < 2 or not row.due}
    return [row.id for row in rows if row.top not in going_on]


async def _lower_end(ground: Ground, node: bytes, limit: int) -> list[bytes] | None:
    """Some runs at the lower end of a large tree; none if only its root is left; None if something goes on again."""
    width = limit
    while True:
        rows = await ground.walk("walk_children", parent=node, tops=width, rows=limit + 1)
        if len(rows) <= limit:
            return None if any(row.state < 2 for row in rows) else [row.id for row in rows]
        if width > 1:
            width = max(1, width // FEWER)
        else:
            node, width = rows[-1].parent, limit  # as far down as was seen
