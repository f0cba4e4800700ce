"""What is seen while something large is closed: by connections of our own, and by small runs of a client."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

import apsw
import asyncpg

from benchmarks.closing_tasks import SMALL
from benchmarks.databases import POSTGRES, Database
from benchmarks.soak_looking import percentile
from benchmarks.tasks import pause
from fanwood import Fanwood

BUSY_MS = 5_000
EYE_EVERY = 0.01
PATIENCE = 120.0
"""Seconds until something that never comes is given up."""
PROBES = 4


class Eye:
    """A connection that nobody else should notice. `?` stands for what is bound."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self._sqlite: apsw.Connection | None = None
        self._postgres: Any = None
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        database = self._database
        if database.store == POSTGRES:
            settings = {"search_path": database.name(self._name), "enable_seqscan": "off", "jit": "off"}
            self._postgres = await asyncpg.connect(database.url, server_settings=settings)
        else:
            self._sqlite = apsw.Connection(str(database.path(self._name)))
            self._sqlite.set_busy_timeout(BUSY_MS)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._postgres is not None:
            await self._postgres.close()
        if self._sqlite is not None:
            self._sqlite.close()

    async def rows(self, query: str, *bindings: Any) -> list[tuple[Any, ...]]:
        if self._sqlite is not None:
            return [tuple(row) for row in self._sqlite.execute(query, bindings)]
        numbers = iter(range(1, 100))
        query = re.sub(r"\?", lambda _: f"${next(numbers)}", query)
        async with self._turn:
            return [tuple(row) for row in await self._postgres.fetch(query, *bindings)]

    async def value(self, query: str, *bindings: Any) -> Any:
        rows = await self.rows(query, *bindings)
        return rows[0][0] if rows else None

    async def until(self, holds: Callable[[Any], bool], query: str, *bindings: Any, every: float = EYE_EVERY) -> float:
        """The time at which the value was seen to be so.

        Raises:
            TimeoutError: it never was.
        """
        give_up = time.time() + PATIENCE
        while not holds(value := await self.value(query, *bindings)):
            if time.time() > give_up:
                raise TimeoutError(f"still {value!r} after {PATIENCE:g} s: {query.strip()}")
            await asyncio.sleep(every)
        return time.time()


class Heartbeats:
    """When the leases of workers were renewed, as their rows tell."""

    def __init__(self, eye: Eye) -> None:
        self._eye = eye
        self._seen: dict[int, list[float]] = {}
        self._there: dict[int, float] = {}  # when each lease was last seen

    async def watch(self) -> None:
        while True:
            for worker, renewed in await self._eye.rows(
                "select l.worker_id, l.expires_at - w.lease from lease l join worker w on w.id = l.worker_id "
                "where w.slots > 0 and w.name <> 'dead'"
            ):
                times, self._there[worker] = self._seen.setdefault(worker, []), time.time()
                if not times or times[-1] != renewed / 1e6:
                    times.append(renewed / 1e6)
            await asyncio.sleep(EYE_EVERY)

    def largest_gap(self, since: float, until: float) -> float:
        """Between two renewals of one worker; the last one may still go on, or ends when the lease is taken away."""
        gaps = [0.0]
        for worker, times in self._seen.items():
            ends = [*times[1:], min(until, self._there[worker])]
            gaps += [end - start for start, end in zip(times, ends, strict=True) if end > since and start < until]
        return max(gaps)


class Probes:
    """Small runs, a few at a time, all the while: when each began, and how long it took (seconds)."""

    def __init__(self, app: Fanwood) -> None:
        self._small = app.find(SMALL)
        self._taken: list[tuple[float, float]] = []

    async def run(self) -> None:
        async def one_after_another(number: int) -> None:
            while True:
                at, start = time.time(), time.perf_counter()
                await self._small.aio_run(number)
                self._taken.append((at, time.perf_counter() - start))
                await asyncio.sleep(pause())

        await asyncio.gather(*(one_after_another(number) for number in range(PROBES)))

    def percentiles(self, since: float, until: float) -> tuple[float, float]:
        """In milliseconds: the median and the 99th percentile of those that went on meanwhile."""
        taken = [took * 1e3 for at, took in self._taken if at + took > since and at < until]
        return (percentile(taken, 0.5), percentile(taken, 0.99)) if taken else (float("nan"), float("nan"))


@asynccontextmanager
async def beside(*works: Any) -> AsyncIterator[None]:
    """They go on until the end of the `with`."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


def signal(folder: Path, name: str) -> float:
    """Let whoever waits for this file go on; when that was."""
    (folder / name).touch()
    return time.time()
