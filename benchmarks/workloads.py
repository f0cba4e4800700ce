"""What is measured: the tasks, and one function per measurement.

Each measurement runs in a process of its own, with a database of its own: `python -m benchmarks.workloads JOB`, where
JOB is a `Job` as JSON. It prints its figures as JSON, on the last line.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from benchmarks import floor
from benchmarks.machine import fsync_ms
from fanwood import BulkRunItem, Context, Fanwood, NonRetryableException

WARM_UP = 10  # children that run before the clock does: the worker is up, late imports are done


@dataclass(frozen=True)
class Job:
    """One measurement: which, how large, with how many slots, and in which folder its databases go."""

    workload: str
    size: int
    slots: int
    folder: str

    @classmethod
    def parse(cls, text: str) -> "Job":
        return cls(**json.loads(text))

    def text(self) -> str:
        return json.dumps(asdict(self))

    @property
    def url(self) -> str:
        return f"sqlite:///{Path(self.folder) / 'bench.db'}"


class Number(BaseModel):
    n: int


# --- the tasks -------------------------------------------------------------------------------------------------------

executed = 0  # children, in this process


def declare(job: Job, *, local_worker: bool | None = None) -> Fanwood:
    """An application with all of the benchmark's tasks; they are found by name."""
    app = Fanwood(job.url, slots=job.slots, local_worker=local_worker)
    declare_children(app)
    declare_parents(app)
    declare_trees(app)
    return app


def declare_children(app: Fanwood) -> None:
    @app.task(input_validator=Number)
    async def child(input: Number, ctx: Context) -> int:
        global executed  # noqa: PLW0603  (what is counted is this process)
        executed += 1
        return input.n + 1

    @app.task(input_validator=Number)
    def sync_child(input: Number, ctx: Context) -> int:
        return input.n + 1


class FanOut(BaseModel):
    n: int
    child: str = "child"


async def run_all(app: Fanwood, input: FanOut) -> list[int]:
    child = app.find(input.child)
    return await child.aio_run_many([child.create_bulk_run_item(Number(n=n)) for n in range(input.n)])


def declare_parents(app: Fanwood) -> None:
    first_try: list[float] = []

    @app.task(input_validator=FanOut)
    async def fan_out(input: FanOut, ctx: Context) -> float:
        """Seconds from the making of the first item to the list of all results."""
        start = time.perf_counter()
        results = await run_all(app, input)
        seconds = time.perf_counter() - start
        assert results == list(range(1, input.n + 1))
        return seconds

    @app.task(input_validator=Number)
    async def sequence(input: Number, ctx: Context) -> list[float]:
        """Seconds of each of so many children, one awaited after another."""
        child, taken = app.find("child"), list[float]()
        for n in range(input.n):
            start = time.perf_counter()
            await child.aio_run(Number(n=n))
            taken.append(time.perf_counter() - start)
        return taken

    @app.task(input_validator=Number)
    async def trio(input: Number, ctx: Context) -> int:
        """A parent that waits for three children."""
        return sum(await run_all(app, FanOut(n=3)))

    @app.task(input_validator=FanOut, retries=1)
    async def retried(input: FanOut, ctx: Context) -> list[float]:
        """Fails once all children are done; its second try finds them. How long each try's fan-out took."""
        start = time.perf_counter()
        await run_all(app, input)
        seconds = time.perf_counter() - start
        if ctx.retry_count == 0:
            first_try.append(seconds)
            raise RuntimeError("once, on purpose")
        if executed != input.n + WARM_UP:
            raise NonRetryableException(f"{executed - WARM_UP} children ran, and should have been {input.n}")
        return [*first_try, seconds]


class Branch(BaseModel):
    depth: int
    mixed: bool = False  # sync and async generations take turns


def declare_trees(app: Fanwood) -> None:
    def below(input: Branch, own: str, other: str) -> tuple[Any, list[BulkRunItem]]:
        task = app.find(other if input.mixed else own)
        branch = Branch(depth=input.depth - 1, mixed=input.mixed)
        return task, [task.create_bulk_run_item(branch) for _ in range(2)]

    @app.task(input_validator=Branch)
    async def tree(input: Branch, ctx: Context) -> int:
        """A binary tree; how many runs it has."""
        if input.depth == 0:
            return 1
        task, branches = below(input, "tree", "sync_tree")
        return 1 + sum(await task.aio_run_many(branches))

    @app.task(input_validator=Branch)
    def sync_tree(input: Branch, ctx: Context) -> int:
        if input.depth == 0:
            return 1
        task, branches = below(input, "sync_tree", "tree")
        return 1 + sum(task.run_many(branches))


# --- the measurements ------------------------------------------------------------------------------------------------

Figures = dict[str, float]


def fan_out(job: Job, child: str = "child") -> Figures:
    with declare(job) as app:
        parent = app.find("fan_out")
        parent.run(FanOut(n=WARM_UP, child=child))
        seconds = parent.run(FanOut(n=job.size, child=child))
        return {"seconds": seconds, "rate": job.size / seconds, "memory": peak_memory()}


def fan_out_sync(job: Job) -> Figures:
    return fan_out(job, "sync_child")


def sequence(job: Job) -> Figures:
    with declare(job) as app:
        parent = app.find("sequence")
        parent.run(Number(n=WARM_UP))
        taken = sorted(parent.run(Number(n=job.size)))
    p50, p99 = statistics.median(taken), taken[int(len(taken) * 0.99)]
    return {"p50": p50 * 1e3, "p99": p99 * 1e3, "fsync": fsync_ms(Path(job.folder))}


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


def raw_floor(job: Job) -> Figures:
    folder = Path(job.folder)
    return {
        "floor": floor.seconds_for(floor.DURABLE, folder / "floor.db", job.size),
        "bare": floor.seconds_for(floor.BARE, folder / "bare.db", job.size),
    }


def peak_memory() -> float:
    """The most memory that this process has had, in MB (10^6 bytes)."""
    status = Path("/proc/self/status")
    if status.exists():  # here and not in getrusage: there Linux counts the parent's memory before exec as well
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) * 1024 / 1e6
    import resource  # not on Windows

    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_rss * (1 if sys.platform == "darwin" else 1024) / 1e6


MEASUREMENTS: dict[str, Callable[[Job], Figures]] = {
    "fan_out": fan_out,
    "fan_out_sync": fan_out_sync,
    "sequence": sequence,
    "tree": tree,
    "tree_sync": tree_sync,
    "tree_mixed": tree_mixed,
    "bulk": bulk,
    "waiting": waiting,
    "resume": resume,
    "raw_floor": raw_floor,
}

if __name__ == "__main__":
    this = Job.parse(sys.argv[1])
    print(json.dumps(MEASUREMENTS[this.workload](this)))
