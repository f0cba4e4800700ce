"""Looking for people: a connection for reading, on a thread of its own, so that nothing that runs is held up."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar, cast

from fanwood.errors import StoreUnavailableError
from fanwood.store.sqlite.connection import connect, file_identity, translated
from fanwood.store.sqlite.driver import Lenient, reading_lock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fanwood.clock import Clock
    from fanwood.store.sqlite.driver import Database

T = TypeVar("T")

STEPS = 10_000
"""Of SQLite's machine, between two looks at the clock: less than a millisecond."""


class Reader:
    """`patience`: seconds after which a look is given up; None: it takes as long as it takes."""

    def __init__(self, path: Path, clock: Clock, patience: float | None) -> None:
        self._path = path
        self._clock = clock
        self._patience = patience
        self._late = 0.0
        self._connection: Database | None = None
        self._identity: tuple[int, int] | None = None  # of the file that is read
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fanwood-reader")

    async def read(self, query: Callable[[Database], T]) -> T:
        """What a look finds."""

        def read() -> T:
            with reading_lock, translated(self._path):
                connection = self._connected()
                try:
                    return query(connection)
                except UnicodeError:  # somebody wrote what is no text
                    return query(cast("Database", Lenient(connection)))  # all that reading needs

        return await asyncio.get_running_loop().run_in_executor(self._thread, read)

    def _connected(self) -> Database:
        if self._connection is None:
            self._identity = file_identity(str(self._path))
            self._connection = connect(self._path, read_only=True)
            if self._patience is not None:
                self._connection.set_progress_handler(lambda: self._clock.monotonic() > self._late, STEPS)
        elif self._patience is not None and file_identity(str(self._path)) != self._identity:
            raise StoreUnavailableError(  # else what nobody writes to any more would be shown for ever
                f"{self._path} is gone: it was removed or replaced while it was looked at. Put it back, or start again "
                f"what looks at it."
            )
        self._late = self._clock.monotonic() + (self._patience or 0.0)
        return self._connection

    def close(self) -> None:
        """Once what is under way is done."""
        self._thread.shutdown(wait=True)
        if self._connection is not None:
            self._connection.close()
            self._connection = None
