"""All that a store holds, held against `model/invariants.py`: a page at a time, each in a transaction of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.model.invariants import Families, lateness, of_a_limit, of_a_row
from fanwood.model.records import Walk
from fanwood.store.rows import place_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fanwood.model.records import Audited
    from fanwood.store.store import Place, Store

PAGE = 1_000
BEGIN: Place = (-1, b"", b"", b"")


async def audited(store: Store, walk: Walk, page: int = PAGE) -> AsyncIterator[Audited]:
    """Rows of a store, in the order of a walk; of what is unfinished some of each state."""
    after = BEGIN
    while rows := await store.audit(walk, after, page):
        for row in rows:
            yield row
        if walk is Walk.UNFINISHED:
            return
        after = place_of(rows[-1], walk)


async def findings(store: Store, *, full: bool, attended: bool = False, page: int = PAGE) -> AsyncIterator[str]:
    """All that is wrong of what has not ended, as far as a look at some of it tells; `full`: of all runs. `attended`:
    somebody has looked after timers all the time, and they should not be late."""
    families, now = Families(), store.now()
    for walk in (Walk.ROOTS, Walk.CHILDREN) if full else (Walk.UNFINISHED,):
        async for row in audited(store, walk, page):
            for found in of_a_row(row):
                yield found
            if attended:
                for found in lateness(row, now):
                    yield found
            if walk is Walk.CHILDREN:
                for found in families.saw(row):
                    yield found
    for limit in await store.counted() if full else ():
        for found in of_a_limit(limit):
            yield found
