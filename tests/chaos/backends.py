"""The two stores as a scenario sees them: a URL, and what is recorded, read without a line of Fanwood's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import apsw

from fanwood import Fanwood

READER = "chaos reader"
PATIENCE = 180.0


class Backend(Protocol):
    name: str
    url: str

    def rows(self, query: str, *bindings: object) -> list[Any]:
        """By a statement that both databases understand; `$1` stands for the first binding."""
        ...

    def can_freeze(self) -> bool:
        """Whether nobody holds a lock without which the others can't go on."""
        ...

    def close(self) -> None: ...


class Sqlite:
    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "fanwood.db"
        self.url = f"sqlite:///{self.path}"
        self._connection: apsw.Connection | None = None

    def rows(self, query: str, *bindings: object) -> list[Any]:
        """By a connection of this process' one SQLite: two libraries would undo each other's locks."""
        if self._connection is None:
            self._connection = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
            self._connection.set_busy_timeout(60_000)
        return self._connection.execute(query, bindings).fetchall()

    def can_freeze(self) -> bool:
        """A process that is frozen in the middle of a commit holds the file's lock, as the docs say."""
        connection = apsw.Connection(str(self.path))
        try:
            connection.set_busy_timeout(200)
            connection.execute("begin immediate; rollback")
        except apsw.BusyError:
            return False
        finally:
            connection.close()
        return True

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class Postgres:
    """A database of a server that may be gone at any moment: reading waits until it is back."""

    name = "postgres"

    def __init__(self, url: str) -> None:
        self.url = url
        self._runner = asyncio.Runner()
        self._connection: Any = None

    def rows(self, query: str, *bindings: object) -> list[Any]:
        import asyncpg

        gone = (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.CannotConnectNowError)
        return _patiently(lambda: self._runner.run(self._rows(query, bindings)), gone)

    async def _rows(self, query: str, bindings: tuple[object, ...]) -> list[Any]:
        import asyncpg

        if self._connection is None or self._connection.is_closed():
            settings = {"application_name": READER, "search_path": "fanwood"}
            self._connection = await asyncpg.connect(self.url, server_settings=settings, statement_cache_size=0)
        return [tuple(row) for row in await self._connection.fetch(query, *bindings)]

    def can_freeze(self) -> bool:
        return True

    def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
        self._runner.close()


def _patiently(read: Callable[[], list[Any]], gone: tuple[type[BaseException], ...]) -> list[Any]:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return read()
        except gone:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def migrated(url: str) -> Postgres:
    """A database with Fanwood's schema in it."""
    with Fanwood(url, local_worker=False) as app:
        app.engine()
    return Postgres(url)
