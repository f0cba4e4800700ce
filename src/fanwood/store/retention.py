"""Which runs are to be deleted next, so that no call takes long.

Trees go whole, as long as they fit into one call. How many fit is found by trying: a walk from so many roots that
comes back full is made again from fewer. A tree that doesn't fit even by itself is taken apart in call after call:

1. its root is *marked*, if it is old and over: from then on nothing of the tree can be replayed;
2. the tree is looked through, and if anything in it has not ended, the mark is taken away and the tree stays;
3. it is deleted from its lower end, and its root goes last, with the mark. Whoever looks meanwhile sees a smaller tree,
   and never one without its top.

So does a tree, however small, on which much hangs: lines of logs, spends, messages. Of that a part goes in each call,
before the runs themselves.

Here it is only said what to do, by reading, and reading may be done without a transaction. Whoever does it looks at the
root once more, locked, in the transaction in which he deletes: a run may have been replayed meanwhile.
"""

from __future__ import annotations

import asyncio
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from msgspec.structs import replace

from fanwood.ids import first_id
from fanwood.model.records import PruneCursor
from fanwood.model.states import FIRST_TERMINAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store

FEWER = 4
"""By how many times fewer trees to try after a walk that came back full."""
DELETED = 500
"""Runs that `delete_tree` deletes in one transaction."""
BUSY_TRIES, BUSY_PAUSE = 100, 0.05
LOOK_ROWS = 20_000
"""Of a large tree, so many runs are looked at in one call."""
MOST_HANGING = 10_000
"""So many rows may hang on runs that go in one transaction; of each table, as many go in one if there are more."""
TABLES = ("log", "attempt", "message", "value", "spend")
"""Of which a run may have any number of rows."""


LATE = 86_400_000
"""Milliseconds: a root is stored so long after its id was made, at most; and ..."""
EARLY = 60_000
"""... so long before, as clocks differ. Who looks at every root finds others, too."""
OTHERS = -1
"""`due` of a root of another namespace."""


class Walked(NamedTuple):
    """One run of a walk; `top` is its root."""

    top: bytes
    created_at: int  # of the root
    due: int  # whether the root ended long enough ago; `OTHERS`: it is another namespace's
    id: bytes
    state: int


class Deed(IntEnum):
    """What is to be done, in one transaction."""

    NOTHING = 0
    DELETE = 1  # `ids`: whole trees. Look again whether they are over, and nothing else is below their roots
    MARK = 2  # `root`, if it is still old and over; else go on after it
    UNMARK = 3  # `root`
    TAKE = 4  # `ids`: runs at the lower end of the marked tree of `root`
    FINISH = 5  # `root`, of which nothing else is left
    THIN = 6  # of what hangs on `ids`, in the marked tree of `root`, a part


class Plan(NamedTuple):
    """What one call of `prune` does, and where the next one goes on."""

    deed: Deed
    cursor: PruneCursor | None
    ids: Sequence[bytes] = ()
    root: bytes = b""


class Ground(Protocol):
    """A backend's runs, to be looked at."""

    async def walk_roots(
        self, before: int, prefix: str, after: tuple[int, bytes], tops: int, rows: int
    ) -> list[Walked]:
        """The next so many roots that were created before, and all below those of the namespace that are over."""
        ...

    async def next_own(self, prefix: str, since: bytes, created_at: int) -> bytes | None:
        """The first id, from `since` on, of a root of the namespace that has begun, and was created after that; None:
        there is none."""
        ...

    async def look_through(
        self, root: bytes, after: tuple[bytes, bytes], rows: int
    ) -> tuple[bool, tuple[bytes, bytes] | None]:
        """The next so many runs below a root, by (parent, id): whether any has not ended, and the last; None: no
        more."""
        ...

    async def lower_end(self, root: bytes, rows: int) -> list[bytes]:
        """The last so many runs below a root by (parent, id): none of them has children that are not among them."""
        ...

    async def hanging(self, ids: Sequence[bytes], most: int) -> int:
        """How many rows of `TABLES` hang on these; counted up to `most`."""
        ...


def prefix_of(namespace: str) -> str:
    """How the tasks of a namespace begin. (Those without one have no slash.)"""
    return f"{namespace}/" if namespace else ""


async def plan(ground: Ground, before: int, limit: int, cursor: PruneCursor, namespace: str) -> Plan:
    """What one call of `prune` does."""
    if cursor.large is not None:
        return await _large(ground, limit, cursor, cursor.large)
    start = cursor if cursor.created_at >= 0 else await _leap(ground, cursor, namespace)
    return await _walk(ground, before, limit, start, namespace) if start else Plan(Deed.DELETE, None)


async def _walk(ground: Ground, before: int, limit: int, cursor: PruneCursor, namespace: str) -> Plan:
    """From root to root."""
    ids: list[bytes] = []
    prefix, looked_at, width, hanging = prefix_of(namespace), 0, min(limit, cursor.width or limit), 0
    while len(ids) * 2 < limit and looked_at < limit:
        rows = await ground.walk_roots(before, prefix, (cursor.created_at, cursor.id), width, limit + 1)
        if not rows:
            return Plan(Deed.DELETE, None, ids)
        full, over = len(rows) > limit, _over(rows)
        if not full and over:
            on_these = await ground.hanging(over, MOST_HANGING + 1)
            full = hanging + on_these > MOST_HANGING
            hanging += 0 if full else on_these
        if full and width > 1:
            width = max(1, width // FEWER)
            continue
        last = max((row.created_at, row.top) for row in rows)
        if full:
            if ids:
                break
            begin = replace(cursor, width=0, large=last, place=(b"", b""))
            return Plan(Deed.MARK, begin, root=last[1])
        ids += over
        looked_at += len({row.top for row in rows})
        cursor = replace(cursor, created_at=last[0], id=last[1], width=width)
        if all(row.due == OTHERS for row in rows):
            beyond = await _leap(ground, cursor, namespace)
            if beyond is None:
                return Plan(Deed.DELETE, None, ids)
            cursor = beyond
        width = min(limit, width * 2) if len(rows) * 2 <= limit else width
    return Plan(Deed.DELETE, cursor, ids)


async def _leap(ground: Ground, cursor: PruneCursor, namespace: str) -> PruneCursor | None:
    """Over roots that are all of other namespaces; None: nothing of this one comes after them."""
    if cursor.whole:
        return cursor
    since = first_id(cursor.created_at // 1000 - LATE)
    found = await ground.next_own(prefix_of(namespace), since, cursor.created_at)
    if found is None:
        return None
    place = ((int.from_bytes(found[:6], "big") - EARLY) * 1000, b"")
    return replace(cursor, created_at=place[0], id=place[1]) if place > (cursor.created_at, cursor.id) else cursor


async def _large(ground: Ground, limit: int, cursor: PruneCursor, large: tuple[int, bytes]) -> Plan:
    """A tree that is marked: it is looked through, and then taken apart."""
    root, beyond = large[1], PruneCursor(*large, whole=cursor.whole)
    if cursor.place is not None:
        lives, place = await ground.look_through(root, cursor.place, LOOK_ROWS)
        if lives:
            return Plan(Deed.UNMARK, beyond, root=root)
        return Plan(Deed.NOTHING, replace(cursor, width=0, place=place), root=root)
    ids = await ground.lower_end(root, limit)
    if await ground.hanging(ids or [root], MOST_HANGING + 1) > MOST_HANGING:
        return Plan(Deed.THIN, cursor, ids or [root], root)
    return Plan(Deed.TAKE, cursor, ids, root) if ids else Plan(Deed.FINISH, beyond, [root], root)


async def delete_tree(store: Store, root: RunRecord) -> int:
    """Delete one tree in which all has ended; how many runs it had. It stays if something in it lives, or if somebody
    else goes on deleting it."""
    deleted, cursor = 0, await store.begin_deleting(root.id)
    for _ in range(BUSY_TRIES):
        while cursor is not None and cursor.large is not None:
            pruned = await store.prune(store.now(), DELETED, cursor, root.task.rpartition("/")[0])
            deleted += pruned.runs
            if pruned.cursor is None:
                break  # somebody else is pruning
            cursor = pruned.cursor
        else:
            break
        await asyncio.sleep(BUSY_PAUSE)
    return deleted


def taking_apart(created_at: int, root_id: bytes) -> PruneCursor:
    """Where `prune` begins with a tree that was marked for itself."""
    return PruneCursor(large=(created_at, root_id), place=(b"", b""))


def after_failure(planned: Plan) -> PruneCursor | None:
    """Where to go on if what was planned could not be done: somebody else was quicker, or something came to life."""
    if planned.cursor is not None and planned.cursor.large is not None:
        return PruneCursor(*planned.cursor.large, whole=planned.cursor.whole)
    return None


def _over(rows: list[Walked]) -> list[bytes]:
    """Of whole trees those in which all has ended."""
    going_on = {row.top for row in rows if row.state < FIRST_TERMINAL or row.due != 1}
    return [row.id for row in rows if row.top not in going_on]
