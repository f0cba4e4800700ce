"""Copying everything that lasts from one database to another: tasks, runs, attempts, logs, keys, and what is being
closed. Not who works on it, nor their mail.

Tables are read and written in the order of their keys, a page at a time. Nothing of that needs to be remembered: a copy
that was interrupted is begun again, and what is there already stays as it is. So that this never mixes two histories,
every run that the target holds before must stand in the source, with the same contents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanwood.errors import StoreError
from fanwood.ids import id_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from fanwood.store.store import Store

TABLES: dict[str, tuple[str, ...]] = {
    "task": ("name",),
    "gate": ("run_id",),
    "pause": ("run_id",),
    "urgency": ("run_id",),
    "run": ("id",),
    "idem": ("namespace", "key"),
    "shared": ("root_id", "digest"),
    "hedge": ("run_id",),
    "log": ("run_id", "seq"),
    "attempt": ("run_id", "number"),
    "event": ("id",),
    "message": ("run_id", "name", "number"),
    "value": ("run_id", "key"),
    "tree": ("root_id",),
    "fork": ("root_id",),
    "budget": ("run_id", "unit"),
    "spend": ("run_id", "id", "unit"),
}
"""What is copied, in this order, and the columns of each key, which are a row's first."""
_FIRST: dict[str, tuple[object, ...]] = {
    "task": ("",),
    "gate": (b"",),
    "pause": (b"",),
    "urgency": (b"",),
    "run": (b"",),
    "idem": ("", ""),
    "shared": (b"", b""),
    "hedge": (b"",),
    "log": (b"", -1),
    "attempt": (b"", -1),
    "event": ("",),
    "message": (b"", "", -1),
    "value": (b"", ""),
    "tree": (b"",),
    "fork": (b"",),
    "budget": (b"", ""),
    "spend": (b"", b"", ""),
}
"""Before the first key of each."""

PAGE = 2_000
"""Rows at a time, if they are small ..."""
PAGE_BYTES = 8 * 1024 * 1024
"""... and about how much text and bytes, if they are not."""
GUARD_EVERY = 20
"""Pages between two looks whether somebody has begun to work on either side."""

Rows = list[tuple[Any, ...]]


async def copy(
    source: Store,
    target: Store,
    guard: Callable[[], Awaitable[None]],
    on_progress: Callable[[str, int, int], None],
) -> dict[str, int]:
    """Copy all tables; how many rows of each were new. Both stores are open, and nothing is RUNNING in the source.

    `guard` raises if somebody works on either side. `on_progress` is told: table, rows so far, rows in all.

    Raises:
        StoreError: the target holds something else, or not everything came through.
    """
    await guard()
    await _refuse_strangers(source, target)
    new: dict[str, int] = {}
    pages = 0
    for table in TABLES:
        done, total, new[table] = 0, await source.count(table), 0
        on_progress(table, 0, total)
        async for rows in _pages(source, table):
            new[table] += await target.copy_in(table, rows)
            done += len(rows)
            on_progress(table, done, max(done, total))
            pages += 1
            if pages % GUARD_EVERY == 0:
                await guard()
    await guard()
    await _compare(source, target)
    await target.take_over(await source.secret(), await source.number())
    return new


async def _pages(store: Store, table: str) -> AsyncIterator[Rows]:
    """All rows, in pages that are as large as their rows allow."""
    after, limit = _FIRST[table], PAGE // 20
    while rows := await store.copy_out(table, after, limit):
        yield rows
        after = rows[-1][: len(after)]
        size = sum(len(value) for row in rows for value in row if isinstance(value, str | bytes))
        limit = max(1, min(PAGE, limit * 4, len(rows) * PAGE_BYTES // max(1, size)))


async def _each(store: Store, table: str) -> AsyncIterator[tuple[Any, ...]]:
    async for rows in _pages(store, table):
        for row in rows:
            yield row


async def _refuse_strangers(source: Store, target: Store) -> None:
    ours = _each(source, "run")
    async for there in _each(target, "run"):
        here = await anext(ours, None)
        while here is not None and here[0] < there[0]:
            here = await anext(ours, None)
        if here is None or here[0] != there[0]:
            raise StoreError(
                f"{target.url} holds runs that are not in {source.url}, e.g. {id_text(there[0])}: a copy would mix two "
                f"histories. Nothing was changed. Name an empty database."
            )
        if here != there:
            raise StoreError(
                f"Run {id_text(there[0])} stands in {source.url} and in {target.url}, and not with the same contents: "
                f"one of them has gone on since it was copied. Nothing was changed. Name an empty database."
            )


async def _compare(source: Store, target: Store) -> None:
    for table in ("run", "log", "attempt", "event", "message", "value", "budget", "spend"):
        here, there = await source.count(table), await target.count(table)
        if here != there:
            raise StoreError(
                f"{source.url} has {here:,} rows in table {table}, and {target.url} has {there:,} after the copy: "
                f"somebody worked on one of them meanwhile. See that nobody does, and copy into an empty database."
            )
