"""Looking for people: a connection for reading, on a thread of its own, so that nothing that runs is held up."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, cast

from fanwood.store.sqlite.connection import connect, translated
from fanwood.store.sqlite.driver import Lenient, reading_lock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fanwood.clock import Clock
    from fanwood.store.sqlite.driver import Database

T = TypeVar("T")

AT_ONCE = 50
"""Small looks that go together."""
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
            self._connection = connect(self._path, read_only=True)
            if self._patience is not None:
                self._connection.set_progress_handler(lambda: self._clock.monotonic() > self._late, STEPS)
        self._late = self._clock.monotonic() + (self._patience or 0.0)
        return self._connection

    def close(self) -> None:
        """Once what is under way is done."""
        self._thread.shutdown(wait=True)
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Together:
    """Small looks that are asked for at the same moment go to the reader's thread together: each by itself would pay
    more for its way there than for what it finds."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._waiting: list[tuple[Callable[[Database], Any], asyncio.Future[Any]]] = []
        self._working: asyncio.Task[None] | None = None

    async def read(self, query: Callable[[Database], T]) -> T:
        """What a look finds."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[T] = loop.create_future()
        self._waiting.append((query, found))
        if self._working is None or self._working.done():
            self._working = loop.create_task(self._work())
        return await found

    async def _work(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
            try:
                if len(taken) == 1:
                    answers = [await self._reader.read(taken[0][0])]
                else:
                    answers = await self._reader.read(lambda db: [query(db) for query, _ in taken])  # noqa: B023
            except Exception as error:  # noqa: BLE001  (told to who asked)
                if len(taken) > 1:
                    await self._apart(taken)
                elif not taken[0][1].done():
                    taken[0][1].set_exception(error)
                continue
            except BaseException:
                for _, found in [*taken, *self._waiting]:
                    found.cancel()
                self._waiting.clear()
                raise
            for (_, found), answer in zip(taken, answers, strict=True):
                if not found.done():
                    found.set_result(answer)

    async def _apart(self, taken: list[tuple[Callable[[Database], Any], asyncio.Future[Any]]]) -> None:
        """Whose fault it is, each is told by itself."""
        for query, found in taken:
            try:
                answer = await self._reader.read(query)
            except Exception as error:  # noqa: BLE001
                if not found.done():
                    found.set_exception(error)
            else:
                if not found.done():
                    found.set_result(answer)
