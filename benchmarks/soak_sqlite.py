"""A soak's view of an SQLite file."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

from benchmarks.soak_looking import UNFINISHED, Figures, some_of, waits
from benchmarks.soak_tasks import TREE
from fanwood import Settings

BUSY_MS = 5_000

ROOTS = """
    select id, created_at, started_at, finished_at from run
    where parent_id is null and created_at > ? and created_at <= ? order by created_at, id
"""
CHILDREN = "select id, created_at, started_at, finished_at from run where root_id = ?1 and parent_id = ?1"
OLDEST = "select created_at from run where parent_id is null order by created_at, id limit 1"
ROWS = "select (select count(*) from mail), (select count(*) from watch)"


class SqliteWatcher:
    """See `Watcher`. It reads in short transactions: a long one would keep the write-ahead log from being reset."""

    def __init__(self, settings: Settings) -> None:
        self._path = Path(settings.database_url.removeprefix("sqlite:///"))
        self._connection: apsw.Connection | None = None
        self._until = 0

    async def open(self) -> None:
        self._connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)
        self._connection.set_busy_timeout(BUSY_MS)
        self._until = _now()

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    async def unfinished(self) -> int:
        return await self._read(lambda: self._rows(UNFINISHED.format(tree="?"), TREE)[0][0])

    async def look(self) -> Figures:
        return await self._read(self._look)

    async def _read(self, read: Callable[[], Any]) -> Any:
        """In a thread: the loop has trees to start."""
        return await asyncio.to_thread(read)

    def _look(self) -> Figures:
        now = _now()
        since, self._until = self._until, now - 1_000_000
        roots = self._rows(ROOTS, since, self._until)
        children = [child for id in some_of(roots) for child in self._rows(CHILDREN, id)]
        mail, watch = self._rows(ROWS)[0]
        log = self._path.with_name(self._path.name + "-wal")
        figures: Figures = {
            **waits("root", roots, now),
            **waits("child", children, now),
            "mail": mail,
            "watch": watch,
            "file": self._path.stat().st_size / 1e6,
            "free": 100 * self._rows("pragma freelist_count")[0][0] / self._rows("pragma page_count")[0][0],
            "log": log.stat().st_size / 1e6 if log.exists() else 0.0,
        }
        oldest = self._rows(OLDEST)
        return {**figures, "oldest": (now - oldest[0][0]) / 1e6} if oldest else figures

    def _rows(self, query: str, *bindings: Any) -> list[Any]:
        assert self._connection is not None
        return self._connection.execute(query, bindings).fetchall()


def _now() -> int:
    """As the workers have it, who are on this machine."""
    return round(time.time() * 1e6)
