"""What is measured of waits, recorded steps and suspended runs."""

import asyncio
import statistics
import time
from collections.abc import Callable

from benchmarks import floor_postgres, floor_sqlite
from benchmarks.databases import POSTGRES
from benchmarks.durable_tasks import KEY, Count
from benchmarks.job import Job
from benchmarks.numbers import Figures, percentiles
from benchmarks.tasks import WARM_UP, declare, pause
from benchmarks.workers import Workers
from fanwood import Fanwood
from fanwood.model.states import RunKind

OTHERS = 1_000
"""Waits of one run."""
FAR = 10_000_000
"""From here on are the orders of the others."""
PUSHES = 100
MATCHED = 2_000
SUSPENDED_A_SECOND = 1_200
PATIENCE = 800


def naps(job: Job) -> Figures:
    """Sleeps of 10 ms, one after another."""
    with declare(job) as app:
        task = app.find("naps")
        task.run(Count(n=WARM_UP))
        return percentiles(task.run(Count(n=job.size)))


def steps(job: Job) -> Figures:
    """Recorded steps, one after another, beside commits of one row; and a thousand at once."""
    with declare(job) as app:
        task, gathered = app.find("steps"), app.find("gathered")
        task.run(Count(n=WARM_UP))
        gathered.run(Count(n=WARM_UP))
        before = commit_ms(job)
        figures = percentiles(task.run(Count(n=job.size)))
        commit = statistics.mean((before, commit_ms(job)))
        seconds = statistics.median([gathered.run(Count(n=job.size)) for _ in range(3)])
    return {**figures, "commit": commit, "ratio": figures["p50"] / commit, "rate": job.size / seconds}


def commit_ms(job: Job) -> float:
    """A commit of one row by itself, in the same place, median."""
    database = job.database
    name = f"commit_{time.time_ns()}"
    if database.store == POSTGRES:
        return floor_postgres.commit_ms(database.url, database.name(name))
    return floor_sqlite.commit_ms(database.path(name))


def pushes(job: Job) -> Figures:
    """Events to a run that waits, while many others wait for the same key with another `match`."""
    with Workers(job), declare(job, local_worker=False) as client:
        crowd = client.find("crowd")
        for first in range(0, job.size, OTHERS):
            crowd.run_no_wait(Count(n=min(OTHERS, job.size - first), first=FAR + first))
        until(lambda: _waiting(job, RunKind.EVENT) == job.size)
        across = asyncio.run(_pushed(client, job))
        with declare(job) as app:
            here = asyncio.run(_pushed(app, job))
            seconds = asyncio.run(_matched(app, job))
    return {**percentiles(here), **percentiles(across, "across_"), "rate": MATCHED / seconds}


async def _pushed(app: Fanwood, job: Job) -> list[float]:
    """Seconds from each push until the run that waited for it went on."""
    crowd, taken = app.find("crowd"), list[float]()
    for order in range(WARM_UP + PUSHES):
        ref = await crowd.aio_run_no_wait(Count(n=1, first=order))
        await asyncio.to_thread(until, lambda: _waiting(job, RunKind.EVENT) == job.size + 1)
        await asyncio.sleep(pause())
        start = time.time()
        await app.events.aio_push(KEY, {"order": order})
        (ended,) = await ref.aio_result()
        taken.append(ended - start)
    return taken[WARM_UP:]


async def _matched(app: Fanwood, job: Job) -> float:
    """Seconds for so many pushes, each of which ends one wait of one run."""
    ref = await app.find("crowd").aio_run_no_wait(Count(n=MATCHED))
    await asyncio.to_thread(until, lambda: _waiting(job, RunKind.EVENT) == job.size + MATCHED)
    start = time.time()
    await asyncio.gather(*(app.events.aio_push(KEY, {"order": order}) for order in range(MATCHED)))
    return max(await ref.aio_result()) - start


def suspended(job: Job) -> Figures:
    """Durable runs that sleep, and are unloaded; then all are due at once."""
    with Workers(job, "sleeper") as workers, declare(job, local_worker=False) as client:
        sleeper = client.find("sleeper")
        sleeper.run(Count(n=0))
        empty, due = workers.memory, int(time.time() + 4 + job.size / SUSPENDED_A_SECOND)
        refs = sleeper.run_many_no_wait([sleeper.create_bulk_run_item(Count(n=due, first=n)) for n in range(job.size)])
        until(lambda: _waiting(job, RunKind.TASK) == job.size)
        held, spare = workers.memory, due - time.time()
        assert spare > 0, f"they were due {-spare:.0f} s before all were suspended"
        time.sleep(spare)
        until(lambda: _waiting(job, RunKind.TASK) + _living(job) == 0)
        seconds = time.time() - due
        assert refs[-1].result(PATIENCE) == job.size - 1
    return {"rate": job.size / seconds, "memory": held - empty}


def assistant(job: Job) -> Figures:
    """An agent that had recorded so many steps when its worker was killed."""
    with declare(job, local_worker=False) as client:
        with Workers(job, "assistant") as lost:
            ref = client.find("assistant").run_no_wait(Count(n=job.size))
            until(lambda: client.runs.counts(ref.id).progress is not None)
            lost.kill()
        with Workers(job, "assistant"):
            seconds, memory = ref.result(PATIENCE)
    return {"seconds": seconds, "memory": memory}


# --- what there is ----------------------------------------------------------------------------------------------------


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.002)


def _waiting(job: Job, kind: RunKind) -> int:
    return _counted(job, f"state = 2 and kind = {int(kind)}")


def _living(job: Job) -> int:
    return _counted(job, "state < 2")


def _counted(job: Job, condition: str) -> int:
    """Runs, asked for beside the engine."""
    statement, settings = f"select count(*) from run where {condition}", job.database.settings()
    if job.database.store == POSTGRES:
        return asyncio.run(floor_postgres.asked(settings.database_url, settings.postgres_schema, statement))
    return floor_sqlite.asked(job.database.path("bench"), statement)


MEASUREMENTS: dict[str, Callable[[Job], Figures]] = {
    "naps": naps,
    "steps": steps,
    "pushes": pushes,
    "suspended": suspended,
    "assistant": assistant,
}
