"""One database with a state made in bulk, workers on it, a client's small runs, and an eye on all."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.closing_looking import Eye, Heartbeats, Probes, beside
from benchmarks.closing_states import COLUMNS
from benchmarks.closing_tasks import FOLDER, declare
from benchmarks.databases import Database
from benchmarks.growth_ground import HOUR, opened
from benchmarks.history import Row, write
from benchmarks.soak_processes import Workers
from fanwood import Fanwood
from fanwood.model.commands import WorkerInfo

NAME = "closing"
APP = "benchmarks.closing_tasks:fanwood"
CALM = 5.0
"""Seconds for which small runs are looked at before anything happens."""
SETTLED = 2.0
"""Seconds for new workers to come up."""


@dataclass(frozen=True)
class Figure:
    """Something that was seen, and what it should be at most (or, for a rate, at least)."""

    label: str
    value: float
    unit: str
    limit: float | None = None
    least: bool = False

    @property
    def met(self) -> bool | None:
        if self.limit is None:
            return None
        return self.value >= self.limit if self.least else self.value <= self.limit


@dataclass(frozen=True)
class Stage:
    """What a scenario works with."""

    database: Database
    folder: Path
    app: Fanwood
    eye: Eye
    heartbeats: Heartbeats
    probes: Probes
    workers: Workers

    async def calm(self) -> tuple[float, float]:
        """Look at small runs while nothing else happens; from when to when."""
        since = time.time()
        await asyncio.sleep(CALM)
        self.workers.check()
        return since, time.time()

    def undisturbed(self, before: tuple[float, float], since: float, until: float) -> Iterator[Figure]:
        """How small runs and leases fared meanwhile, compared with the time `before`."""
        calm_p50, calm_p99 = self.probes.percentiles(*before)
        p50, p99 = self.probes.percentiles(since, until)
        yield Figure("small runs before: median", calm_p50, "ms")
        yield Figure("small runs before: 99th percentile", calm_p99, "ms")
        yield Figure("small runs meanwhile: median", p50, "ms")
        yield Figure("small runs meanwhile: 99th percentile", p99, "ms")
        yield Figure("the second 99th percentile, in firsts", p99 / calm_p99, "x", 3)
        gap = self.heartbeats.largest_gap(since, until)
        yield Figure("largest time between two heartbeats", gap, "s", 2 * self.app.settings.heartbeat)

    def taken_for_lost(self) -> Iterator[Figure]:
        """Workers that live, and found that they had lost their leases."""
        own = [line for log in self.workers.logs for line in log.read_text().splitlines()]
        taken = sum("it starts anew" in line for line in own)
        yield Figure("workers that were taken for lost", taken, "", 0)


@asynccontextmanager
async def stage(database: Database, rows: Iterable[Row], count: int = 1) -> AsyncIterator[Stage]:
    """With the schema in place; the rows are written before any worker starts."""
    await write(database, NAME, {"run": (COLUMNS, iter(rows))})
    settings = database.settings(NAME)
    with tempfile.TemporaryDirectory(dir=database.folder) as text:
        folder = Path(text)
        with Workers(settings, count, folder, app=APP, variables={FOLDER: str(folder)}) as workers:
            app = Fanwood(settings.database_url, postgres_schema=settings.postgres_schema, local_worker=False)
            async with Eye(database, NAME) as eye, declare(app, folder):
                await _up(eye, workers, count)
                heartbeats, probes = Heartbeats(eye), Probes(app)
                async with beside(heartbeats.watch(), probes.run()):
                    await asyncio.sleep(SETTLED)
                    yield Stage(database, folder, app, eye, heartbeats, probes, workers)


async def _up(eye: Eye, workers: Workers, count: int) -> None:
    """Returns when so many workers are at work.

    Raises:
        TimeoutError: they never were; with what they said.
    """
    try:
        await eye.until(lambda n: n == count, "select count(*) from worker where slots > 0 and name <> 'dead'")
    except TimeoutError as error:
        workers.check()
        said = " / ".join(log.read_text(errors="replace").strip() for log in workers.logs)
        raise TimeoutError(f"the workers did not come up ({error}), and said: {said}") from None


async def made(database: Database, *, worker: bool = False) -> int:
    """The schema comes into being; the id of a worker that only is in the database, if one is wanted: without slots, as
    nobody is to wait for what it has to say."""
    store = await opened(database, NAME)
    try:
        if not worker:
            return 0
        return await store.register(WorkerInfo("dead", "elsewhere", 1, 0, (), lease=HOUR), [])
    finally:
        await store.close()
