"""What is measured: one function per measurement.

Each measurement runs in a process of its own, on a database of its own: `python -m benchmarks.workloads` reads a `Job`
as JSON, one line of its stdin, and prints its figures as JSON, on the last line.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import claiming, durable, floor_postgres, floor_sqlite, million, sharing, tasks, trees
from benchmarks.databases import POSTGRES
from benchmarks.job import Job
from benchmarks.machine import fsync_ms, peak_memory
from benchmarks.numbers import Figures, percentiles
from benchmarks.tasks import WARM_UP, Branch, FanOut, Number, declare
from benchmarks.trees import Level, Shape
from benchmarks.workers import Workers

PROCESSES = 4
TREES = 30  # small ones, beside a large one


# --- in one process --------------------------------------------------------------------------------------------------


def fan_out(job: Job, child: str = "child", *, lazy: bool = False) -> Figures:
    with declare(job) as app:
        parent = app.find("fan_out")
        parent.run(FanOut(n=WARM_UP, child=child))
        seconds = parent.run(FanOut(n=job.size, child=child, lazy=lazy))
        return {"seconds": seconds, "rate": job.size / seconds, "memory": peak_memory()}


def fan_out_lazy(job: Job) -> Figures:
    return fan_out(job, lazy=True)


def fan_out_sync(job: Job) -> Figures:
    return fan_out(job, "sync_child")


def sequence(job: Job) -> Figures:
    with declare(job) as app:
        parent = app.find("sequence")
        parent.run(Number(n=WARM_UP))
        taken = parent.run(Number(n=job.size))
    beside = {"fsync": fsync_ms(Path(job.database.folder))}
    if job.database.store == POSTGRES:
        beside = {"commit": floor_postgres.commit_ms(job.database.url, job.database.name("commit"))}
    return {**percentiles(taken), **beside}


def tree(job: Job, task: str = "tree", *, mixed: bool = False) -> Figures:
    """`job.size` runs, or the next smaller full tree."""
    depth = (job.size + 1).bit_length() - 2
    with declare(job) as app:
        root = app.find(task)
        root.run(Branch(depth=2, mixed=mixed))
        start = time.perf_counter()
        runs = root.run(Branch(depth=depth, mixed=mixed))
        seconds = time.perf_counter() - start
    assert runs == 2 ** (depth + 1) - 1
    return {"seconds": seconds}


def tree_sync(job: Job) -> Figures:
    return tree(job, "sync_tree")


def tree_mixed(job: Job) -> Figures:
    return tree(job, mixed=True)


def bulk(job: Job) -> Figures:
    """Spawning alone, from a client; nobody executes."""
    with declare(job, local_worker=False) as app:
        child = app.find("child")
        child.run_many_no_wait([child.create_bulk_run_item(Number(n=n)) for n in range(WARM_UP)])
        start = time.perf_counter()
        refs = child.run_many_no_wait([child.create_bulk_run_item(Number(n=n)) for n in range(job.size)])
        seconds = time.perf_counter() - start
    assert len(refs) == job.size
    return {"rate": job.size / seconds, "memory": peak_memory()}


def waiting(job: Job) -> Figures:
    """Many more parents than slots."""
    with declare(job) as app:
        parent = app.find("trio")
        parent.run(Number(n=0))
        start = time.perf_counter()
        sums = parent.run_many([parent.create_bulk_run_item(Number(n=n)) for n in range(job.size)])
        seconds = time.perf_counter() - start
    assert sums == [1 + 2 + 3] * job.size
    return {"seconds": seconds}


def resume(job: Job) -> Figures:
    with declare(job) as app:
        app.find("fan_out").run(FanOut(n=WARM_UP))
        first, second = app.find("retried").run(FanOut(n=job.size))
    return {"first": first, "seconds": second}


# --- streams, groups, and trees beside each other --------------------------------------------------------------------


def stream(job: Job, task: str = "stream") -> Figures:
    with declare(job) as app:
        parent = app.find(task)
        parent.run(FanOut(n=WARM_UP))
        seconds = parent.run(FanOut(n=job.size))
        return {"rate": job.size / seconds, "memory": peak_memory()}


def as_completed(job: Job) -> Figures:
    """Beside `run_many` of as many."""
    figures = stream(job, "as_they_end")
    with declare(job) as app:
        seconds = app.find("fan_out").run(FanOut(n=job.size))
    return {**figures, "ratio": job.size / seconds / figures["rate"]}


def group(job: Job) -> Figures:
    return stream(job, "group")


def race(job: Job) -> Figures:
    with declare(job) as app:
        parent = app.find("race")
        parent.run(Number(n=WARM_UP))
        return percentiles(parent.run(Number(n=job.size)))


def fairness(job: Job) -> Figures:
    """A tree of ten, one after another: alone, and beside a tree of which so many are queued."""
    first = _ten(job, 0)
    large = Shape("a large one", (Level(job.size, ("row",), ended=0),))
    asyncio.run(trees.make(job.database.settings(), large))
    idle, beside = (percentiles(seconds)["p50"] for seconds in (first, _ten(job, 1_000)))
    return {"idle": idle, "beside": beside, "ratio": beside / idle}


def _ten(job: Job, first: int) -> list[float]:
    with declare(job) as app:
        tree, taken = app.find("ten"), list[float]()
        for n in range(first, first + WARM_UP + max(2, min(TREES, job.size // 100))):
            time.sleep(tasks.pause())
            start = time.perf_counter()
            tree.run(Number(n=n))
            taken.append(time.perf_counter() - start)
    return taken[WARM_UP:]


# --- across processes ------------------------------------------------------------------------------------------------


def workers(job: Job) -> Figures:
    """A parent on one of several workers; all of them execute its children, and this process waits."""
    with Workers(job, count=PROCESSES), declare(job, local_worker=False) as app:
        parent = app.find("spread")
        parent.run(Number(n=min(job.size, PROCESSES * job.slots)))  # enough for each of them
        start = time.perf_counter()
        executed = parent.run(Number(n=job.size))
        seconds = time.perf_counter() - start
    executed += [0] * (PROCESSES - len(executed))
    shares = {f"share_{place}": 100 * count / job.size for place, count in enumerate(executed, 1)}
    return {"rate": job.size / seconds, **shares}


def wakeup(job: Job) -> Figures:
    """Parents on one worker, children on another; then roots for an idle worker, one after another."""
    with Workers(job, "when"), Workers(job, "chain"), declare(job, local_worker=False) as app:
        parent, root = app.find("chain"), app.find("when")
        parent.run(Number(n=WARM_UP))
        resumed = parent.run(Number(n=job.size))
        picked_up: list[float] = []
        for n in range(WARM_UP + job.size):
            time.sleep(tasks.pause())
            asked = time.time()
            picked_up.append(root.run(Number(n=n)) - asked)
    root_figures = percentiles(picked_up[WARM_UP:])
    return {**percentiles(resumed), **{f"root_{key}": value for key, value in root_figures.items()}}


# --- below the engine ------------------------------------------------------------------------------------------------


def claim(job: Job) -> Figures:
    return claiming.measure(job)


def raw_floor(job: Job) -> Figures:
    database = job.database
    if database.store == POSTGRES:
        return {
            name: floor_postgres.seconds_for(shape, database.url, database.name(name), job.size)
            for name, shape in (("floor", floor_postgres.DURABLE), ("bare", floor_postgres.BARE))
        }
    return {
        name: floor_sqlite.seconds_for(shape, database.path(name), job.size)
        for name, shape in (("floor", floor_sqlite.DURABLE), ("bare", floor_sqlite.BARE))
    }


MEASUREMENTS: dict[str, Callable[[Job], Figures]] = {
    "fan_out": fan_out,
    "fan_out_lazy": fan_out_lazy,
    "fan_out_sync": fan_out_sync,
    "sequence": sequence,
    "tree": tree,
    "tree_sync": tree_sync,
    "tree_mixed": tree_mixed,
    "bulk": bulk,
    "waiting": waiting,
    "resume": resume,
    "stream": stream,
    "as_completed": as_completed,
    "group": group,
    "race": race,
    "fairness": fairness,
    "workers": workers,
    "wakeup": wakeup,
    "claim": claim,
    **durable.MEASUREMENTS,
    **million.MEASUREMENTS,
    **sharing.MEASUREMENTS,
    "raw_floor": raw_floor,
}

if __name__ == "__main__":
    this = Job.parse(sys.stdin.readline())
    print(json.dumps(MEASUREMENTS[this.workload](this)))
