"""What a verb does, counted, and not timed."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any, cast

from fanwood.store.memory.store import MemoryStore
from fanwood.store.postgres.store import PostgresStore
from fanwood.store.sqlite.store import SqliteStore
from fanwood.store.store import Store
from tests.postgres.plans import Executed, watch_plans


async def cost(store: Store, verb: Callable[[], Awaitable[object]]) -> int:
    """In steps of SQLite's machine, in blocks and rows of PostgreSQL's, or in calls of Python's."""
    if isinstance(store, MemoryStore):
        calls: list[str] = []
        sys.setprofile(lambda _frame, event, _what: calls.append(event))
        await verb()
        sys.setprofile(None)
        return len(calls)
    if isinstance(store, SqliteStore):
        steps: list[int] = []
        connection = cast("Any", store._connection)
        connection.set_progress_handler(lambda: bool(steps.append(1)), 10)
        await verb()
        connection.set_progress_handler(None)
        return len(steps) * 10
    assert isinstance(store, PostgresStore)
    executed: list[Executed] = []
    for link in (store._hot, store.side):
        async with link.use() as connection:
            await watch_plans(cast("Any", connection), executed.append)
    await verb()
    return sum(one.blocks + sum(node.rows + node.removed for node in one.nodes) for one in executed)
