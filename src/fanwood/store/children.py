"""Some children of a run, however many others there are: no statement looks at more than a certain number of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanwood.model.states import RunState
from fanwood.store import rows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fanwood.model.records import RunRecord

VISITED = 2_000
"""Children that one statement looks at ..."""
FAILED = 250
"""... or of what failed in a tree, which may lie anywhere in the table."""


async def children(looked: Callable[..., Awaitable[list[Any]]], limit: int, **about: Any) -> list[RunRecord]:
    """See `Store.children`."""
    is_failed = about["state"] is RunState.FAILED
    name, bound = ("list_failed_children", FAILED) if is_failed else ("list_children", VISITED)
    found: list[RunRecord] = []
    most = min(limit, bound)  # that may be all
    while most > 0:
        page = sorted(await looked(name, **about, most=most), key=lambda row: row[0])
        found += [rows.record(row) for *row, fits, _ in page if fits]
        if len(found) >= limit or not page or page[-1][-1] < most:
            return found[:limit]
        about["after"], most = page[-1][0], bound
    return found
